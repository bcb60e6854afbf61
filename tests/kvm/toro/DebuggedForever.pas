{ What the test of GDB interrupts, and lets do what is forbidden. }
program DebuggedForever;

{$mode delphi}

uses
  Kernel, Process, Arch, Console, VirtIOConsole, Gdbstub;

var
  Go: LongInt;
  Nowhere: ^LongInt = nil;

function BeIdle(Parameter: Pointer): PtrInt;
begin
  SysSuspendThread(0);
  Result := 0;
end;

var
  Thread: TThreadID;
begin
  BeginThread(nil, 65536, BeIdle, nil, CPU_COUNT - 1, Thread);
  WriteConsoleF('running\n', []);
  while Go = 0 do
    SysThreadSwitch;
  Nowhere^ := 1;
end.
