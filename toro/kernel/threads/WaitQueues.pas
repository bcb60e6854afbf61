{ Threads that wait for something, in the order in which they came; of any core. }
unit WaitQueues;

{$mode objfpc}

interface

uses CoreThreads;

{ A queue is looked at and changed between these, for a few instructions. }
procedure LockQueue(var Queue: TWaitQueue); inline;
procedure UnlockQueue(var Queue: TWaitQueue); inline;

{ Puts the current thread at the end of a locked queue. }
procedure JoinQueue(var Queue: TWaitQueue; out Waiter: TWaiter);

{ Waits, in a queue that is not locked, until another thread has woken the waiter.
  False when it has not by a TSC of Deadline (0: for ever), or the thread is to end;
  the waiter is out of the queue then. }
function WaitInQueue(var Queue: TWaitQueue; var Waiter: TWaiter; Deadline: QWord): Boolean;

{ Takes a waiter out of a locked queue. }
procedure LeaveQueue(var Queue: TWaitQueue; var Waiter: TWaiter);

{ Takes the first thread out of a locked queue: 0 when there is none. After the
  queue is unlocked, it must be given to WakeThread. }
function TakeFirst(var Queue: TWaitQueue): TThreadID;

{ Wakes the first thread (False: there is none), or threads until none waits. }
function WakeFirst(var Queue: TWaitQueue): Boolean;
procedure WakeAll(var Queue: TWaitQueue);

type
  TCondition = function(Data: Pointer): Boolean;

{ Waits in the queue if Holds(Data). Who changes the condition does it with a locked
  instruction and then calls WakeOne or WakeAll. It may hold again by then. }
procedure BlockIf(Holds: TCondition; Data: Pointer; var Queue: TWaitQueue);

{ Lets the other threads of this core run while Holds(Data), but not for long. }
procedure YieldWhile(Holds: TCondition; Data: Pointer);

{ Waits while Holds(Data), first by YieldWhile and then by BlockIf. }
procedure WaitWhile(Holds: TCondition; Data: Pointer; var Queue: TWaitQueue);

{ WakeFirst, if it looks as if anybody waits. }
procedure WakeOne(var Queue: TWaitQueue); inline;

implementation

uses Arch, Scheduling, ThreadRequests;

const
  { How long YieldWhile takes at most, in microseconds. With the time that the scheduler
    looks for work before it halts the core, this is about as long as halting and waking
    take: so two cores that answer each other do not begin to halt each time. }
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
  { From here on the waiter's stack may change. }
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
  { Who changes the condition looks at the queue after that, and this looks at the
    condition after it has joined the queue: one of them sees the other. }
  ReadWriteBarrier;
  if not Holds(Data) then
  begin
    LeaveQueue(Queue, Waiter);
    UnlockQueue(Queue);
    Exit;
  end;
  UnlockQueue(Queue);
  if WaitInQueue(Queue, Waiter, 0) and GetCurrentThread^.Killed then
    WakeFirst(Queue); { in the place of this one }
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
