{ What FPC's run-time library asks of threads. There is one on core 0 so far: the
  program; the other cores wait. So creating one fails, and a critical section
  is held by a core. }
unit Process;

{$mode objfpc}

interface

{ What runs when the program ends, before the machine does. }
var
  ShutdownProcedure: TProcedure = nil;

{ Stops the machine with a message (see WriteConsoleF) if Condition holds. }
procedure Panic(Condition: Boolean; const Format: AnsiString; const Args: array of PtrUInt);

implementation

uses BootInfo, Arch, heapmgr, Console, Symbols;

procedure Panic(Condition: Boolean; const Format: AnsiString; const Args: array of PtrUInt);
begin
  if not Condition then
    Exit;
  HeadLess := False;
  WriteConsoleF('Panic: ' + Format + '\n', Args);
  WriteText('Backtrace:'#10);
  WriteBacktrace(PtrUInt(get_frame), StackGuard(ThisCore) + GUARD_SIZE, StackTop(ThisCore));
  PowerOff(STATUS_EXCEPTION);
end;

procedure SectionInit(var Section);
begin
  TRTLCriticalSection(Section) := Default(TRTLCriticalSection);
end;

procedure SectionDone(var Section);
begin
  TRTLCriticalSection(Section).__m_owner := nil;
end;

function SectionTryEnter(var Section): LongInt;
begin
  with TRTLCriticalSection(Section) do
  begin
    if (__m_owner <> ThisCore) and
       (InterlockedCompareExchange(__m_owner, Pointer(ThisCore), nil) <> nil) then
      Exit(0);
    Inc(__m_count);
  end;
  Result := 1;
end;

procedure SectionEnter(var Section);
begin
  while SectionTryEnter(Section) = 0 do
    NOP;
end;

procedure SectionLeave(var Section);
begin
  with TRTLCriticalSection(Section) do
  begin
    Dec(__m_count);
    if __m_count = 0 then
      InterlockedExchange(__m_owner, nil);
  end;
end;

type
  PEvent = ^TEvent;
  TEvent = record
    Signalled: LongInt;
    ManualReset: Boolean; { waiting leaves it signalled }
  end;

const
  WAIT_FOREVER = Cardinal(-1);
  WAIT_SIGNALLED = 0;
  WAIT_TIMEOUT = 1;

procedure EventSet(Event: Pointer);
begin
  InterlockedExchange(PEvent(Event)^.Signalled, 1);
end;

procedure EventReset(Event: Pointer);
begin
  InterlockedExchange(PEvent(Event)^.Signalled, 0);
end;

function EventTryWait(Event: Pointer): Boolean;
begin
  with PEvent(Event)^ do
    if ManualReset then
      Result := InterlockedExchangeAdd(Signalled, 0) <> 0
    else
      Result := InterlockedExchange(Signalled, 0) <> 0;
end;

function BasicEventWait(Milliseconds: Cardinal; Event: Pointer): LongInt;
var
  Start, Ticks: QWord;
begin
  Start := read_rdtsc;
  Ticks := QWord(Milliseconds) * (TheBootInfo^.TscHz div 1000);
  while not EventTryWait(Event) do
  begin
    if (Milliseconds <> WAIT_FOREVER) and (read_rdtsc - Start >= Ticks) then
      Exit(WAIT_TIMEOUT);
    NOP;
  end;
  Result := WAIT_SIGNALLED;
end;

procedure EventWait(Event: Pointer);
begin
  BasicEventWait(WAIT_FOREVER, Event);
end;

procedure EventWaitTimeout(Event: Pointer; Milliseconds: LongInt);
begin
  BasicEventWait(Milliseconds, Event);
end;

function BasicEventCreate(Attributes: Pointer; AManualReset, InitialState: Boolean;
  const Name: AnsiString): PEventState;
begin
  Result := AllocMem(SizeOf(TEvent));
  with PEvent(Result)^ do
  begin
    Signalled := Ord(InitialState);
    ManualReset := AManualReset;
  end;
end;

function EventCreate: PRTLEvent;
begin
  Result := PRTLEvent(BasicEventCreate(nil, False, False, ''));
end;

procedure EventDestroy(Event: Pointer);
begin
  FreeMem(Event);
end;

function NoThread(Attributes: Pointer; StackSize: PtrUInt; Main: TThreadFunc; Parameter: Pointer;
  Flags: DWord; var ThreadID: TThreadID): TThreadID;
begin
  ThreadID := 0;
  Result := 0;
end;

function CurrentThread: TThreadID;
begin
  Result := TThreadID(ThisCore);
end;

procedure Install;
var
  Manager: TThreadManager;
begin
  Manager := Default(TThreadManager);
  Manager.BeginThread := @NoThread;
  Manager.GetCurrentThreadId := @CurrentThread;
  Manager.ThreadSwitch := @NOP;
  Manager.InitCriticalSection := @SectionInit;
  Manager.DoneCriticalSection := @SectionDone;
  Manager.EnterCriticalSection := @SectionEnter;
  Manager.TryEnterCriticalSection := @SectionTryEnter;
  Manager.LeaveCriticalSection := @SectionLeave;
  Manager.BasicEventCreate := @BasicEventCreate;
  Manager.BasicEventDestroy := @EventDestroy;
  Manager.BasicEventSetEvent := @EventSet;
  Manager.BasicEventResetEvent := @EventReset;
  Manager.BasicEventWaitFor := @BasicEventWait;
  Manager.RTLEventCreate := @EventCreate;
  Manager.RTLEventDestroy := TRTLEventHandler(@EventDestroy);
  Manager.RTLEventSetEvent := TRTLEventHandler(@EventSet);
  Manager.RTLEventResetEvent := TRTLEventHandler(@EventReset);
  Manager.RTLEventWaitFor := TRTLEventHandler(@EventWait);
  Manager.RTLEventWaitForTimeout := TRTLEventHandlerTimeout(@EventWaitTimeout);
  SetThreadManager(Manager);
end;

initialization
  Install;
end.
