{ What the server is told to forget. A server keeps a file descriptor for every node that it has
  returned to the client, until the client has forgotten the node as often as it was returned.
  Until then, the space of a removed file stays allocated. One FORGET message names many nodes, so
  they are collected. A message is sent when it is full, when its first node is a second old, and
  at once after a file was removed. }
unit FuseForgets;

{$mode objfpc}

interface

uses FuseQueue;

{ Forgets a node once: collects it, and sends the message when it is full or due. }
procedure Forget(Volume: PFuseVolume; Node: QWord);

{ Sends what was collected now. SettleForgets also waits until the server has carried out all
  FORGET messages, or a second has passed. }
procedure FlushForgets(Volume: PFuseVolume);
procedure SettleForgets(Volume: PFuseVolume);

{ Has SweepNames called for the volume at a TSC, or before. }
procedure SweepBy(Volume: PFuseVolume; Deadline: QWord);

var
  { Forgets nodes of names that are not valid any more. Returns when there will be others; 0: never. }
  SweepNames: function(Volume: PFuseVolume): QWord;

{ ---- For what serves the device ---- }

{ Takes back messages that the server has carried out. The volume's lock is held. }
procedure TakeForgets(Volume: PFuseVolume);

{ Sends what is to be forgotten by now. }
procedure ForgetDue(Volume: PFuseVolume);

{ The server has lost its nodes, and the device its queue: drops all messages. The volume's lock is
  held. }
procedure DropForgets(Volume: PFuseVolume);

implementation

uses Arch, Fuse, Memory, ThreadRequests, VirtIODevices, VirtIOPolling, VirtQueues, WaitQueues;

const
  FORGET_TIME = 1000; { ms for which FORGET is collected }

procedure TakeForgets(Volume: PFuseVolume);
var
  Sent: PFuseForgets;
  Written: LongWord;
begin
  repeat
    Sent := TakeUsed(Volume^.Device^.Queues[HIGH_PRIORITY], Written);
    if Volume^.SpareForgets <> nil then
      ToroFreeMem(Sent)
    else
      Volume^.SpareForgets := Sent;
  until Sent = nil;
end;

{ Sends what was collected. If the queue has no room, the server keeps these nodes. }
procedure SendForgets(Volume: PFuseVolume);
var
  Sent: PFuseForgets;
begin
  Sent := Volume^.Forgets;
  if Sent = nil then
    Exit;
  Sent^.Header.Length := SizeOf(TFuseForgets) - (FORGET_BATCH - Sent^.Batch.Count) * SizeOf(TFuseForgetOne);
  Volume^.Forgets := nil;
  if Offer(Volume^.Device^.Queues[HIGH_PRIORITY], [MakeBuffer(Sent, Sent^.Header.Length)], 1, Sent) then
    NotifyDevice(Volume^.Device^.Queues[HIGH_PRIORITY])
  else
    ToroFreeMem(Sent);
end;

{ Has ForgetDue called at a TSC, or before. }
procedure ForgetBy(Device: PVirtIODevice; Deadline: QWord);
begin
  if (Device^.Due = 0) or (Deadline < Device^.Due) then
    ServeBy(Device, Deadline);
end;

procedure SweepBy(Volume: PFuseVolume; Deadline: QWord);
begin
  AcquireLock(Volume^.Lock);
  ForgetBy(Volume^.Device, Deadline);
  ReleaseLock(Volume^.Lock);
end;

{ A message to collect nodes in; nil: no memory, and the server keeps the nodes. }
function NewForgets(Volume: PFuseVolume): PFuseForgets;
begin
  Result := Volume^.SpareForgets;
  Volume^.SpareForgets := nil;
  if Result = nil then
    Result := ToroGetMem(SizeOf(TFuseForgets));
  if Result = nil then
    Exit;
  FillChar(Result^, SizeOf(Result^), 0);
  Result^.Header.Opcode := OP_BATCH_FORGET;
  Inc(Volume^.LastUnique);
  Result^.Header.Unique := Volume^.LastUnique;
end;

procedure Forget(Volume: PFuseVolume; Node: QWord);
begin
  if Node = ROOT_NODE then
    Exit; { it is known without LOOKUP }
  with Volume^ do
  begin
    AcquireLock(Lock);
    if Forgets = nil then
    begin
      Forgets := NewForgets(Volume);
      ForgetBy(Device, read_rdtsc + TicksOf(FORGET_TIME));
    end;
    if Forgets <> nil then
    begin
      Forgets^.Nodes[Forgets^.Batch.Count].Node := Node;
      Forgets^.Nodes[Forgets^.Batch.Count].Lookups := 1;
      Inc(Forgets^.Batch.Count);
      if Forgets^.Batch.Count = FORGET_BATCH then
        SendForgets(Volume);
    end;
    ReleaseLock(Lock);
  end;
end;

procedure FlushForgets(Volume: PFuseVolume);
begin
  AcquireLock(Volume^.Lock);
  SendForgets(Volume);
  ReleaseLock(Volume^.Lock);
end;

procedure SettleForgets(Volume: PFuseVolume);
var
  Deadline: QWord;

  function UnderWay: Boolean;
  begin
    TakeForgets(Volume);
    with Volume^.Device^.Queues[HIGH_PRIORITY] do
      Result := (FreeCount < Size) and CanSend(Volume, OP_BATCH_FORGET) and (read_rdtsc < Deadline);
  end;

begin
  Deadline := read_rdtsc + TicksOf(PATIENCE);
  AcquireLock(Volume^.Lock);
  SendForgets(Volume);
  WantUsed(Volume^.Device, HIGH_PRIORITY);
  while UnderWay do
    WaitForChange(Volume, Deadline);
  Include(Volume^.Device^.Quiet, HIGH_PRIORITY);
  WakeAll(Volume^.Room); { others may have waited for what this thread has just taken }
  ReleaseLock(Volume^.Lock);
end;

procedure ForgetDue(Volume: PFuseVolume);
var
  Next: QWord;
begin
  AcquireLock(Volume^.Lock);
  Volume^.Device^.Due := 0;
  ReleaseLock(Volume^.Lock);
  Next := SweepNames(Volume);
  FlushForgets(Volume);
  if Next <> 0 then
    SweepBy(Volume, Next);
end;

procedure DropForgets(Volume: PFuseVolume);
var
  I: LongInt;
begin
  ToroFreeMem(Volume^.Forgets);
  Volume^.Forgets := nil;
  with Volume^.Device^.Queues[HIGH_PRIORITY] do
    for I := 0 to Size - 1 do
    begin
      ToroFreeMem(Requests[I].Token);
      Requests[I].Token := nil;
    end;
end;

end.
