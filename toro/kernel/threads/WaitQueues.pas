{ Wait queues: threads of any core that wait for something, in order of arrival. }
unit WaitQueues;

{$mode objfpc}

interface

uses CoreThreads;

{ Lock and unlock a queue, around a few instructions that read or change it. The holder does not
  yield, so a core that spins waits for another core that makes progress. }
procedure LockQueue(var Queue: TWaitQueue); inline;
procedure UnlockQueue(var Queue: TWaitQueue); inline;

{ Puts the current thread at the end of a locked queue. }
procedure JoinQueue(var Queue: TWaitQueue; out Waiter: TWaiter);

{ Waits until another thread has taken the waiter from the queue, which must not be locked.
  False: the TSC has reached Deadline (0: no deadline), or the thread was killed; the waiter has
  then left the queue. }
function WaitInQueue(var Queue: TWaitQueue; var Waiter: TWaiter; Deadline: QWord): Boolean;

{ Takes a waiter out of a locked queue. }
procedure LeaveQueue(var Queue: TWaitQueue; var Waiter: TWaiter);

{ Takes the first thread out of a locked queue; 0: it is empty. Pass the result to WakeThread
  once the queue is unlocked. }
function TakeFirst(var Queue: TWaitQueue): TThreadID;

{ Wake the first thread (False: the queue is empty), and all threads. }
function WakeFirst(var Queue: TWaitQueue): Boolean;
procedure WakeAll(var Queue: TWaitQueue);

type
  TCondition = function(Data: Pointer): Boolean;

{ Waits in the queue if Holds(Data). Code that changes the condition uses an atomic instruction,
  then calls WakeOne or WakeAll. The condition may hold again on return. }
procedure BlockIf(Holds: TCondition; Data: Pointer; var Queue: TWaitQueue);

{ Yields while Holds(Data), for BRIEFLY at most. }
procedure YieldWhile(Holds: TCondition; Data: Pointer);

{ Waits while Holds(Data): yields at first, then blocks. }
procedure WaitWhile(Holds: TCondition; Data: Pointer; var Queue: TWaitQueue);

{ The same as WakeFirst, but cheap if the queue is empty. }
procedure WakeOne(var Queue: TWaitQueue); inline;

implementation

uses Arch, Scheduling, ThreadRequests;

const
  { Microseconds for which YieldWhile yields at most. Together with LINGER_TIME of the scheduler
    this is about as long as a halt and the wake-up take, so that two cores that answer each
    other do not halt for every message. }
  BRIEFLY = 25;

procedure LockQueue(var Queue: TWaitQueue);
begin
  AcquireLock(Queue.Lock);
end;

procedure UnlockQueue(var Queue: TWaitQueue);
begin
  ReleaseLock(Queue.Lock);
end;

procedure JoinQueue(var Queue: TWaitQueue; out Waiter: TWaiter);
begin
  Waiter.Next := nil;
  Waiter.Previous := Queue.Last;
  Waiter.ThreadID := GetCurrentThread^.ThreadID;
  Waiter.Woken := False;
  if Queue.Last = nil then
    Queue.First := @Waiter
  else
    Queue.Last^.Next := @Waiter;
  Queue.Last := @Waiter;
end;

procedure LeaveQueue(var Queue: TWaitQueue; var Waiter: TWaiter);
begin
  if Waiter.Previous = nil then
    Queue.First := Waiter.Next
  else
    Waiter.Previous^.Next := Waiter.Next;
  if Waiter.Next = nil then
    Queue.Last := Waiter.Previous
  else
    Waiter.Next^.Previous := Waiter.Previous;
end;

function WaitInQueue(var Queue: TWaitQueue; var Waiter: TWaiter; Deadline: QWord): Boolean;
begin
  while not Waiter.Woken do
  begin
    if GetCurrentThread^.Killed or ((Deadline <> 0) and (read_rdtsc >= Deadline)) then
    begin
      LockQueue(Queue);
      Result := Waiter.Woken;
      if not Result then
        LeaveQueue(Queue, Waiter);
      UnlockQueue(Queue);
      Exit;
    end;
    Block(Deadline);
  end;
  Result := True;
end;

function TakeFirst(var Queue: TWaitQueue): TThreadID;
var
  Waiter: PWaiter;
begin
  Waiter := Queue.First;
  if Waiter = nil then
    Exit(0);
  LeaveQueue(Queue, Waiter^);
  Result := Waiter^.ThreadID;
  { From here on, the memory of the waiter may be reused. }
  Waiter^.Woken := True;
end;

function WakeFirst(var Queue: TWaitQueue): Boolean;
var
  ID: TThreadID;
begin
  LockQueue(Queue);
  ID := TakeFirst(Queue);
  UnlockQueue(Queue);
  WakeThread(ID);
  Result := ID <> 0;
end;

procedure WakeAll(var Queue: TWaitQueue);
begin
  while WakeFirst(Queue) do;
end;

procedure WakeOne(var Queue: TWaitQueue);
begin
  if Queue.First <> nil then
    WakeFirst(Queue);
end;

procedure BlockIf(Holds: TCondition; Data: Pointer; var Queue: TWaitQueue);
var
  Waiter: TWaiter;
begin
  LockQueue(Queue);
  JoinQueue(Queue, Waiter);
  { The other side changes the condition, then looks at the queue; this side joins the queue,
    then looks at the condition. Because of the barrier at least one sees the other. }
  ReadWriteBarrier;
  if not Holds(Data) then
  begin
    LeaveQueue(Queue, Waiter);
    UnlockQueue(Queue);
    Exit;
  end;
  UnlockQueue(Queue);
  if WaitInQueue(Queue, Waiter, 0) and GetCurrentThread^.Killed then
    WakeFirst(Queue); { instead of this thread }
  Checkpoint;
end;

procedure YieldWhile(Holds: TCondition; Data: Pointer);
var
  Start, Ticks: QWord;
begin
  Start := read_rdtsc;
  Ticks := TicksOfMicro(BRIEFLY);
  while Holds(Data) and (read_rdtsc - Start < Ticks) do
  begin
    NOP;
    Yield;
  end;
end;

procedure WaitWhile(Holds: TCondition; Data: Pointer; var Queue: TWaitQueue);
begin
  YieldWhile(Holds, Data);
  Checkpoint;
  while Holds(Data) do
    BlockIf(Holds, Data, Queue);
end;

end.
