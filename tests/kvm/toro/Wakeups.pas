{ Threads that wait for each other: critical sections, events, and that no wake-up is
  ever lost on its way to a core that is about to halt. }
program Wakeups;

{$mode objfpc}

uses
  Checks, Arch, BootInfo, CoreTimer, Process;

const
  ROUNDS = 20000;
  TIMES = 2000;

type
  { Two threads that wake each other in turn. }
  TPair = record
    IDs: array[0..1] of TThreadID;
    Turns: array[0..1] of LongInt;
    Done: LongInt;
  end;
  PPair = ^TPair;

var
  Main: TThreadID;

function Start(Func: TThreadFunc; Parameter: Pointer; Core: LongInt): TThreadID;
begin
  BeginThread(nil, 32768, Func, Parameter, Core, Result);
end;

procedure Join(ThreadID: TThreadID);
begin
  WaitForThreadTerminate(ThreadID, 0);
end;

{ ---- A hammer ---- }

{ Waits between nothing and twice the longest time after which an idle core halts, so that
  wake-ups come right before, while and after it does. }
procedure WaitAround(var Seed: LongWord);
begin
  Seed := Seed * 1664525 + 1013904223;
  DelayMicro(Seed shr 16 mod 200);
end;

procedure PlayRounds(Pair: PPair; Mine: LongInt);
var
  Seed: LongWord;
  I: LongInt;
begin
  Seed := Mine;
  for I := 1 to ROUNDS div 2 do
  begin
    SysSuspendThread(0);
    Inc(Pair^.Turns[Mine]);
    WaitAround(Seed);
    SysResumeThread(Pair^.IDs[1 - Mine]);
  end;
  if InterlockedIncrement(Pair^.Done) = 2 then
    SysResumeThread(Main);
end;

function First(Parameter: Pointer): PtrInt;
begin
  PlayRounds(Parameter, 0);
  Result := 0;
end;

function Second(Parameter: Pointer): PtrInt;
begin
  PlayRounds(Parameter, 1);
  Result := 0;
end;

procedure TestHammer;
var
  Pair: TPair;
begin
  Pair := Default(TPair);
  Pair.IDs[0] := Start(@First, @Pair, 0);
  Pair.IDs[1] := Start(@Second, @Pair, CPU_COUNT - 1);
  SysResumeThread(Pair.IDs[0]);
  while Pair.Done < 2 do
    SysSuspendThread(0);
  Check((Pair.Turns[0] = ROUNDS div 2) and (Pair.Turns[1] = ROUNDS div 2), 'no wake-up was lost');
  if CPU_COUNT > 1 then
    Check(GetCPU^.Halts > ROUNDS div 100, 'though the cores halted often');
end;

{ The same with sleepers: the timer is set and missed at the same time. }
function Nap(Parameter: Pointer): PtrInt;
var
  I: LongInt;
  Seed: LongWord;
begin
  Seed := PtrUInt(Parameter);
  for I := 1 to 50 do
  begin
    Sleep(1);
    WaitAround(Seed);
  end;
  Result := 0;
end;

procedure TestNaps;
var
  IDs: array of TThreadID;
  I: LongInt;
begin
  SetLength(IDs, 4 * CPU_COUNT);
  for I := 0 to High(IDs) do
    IDs[I] := Start(@Nap, Pointer(PtrInt(I)), I mod CPU_COUNT);
  for I := 0 to High(IDs) do
    Join(IDs[I]);
  Check(True, 'no sleeper was lost');
end;

{ ---- Critical sections ---- }

var
  Guarded: TRTLCriticalSection;
  Entries, Inside, Together: LongInt;

function EnterOften(Parameter: Pointer): PtrInt;
var
  I, Before: LongInt;
begin
  for I := 1 to TIMES do
  begin
    EnterCriticalSection(Guarded);
    EnterCriticalSection(Guarded);
    Inc(Inside);
    if Inside <> 1 then
      Inc(Together);
    Before := Entries;
    if I mod 8 = 0 then
      SysThreadSwitch;
    Entries := Before + 1;
    Dec(Inside);
    LeaveCriticalSection(Guarded);
    LeaveCriticalSection(Guarded);
  end;
  Result := 0;
end;

function TryToEnter(Parameter: Pointer): PtrInt;
begin
  PLongInt(Parameter)^ := TryEnterCriticalSection(Guarded);
  Result := 0;
end;

procedure TestSections;
var
  IDs: array of TThreadID;
  I, Entered: LongInt;
