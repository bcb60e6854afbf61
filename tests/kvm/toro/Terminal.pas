{ Console: formats, long lines, and input. }
program Terminal;

{$mode objfpc}
{$H+}

uses
  BootInfo, Arch, Console, SysUtils;

procedure Formats;
var
  I: LongInt;
begin
  WriteConsoleF('decimal %d %d, hex %h, text %p, char %c, percent %%, tab\vbackslash \\\n',
    [7, PtrUInt(-5), $DEADBEEF, PtrUInt(PChar('pchar')), Ord('c')]);
  WriteConsoleF('missing %d %d\n', [1]);
  WriteConsoleF('\n', []);
  PrintDecimal(High(QWord));
  WriteConsoleF('\n', []);
  for I := 1 to 100 do
    Write('0123456789');
  WriteLn;
  HeadLess := True;
  WriteLn('silenced');
  Flush(Output);
  HeadLess := False;
  Write('no new line at the end');
end;

procedure Echo;
var
  Line: String;
begin
  repeat
    ReadLn(Line);
    WriteLn('read: ', UpperCase(Line));
  until Line = 'end';
end;

begin
  case String(TheBootInfo^.CommandLine) of
    'formats': Formats;
    'echo': Echo;
    'line': WriteLn('one line');
  end;
end.
