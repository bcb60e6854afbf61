{ Repeats each line that it is told. }
program Repeats;

uses
  Kernel, Console;

var
  Line: ShortString;
begin
  WriteLn('ready');
  repeat
    ReadLn(Line);
    WriteLn('<', Line, '>');
  until Line = '';
end.