begin
  InitCriticalSection(Guarded);
  SetLength(IDs, 3 * CPU_COUNT);
  for I := 0 to High(IDs) do
    IDs[I] := Start(@EnterOften, nil, I mod CPU_COUNT);
  for I := 0 to High(IDs) do
    Join(IDs[I]);
  Check(Entries = TIMES * Length(IDs), 'nobody disturbed another in the section');
  Check(Together = 0, 'and was alone in it');
  EnterCriticalSection(Guarded);
  Join(Start(@TryToEnter, @Entered, CPU_COUNT - 1));
  Check(Entered = 0, 'one that is taken is not entered');
  LeaveCriticalSection(Guarded);
  Check(TryEnterCriticalSection(Guarded) <> 0, 'one that is free is');
  LeaveCriticalSection(Guarded);
  DoneCriticalSection(Guarded);
end;

{ ---- Events ---- }

var
  Auto, Manual: PEventState;
  Signal: PRTLEvent;
  Passed: LongInt;

function WaitAuto(Parameter: Pointer): PtrInt;
begin
  if BasicEventWaitFor(Cardinal(-1), Auto) = 0 then
    InterlockedIncrement(Passed);
  Result := 0;
end;

function WaitManual(Parameter: Pointer): PtrInt;
begin
  if BasicEventWaitFor(10000, Manual) = 0 then
    InterlockedIncrement(Passed);
  Result := 0;
end;

function WaitSignal(Parameter: Pointer): PtrInt;
begin
  RTLEventWaitFor(Signal);
  InterlockedIncrement(Passed);
  RTLEventSetEvent(Signal);
  Result := 0;
end;

procedure TestEvents;
var
  IDs: array of TThreadID;
  I: LongInt;
  Began, Halts: QWord;
begin
  Auto := BasicEventCreate(nil, False, True, '');
  Manual := BasicEventCreate(nil, True, False, '');
  Check(BasicEventWaitFor(0, Auto) = 0, 'signalled from the beginning');
  Check(BasicEventWaitFor(0, Auto) = 1, 'waiting uses the signal up');
  Halts := GetCPU^.Halts;
  Began := read_rdtsc;
  Check(BasicEventWaitFor(50, Auto) = 1, 'a time-out');
  Check(read_rdtsc - Began >= TicksOf(50), 'after its time');
  Check(GetCPU^.Halts - Halts < 20, 'without looking all the time');

  SetLength(IDs, 2 * CPU_COUNT);
  for I := 0 to High(IDs) do
    IDs[I] := Start(@WaitAuto, nil, I mod CPU_COUNT);
  Sleep(20);
  Check(Passed = 0, 'all wait');
  BasicEventSetEvent(Auto);
  while Passed = 0 do
    SysThreadSwitch;
  Sleep(20);
  Check(Passed = 1, 'a signal lets one through');
  for I := 1 to High(IDs) do
  begin
    BasicEventSetEvent(Auto);
    while Passed <= I do
      SysThreadSwitch;
  end;
  for I := 0 to High(IDs) do
    Join(IDs[I]);
  Check(Passed = Length(IDs), 'each signal lets one through');

  Passed := 0;
  for I := 0 to High(IDs) do
    IDs[I] := Start(@WaitManual, nil, I mod CPU_COUNT);
  Sleep(5);
  BasicEventSetEvent(Manual);
  for I := 0 to High(IDs) do
    Join(IDs[I]);
  Check(Passed = Length(IDs), 'one with manual reset lets all through');
  Check(BasicEventWaitFor(0, Manual) = 0, 'and stays signalled');
  BasicEventResetEvent(Manual);
  Check(BasicEventWaitFor(0, Manual) = 1, 'until it is reset');

  Passed := 0;
  Signal := RTLEventCreate;
  for I := 0 to High(IDs) do
    IDs[I] := Start(@WaitSignal, nil, I mod CPU_COUNT);
  RTLEventSetEvent(Signal);
  for I := 0 to High(IDs) do
    Join(IDs[I]);
  Check(Passed = Length(IDs), 'a signal is handed on through all cores');
  RTLEventWaitFor(Signal);
  Began := read_rdtsc;
  RTLEventWaitFor(Signal, 5);
  Check(read_rdtsc - Began >= TicksOf(5), 'the run-time library''s event has a time-out too');
  RTLEventDestroy(Signal);
  BasicEventDestroy(Auto);
  BasicEventDestroy(Manual);
end;

begin
  Main := GetCurrentThreadId;
  TestHammer;
  TestNaps;
  TestSections;
  TestEvents;
end.
