{ Critical sections and events for FPC's run-time library. Threads of all cores can use them; a
  thread that waits is blocked and costs nothing. }
unit ThreadLocks;

{$mode objfpc}

interface

{ Enters these routines into a thread manager. }
procedure InstallLocks(var Manager: TThreadManager);

implementation

uses Arch, CoreThreads, Scheduling, ThreadRequests, WaitQueues;

{ ---- Critical sections ----

  A free section goes to the first thread that tries, even if others wait: a thread that is
  woken must try again. }

type
  { Overlays TRTLCriticalSection. }
  TSection = record
    Owner: PThread;
    Queue: TWaitQueue;
    Count: LongInt; { how often the owner has entered }
  end;

{$if SizeOf(TSection) > SizeOf(TRTLCriticalSection)}
  {$error TSection does not fit in a TRTLCriticalSection}
{$endif}

procedure SectionInit(var Section);
begin
  FillChar(Section, SizeOf(TSection), 0);
end;

procedure SectionDone(var Section);
begin
end;

function Take(var Section: TSection; Thread: PThread): Boolean; inline;
begin
  Result := (Section.Owner = nil) and (InterlockedCompareExchange(Pointer(Section.Owner), Thread, nil) = nil);
end;

function SectionTryEnter(var Section): LongInt;
var
  Thread: PThread;
begin
  Thread := GetCurrentThread;
  if (TSection(Section).Owner <> Thread) and not Take(TSection(Section), Thread) then
    Exit(0);
  Inc(TSection(Section).Count);
  Result := 1;
end;

function IsOwned(Section: Pointer): Boolean;
begin
  Result := TSection(Section^).Owner <> nil;
end;

procedure SectionEnter(var Section);
begin
  while SectionTryEnter(Section) = 0 do
    BlockIf(@IsOwned, @Section, TSection(Section).Queue);
end;

procedure SectionLeave(var Section);
begin
  with TSection(Section) do
  begin
    Dec(Count);
    if Count > 0 then
      Exit;
    InterlockedExchange(Pointer(Owner), nil);
    WakeOne(Queue);
  end;
end;

{ ---- Events ---- }

type
  PEvent = ^TEvent;
  TEvent = record
    Queue: TWaitQueue;    { its lock protects the whole event }
    Signalled: Boolean;
    ManualReset: Boolean; { stays signalled after a wait }
  end;

const
  WAIT_FOREVER = Cardinal(-1);
  WAIT_SIGNALLED = 0;
  WAIT_TIMEOUT = 1;

procedure EventSet(Event: Pointer);
var
  ID: TThreadID;
begin
  with PEvent(Event)^ do
  begin
    LockQueue(Queue);
    if ManualReset then
    begin
      Signalled := True;
      UnlockQueue(Queue);
      WakeAll(Queue);
      Exit;
    end;
    { Waking a thread consumes the signal. }
    ID := TakeFirst(Queue);
    Signalled := ID = 0;
    UnlockQueue(Queue);
    WakeThread(ID);
  end;
end;

procedure EventReset(Event: Pointer);
begin
  with PEvent(Event)^ do
  begin
    LockQueue(Queue);
    Signalled := False;
    UnlockQueue(Queue);
  end;
end;

function WaitUntil(Event: PEvent; Deadline: QWord): LongInt;
var
  Waiter: TWaiter;
begin
  with Event^ do
  begin
    LockQueue(Queue);
    if Signalled then
    begin
      Signalled := ManualReset;
      UnlockQueue(Queue);
      Exit(WAIT_SIGNALLED);
    end;
    JoinQueue(Queue, Waiter);
    UnlockQueue(Queue);
    if WaitInQueue(Queue, Waiter, Deadline) then
    begin
      if GetCurrentThread^.Killed and not ManualReset then
        EventSet(Event); { hands the signal to another thread }
      Result := WAIT_SIGNALLED;
    end
    else
      Result := WAIT_TIMEOUT;
    Checkpoint;
  end;
end;

function BasicEventWait(Milliseconds: Cardinal; Event: Pointer): LongInt;
begin
  if Milliseconds = WAIT_FOREVER then
    Result := WaitUntil(Event, 0)
  else
    Result := WaitUntil(Event, read_rdtsc + TicksOf(Milliseconds));
end;

procedure EventWait(Event: Pointer);
begin
  WaitUntil(Event, 0);
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
    Signalled := InitialState;
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

procedure InstallLocks(var Manager: TThreadManager);
begin
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
end;

end.
