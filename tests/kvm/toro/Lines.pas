{ All cores write lines to the console at the same time. }
program Lines;

{$mode objfpc}

uses
  Arch, Console, Kernel, Process;

const
  SIZE = 250; { with its end, nearly as long as one may be that is written at once }
  COUNT = 50;

function Print(Parameter: Pointer): PtrInt;
var
  Line: array[0..SIZE] of Char;
  I: LongInt;
begin
  FillChar(Line, SIZE, Ord('a') + GetCoreId);
  Line[SIZE] := #10;
  for I := 1 to COUNT do
    WriteConsole(@Line, SizeOf(Line));
  Result := 0;
end;

var
  IDs: array[1..31] of TThreadID;
  Core: LongInt;
begin
  for Core := 1 to CPU_COUNT - 1 do
    BeginThread(nil, 65536, @Print, nil, Core, IDs[Core]);
  Print(nil);
  for Core := 1 to CPU_COUNT - 1 do
    WaitForThreadTerminate(IDs[Core], 0);
end.
