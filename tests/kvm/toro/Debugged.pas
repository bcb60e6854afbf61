{ What the test of GDB debugs: counts on the last core, with variables to look at. }
program Debugged;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Console, VirtIO, VirtIOConsole, Gdbstub;

type
  TPoint = record
    X, Y: LongInt;
  end;

var
  Total: LongInt;
  Where: TPoint;

procedure Add(Amount: LongInt);
var
  Doubled: LongInt;
begin
  Doubled := 2 * Amount;
  Total := Total + Doubled; { the breakpoint }
  Where.X := Total;
end;

function Count(Parameter: Pointer): PtrInt;
var
  I: LongInt;
begin
  for I := 1 to 3 do
    Add(I);
  Result := Total;
end;

var
  Thread: TThreadID;
begin
  Where.Y := 7;
  BeginThread(nil, 65536, Count, nil, CPU_COUNT - 1, Thread);
  WriteConsoleF('total %d\n', [WaitForThreadTerminate(Thread, 0)]);
end.
