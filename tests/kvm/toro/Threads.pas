{ Threads on all cores that there are: their life, their order, and what each has of
  its own. }
program Threads;

{$mode objfpc}
{$H+}
{$asmmode intel}

uses
  Checks, Arch, Memory, Process, CoreTimer, SysUtils, Math;

const
  STACK = 32768;
  FAILED = DWord(-1);

var
  Counter: LongInt;
  Log: array[0..99] of LongInt;
  Logged: LongInt;

threadvar
  Mine: LongInt;
  MineToo: array[0..99] of LongInt;

function Start(Func: TThreadFunc; Parameter: PtrInt; Core: LongInt): TThreadID;
begin
  BeginThread(nil, STACK, Func, Pointer(Parameter), Core, Result);
end;

function Join(ThreadID: TThreadID): LongInt;
begin
  Result := LongInt(WaitForThreadTerminate(ThreadID, 0));
end;

procedure Note(Value: LongInt);
begin
  Log[Logged] := Value;
  Inc(Logged);
end;

function LogText: String;
var
  I: LongInt;
begin
  Result := '';
  for I := 0 to Logged - 1 do
    Result := Result + IntToStr(Log[I]);
  Logged := 0;
end;

{ The core that this number of a thread goes to, the others first. }
function CoreFor(Number: LongInt): LongInt;
begin
  Result := (Number + CPU_COUNT - 1) mod CPU_COUNT;
end;

{ ---- Many threads ---- }

function CountOnCore(Parameter: Pointer): PtrInt;
var
  I: LongInt;
begin
  Result := 0;
  for I := 1 to 50 do
  begin
    InterlockedIncrement(Counter);
    if GetCoreId <> PtrUInt(Parameter) then
      Result := 1;
    if GetCurrentThread^.CPU <> GetCPU then
      Result := 1;
    if Odd(I) then
      ThreadSwitch
    else
      SysThreadSwitch;
  end;
end;

procedure TestMany;
var
  IDs: array of TThreadID;
  I, Wrong: LongInt;
begin
  SetLength(IDs, 16 * CPU_COUNT);
  for I := 0 to High(IDs) do
    IDs[I] := Start(@CountOnCore, I mod CPU_COUNT, I mod CPU_COUNT);
  Wrong := 0;
  for I := 0 to High(IDs) do
    Wrong := Wrong + Join(IDs[I]);
  Check(Counter = 50 * Length(IDs), 'all threads ran to their ends');
  Check(Wrong = 0, 'each on its core');
end;

function Return(Parameter: Pointer): PtrInt;
begin
  Result := PtrInt(Parameter);
end;

procedure TestReuse;
var
  I, Core: LongInt;
  Right: Boolean;
  Used: QWord;
  First: TThreadID;
begin
  Right := True;
  First := Start(@Return, 0, 0);
  Join(First);
  for Core := 0 to CPU_COUNT - 1 do
    Right := Right and (Join(Start(@Return, Core, Core)) = Core);
  Used := HeapStatistics.Used;
  for Core := 0 to CPU_COUNT - 1 do
    for I := 1 to 300 do
      Right := Right and (Join(Start(@Return, I, Core)) = I);
  Check(Right, 'a thread''s result is its exit code');
  { Some memory stays with the ids of threads that are over. }
  Check(HeapStatistics.Used - Used < 1 shl 20, 'stacks are used again');
  Check(SysResumeThread(First) = FAILED, 'a thread that is over cannot be resumed');
  Check(SysKillThread(First) = FAILED, 'nor killed');
  Check(SysSuspendThread(First) = FAILED, 'nor suspended');
  Check(Join(First) = 0, 'and waiting for it returns');
end;

function DeepUse(Parameter: Pointer): PtrInt;
var
  Room: array[0..3000000] of Byte;
begin
  Room[0] := 5;
  Room[High(Room)] := 6;
  Result := Room[0] * Room[High(Room)];
end;

