{ Replaces the start-up code that the compiler adds, by this name, to a program with a unit that
  names a library in C. What it would do si_prc does. }
unit si_c;

interface

uses si_prc;

implementation

end.
