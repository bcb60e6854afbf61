program Scheduler;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Console;

const
  THREADS = 3; { on each core }
  TURNS = 4;

var
  { The order in which the threads of each core ran, one letter a turn. }
  Done: array[0..MAX_CPU - 1] of String[THREADS * TURNS + 1];

{ Only threads of the same core write to its string, and none is interrupted before it yields.
  So no lock is needed. }
function Work(Param: Pointer): PtrInt;
var
  Turn: LongInt;
begin
  for Turn := 1 to TURNS do
  begin
    Done[GetCoreId] := Done[GetCoreId] + Chr(Ord('A') + PtrUInt(Param));
    SysThreadSwitch;
  end;
  Result := 0;
end;

{ Starts the threads of a core, on that core. They first run when this thread waits for them, in
  the order of their creation. }
function Lead(Param: Pointer): PtrInt;
var
  IDs: array[0..THREADS - 1] of TThreadID;
  I: LongInt;
begin
  for I := 0 to THREADS - 1 do
    BeginThread(nil, 4096, Work, Pointer(PtrInt(I)), GetCoreId, IDs[I]);
  for I := 0 to THREADS - 1 do
    WaitForThreadTerminate(IDs[I], 0);
  Result := 0;
end;

procedure Goodbye;
begin
  WriteConsoleF('All threads are over\n', []);
end;

var
  Leaders: array of TThreadID;
  I: LongInt;
begin
  ShutdownProcedure := Goodbye;
  WriteConsoleF('Starting %d threads on each of %d cores\n', [THREADS, CPU_COUNT]);
  SetLength(Leaders, CPU_COUNT);
  for I := 0 to High(Leaders) do
    BeginThread(nil, 4096, Lead, nil, I, Leaders[I]);
  for I := 0 to High(Leaders) do
    WaitForThreadTerminate(Leaders[I], 0);
  for I := 0 to CPU_COUNT - 1 do
  begin
    Done[I] := Done[I] + #0;
    WriteConsoleF('Core %d: %p\n', [I, PtrUInt(@Done[I][1])]);
  end;
end.