procedure TestSizes;
var
  ID: TThreadID;
begin
  Check(Join(System.BeginThread(@DeepUse)) = 30, 'the default stack has its 4 MiB');
  ID := 1;
  Check((BeginThread(nil, STACK, @Return, nil, CPU_COUNT, ID) = 0) and (ID = 0), 'there is no such core');
  Check(BeginThread(nil, PtrUInt(1) shl 50, @Return, nil, 0, ID) = 0, 'an absurd stack');
  Check(BeginThread(nil, AvailableMemory - 4096, @Return, nil, 0, ID) = 0, 'all of memory as a stack');
  BeginThread(nil, 0, @Return, Pointer(9), 0, ID);
  Check(Join(ID) = 9, 'a stack of no size is one of the smallest');
end;

{ ---- Order ---- }

function NoteThrice(Parameter: Pointer): PtrInt;
var
  I: LongInt;
begin
  for I := 1 to 3 do
  begin
    Note(PtrInt(Parameter));
    SysThreadSwitch;
  end;
  Result := 0;
end;

procedure TestReadyOrder;
var
  I: LongInt;
begin
  for I := 1 to 3 do
    Start(@NoteThrice, I, 0);
  for I := 1 to 5 do
    SysThreadSwitch;
  Check(LogText = '123123123', 'ready threads take turns');
end;

function NoteLater(Parameter: Pointer): PtrInt;
begin
  Process.Sleep(PtrUInt(Parameter) * 10);
  Note(PtrInt(Parameter));
  Result := 0;
end;

procedure TestSleepOrder;
const
  TIMES: array[0..6] of LongInt = (5, 2, 7, 1, 6, 3, 4);
var
  IDs: array[0..6] of TThreadID;
  I: LongInt;
begin
  for I := 0 to High(TIMES) do
    IDs[I] := Start(@NoteLater, TIMES[I], 0);
  for I := 0 to High(TIMES) do
    Join(IDs[I]);
  Check(LogText = '1234567', 'sleepers wake in the order of their times');
end;

procedure TestSleep;
var
  Began, Ticks, Halted, Halts: QWord;
begin
  Ticks := TicksOf(100);
  Process.Sleep(1); { sets the timer up }
  Halted := GetCPU^.HaltedTicks;
  Halts := GetCPU^.Halts;
  Began := read_rdtsc;
  SysUtils.Sleep(100);
  Began := read_rdtsc - Began;
  Check(Began >= Ticks, 'a sleep is as long as it says');
  Check(GetCPU^.HaltedTicks - Halted > Ticks div 4 * 3, 'the core is halted meanwhile');
  Check(GetCPU^.Halts - Halts < 20, 'and not woken often');
  Began := read_rdtsc;
  Delay(3);
  DelayMicro(2000);
  Check(read_rdtsc - Began >= TicksOf(5), 'Delay and DelayMicro');
end;

{ ---- Suspend, resume, kill ---- }

function SuspendSelf(Parameter: Pointer): PtrInt;
begin
  Result := 0;
  Note(1);
  SysSuspendThread(0);
  Note(2);
  SysSuspendThread(GetCurrentThread^.ThreadID);
  Note(3);
end;

function Never(Parameter: Pointer): PtrInt;
begin
  while True do
  begin
    InterlockedIncrement(Counter);
    SysThreadSwitch;
  end;
  Result := 0;
end;

{ Waits until the log has an entry for each digit of Text, on a host that may be busy. }
function Comes(const Text: ShortString): Boolean;
var
  I: LongInt;
begin
  I := 0;
  while (Logged < Length(Text)) and (I < 2000) do
  begin
    Process.Sleep(5);
    Inc(I);
  end;
  Result := LogText = Text;
end;

{ Waits until Counter stands still, and returns it. }
function CounterStandsAt: LongInt;
var
  I: LongInt;
begin
  for I := 0 to 2000 do
  begin
    Result := Counter;
    Process.Sleep(20);
    if Counter = Result then
      Exit;
  end;
