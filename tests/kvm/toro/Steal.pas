{ Says whether the host has taken time from each core, within half a minute; at once if there is a
  command line. }
program Steal;

{$mode objfpc}

uses
  Arch, Kernel, Process;

var
  Done: LongInt;

function Compute(Parameter: Pointer): PtrInt;
var
  Deadline: QWord;
begin
  Deadline := MonotonicNs + QWord(30000) * 1000000;
  while (GetStealCPU = 0) and (KernelParamCount = 0) and (MonotonicNs < Deadline) do
    NOP;
  WriteLn(GetStealCPU > 0);
  InterlockedIncrement(Done);
  Result := 0;
end;

var
  I: LongInt;
  ID: TThreadID;
begin
  for I := 0 to CPU_COUNT - 1 do
    BeginThread(nil, 65536, @Compute, nil, I, ID);
  while Done < CPU_COUNT do
    SysThreadSwitch;
end.
