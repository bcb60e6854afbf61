{ `pyvmm build` adds this unit to programs that may use files. }
unit torofiles;

{$mode objfpc}

interface

uses arguments, FileCalls, VirtIOFS;

implementation

end.