end;

procedure TestSuspend;
var
  ID: TThreadID;
  Before, I: LongInt;
begin
  ID := Start(@SuspendSelf, 0, CoreFor(0));
  Check(Comes('1'), 'a thread suspends itself');
  SysResumeThread(ID);
  Check(Comes('2'), 'and is resumed');
  SysResumeThread(ID);
  Join(ID);
  Logged := 0;
  ID := Start(@SuspendSelf, 0, CoreFor(0));
  SysResumeThread(ID); { it may not even have started }
  Check(Comes('12'), 'a resume before the suspend is not lost');
  SysResumeThread(ID);
  Join(ID);
  Logged := 0;

  ID := Start(@Never, 0, CoreFor(0));
  Check(SysSuspendThread(ID) = 0, 'another thread is suspended');
  Before := CounterStandsAt;
  Process.Sleep(5);
  Check(Counter = Before, 'it does not run');
  SysResumeThread(ID);
  I := 0;
  while (Counter = Before) and (I < 2000) do
  begin
    Process.Sleep(5);
    Inc(I);
  end;
  Check(Counter > Before, 'until it is resumed');
  SysKillThread(ID);
  Join(ID);
end;

var
  Event: PEventState;
  Guarded: TRTLCriticalSection;

function SleepLong(Parameter: Pointer): PtrInt;
begin
  Process.Sleep(1000000);
  Result := 1;
end;

function WaitLong(Parameter: Pointer): PtrInt;
begin
  BasicEventWaitFor(Cardinal(-1), Event);
  Result := 1;
end;

function EnterLong(Parameter: Pointer): PtrInt;
begin
  EnterCriticalSection(Guarded);
  LeaveCriticalSection(Guarded);
  Result := 1;
end;

function SuspendLong(Parameter: Pointer): PtrInt;
begin
  SysSuspendThread(0);
  Result := 1;
end;

function ExitLater(Parameter: Pointer): PtrInt;
begin
  ThreadExit(False);
  Note(7);
  SysThreadSwitch;
  Note(8);
  Result := 1;
end;

function EndThere(Parameter: Pointer): PtrInt;
begin
  if Parameter <> nil then
    SysEndThread(77)
  else
    ThreadExit(True);
  Result := 1;
end;

procedure TestKill;
const
  VICTIMS: array[0..5] of TThreadFunc = (@Never, @SleepLong, @WaitLong, @EnterLong, @SuspendLong, @Return);
var
  IDs: array[0..5] of TThreadID;
  I, Codes: LongInt;
begin
  Event := BasicEventCreate(nil, False, False, '');
  InitCriticalSection(Guarded);
  EnterCriticalSection(Guarded);
  for I := 0 to 5 do
    IDs[I] := Start(VICTIMS[I], 5, CoreFor(I));
  SysKillThread(IDs[5]); { most likely before it has started }
  Process.Sleep(5);
  Check(LongInt(WaitForThreadTerminate(IDs[1], 5)) = -1, 'waiting for a thread has a time-out');
  for I := 0 to 4 do
    SysKillThread(IDs[I]);
  Codes := 0;
  for I := 0 to 4 do
    Codes := Codes + Join(IDs[I]);
  Join(IDs[5]);
  Check(Codes = 0, 'killed: busy, asleep, waiting, at a section, suspended');
  LeaveCriticalSection(Guarded);
  BasicEventSetEvent(Event);
  Check(BasicEventWaitFor(0, Event) = 0, 'what they waited for works on');
  Check(Join(Start(@EndThere, 1, CoreFor(0))) = 77, 'SysEndThread');
  Check(Join(Start(@EndThere, 0, CoreFor(0))) = 0, 'ThreadExit at once');
  Join(Start(@ExitLater, 0, CoreFor(0)));
  Check(LogText = '7', 'ThreadExit at the next switch');
  BasicEventDestroy(Event);
end;

{ ---- What each thread has of its own ---- }

function UseThreadVars(Parameter: Pointer): PtrInt;
var
  I, Round: LongInt;
  Text: String;
begin
  Result := 0;
  if (Mine <> 0) or (MineToo[99] <> 0) or (InOutRes <> 0) then
    Result := 1;
  Mine := PtrInt(Parameter);
  InOutRes := Mine;
  for Round := 1 to 50 do
  begin
    for I := 0 to 99 do
      MineToo[I] := Mine * I;
    try
      try
        SysThreadSwitch;
        raise Exception.Create('of ' + IntToStr(Mine));
      finally
        SysThreadSwitch;
        Inc(Log[Mine mod 50]);
      end;
    except
      on E: Exception do
      begin
        SysThreadSwitch;
        Text := E.Message;
      end;
    end;
    if (Mine <> LongInt(PtrUInt(Parameter))) or (InOutRes <> Mine) or (Text <> 'of ' + IntToStr(Mine)) then
      Result := 1;
    for I := 0 to 99 do
      if MineToo[I] <> Mine * I then
        Result := 1;
  end;
  InOutRes := 0;
end;

procedure TestThreadVars;
var
  IDs: array of TThreadID;
  I, Wrong: LongInt;
begin
  Mine := 4711;
  SetLength(IDs, 6 * CPU_COUNT);
  for I := 0 to High(IDs) do
    IDs[I] := Start(@UseThreadVars, I + 1, I mod CPU_COUNT);
  Wrong := 0;
  for I := 0 to High(IDs) do
    Wrong := Wrong + Join(IDs[I]);
  Check(Wrong = 0, 'thread variables and exceptions are each thread''s own');
  Check(Mine = 4711, 'the main program''s as well');
end;

function GetFPU: Word; assembler; nostackframe;
asm
  push rax
  fnstcw [rsp]
  pop rax
end;

function Rounding(Parameter: Pointer): PtrInt;
var
  Round: LongInt;
  One, Three: Double;
  Sum, First: Double;
begin
  Result := 0;
  SetRoundMode(TFPURoundingMode(PtrUInt(Parameter)));
  One := 1;
  Three := 3;
  First := One / Three;
  for Round := 1 to 100 do
  begin
    Sum := One / Three;
    SysThreadSwitch;
    if (Sum <> First) or (One / Three <> First) or (Ord(GetRoundMode) <> LongInt(PtrUInt(Parameter))) then
      Result := 100000;
    if (GetFPU shr 10) and 3 <> (GetMXCSR shr 13) and 3 then
      Result := 100000;
  end;
  if One / Three * Three < 1 then
    Inc(Result);
end;

procedure TestFloat;
var
  IDs: array of TThreadID;
  I, Sum: LongInt;
begin
  SetLength(IDs, 8 * CPU_COUNT);
  for I := 0 to High(IDs) do
    IDs[I] := Start(@Rounding, I div CPU_COUNT mod 4, I mod CPU_COUNT);
  Sum := 0;
  for I := 0 to High(IDs) do
    Sum := Sum + Join(IDs[I]);
  Check(Sum < 100000, 'rounding modes are each thread''s own');
  Check(Sum = 4 * CPU_COUNT, 'and have their effect');
  Check(GetRoundMode = rmNearest, 'the main program''s is as it was');
end;

function Speak(Parameter: Pointer): PtrInt;
begin
  WriteLn('ok thread ', PtrInt(Parameter), ' writes');
  Write('ok and ends in a line');
  WriteLn;
  Result := 0;
end;

procedure TestConsole;
var
  I: LongInt;
begin
  for I := 0 to CPU_COUNT - 1 do
    Join(Start(@Speak, I, I));
end;

begin
  TestMany;
  TestReuse;
  TestSizes;
  TestReadyOrder;
  TestSleepOrder;
  TestSleep;
  TestSuspend;
  TestKill;
  TestThreadVars;
  TestFloat;
  TestConsole;
end.
