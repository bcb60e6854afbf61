{ FUSE requests through the virtio-fs device (virtio 1.2, section 5.11). Queue 0 is for FORGET,
  which has no reply, queue 1 for all other requests.

  A request is a record on the stack of the thread that makes it. A thread can have several
  under way, and waits for the reply to each. Data are read and written in the caller's memory.
  All cores can make requests; the device's core takes the replies.

  A primer on FORGET. A server keeps a file descriptor for every node that it has returned to
  the client, until the client has forgotten the node as often as it was returned. Until then,
  the space of a removed file stays allocated. One FORGET message names many nodes, so they are
  collected. A message is sent when it is full, when its first node is a second old, and at once
  after a file was removed. }
unit FuseQueue;

{$mode objfpc}

interface

uses CoreThreads, Fuse, VirtIODevices;

const
  TAG_SIZE = 36;
  FORGET_BATCH = 64;

  { Results of a request besides those of the server. UNSENT: the device failed before the
    request was sent. LOST: it failed afterwards, so the request may have been carried out. }
  UNSENT = -5000;
  LOST = -5001;

type
  { A FORGET message }
  PForgets = ^TForgets;
  TForgets = packed record
    Header: TFuseRequestHeader;
    Batch: TFuseForget;
    Nodes: array[0..FORGET_BATCH - 1] of TFuseForgetOne;
  end;

  PFuseVolume = ^TFuseVolume;
  TFuseVolume = record
    Device: PVirtIODevice;
    Lock: LongInt;
    Room: TWaitQueue;      { threads in WaitForChange }
    Tag: array[0..TAG_SIZE] of Char;
    MaxTransfer: LongWord; { bytes of one READ or WRITE }
    HasPlus: Boolean;      { READDIRPLUS tells what may be remembered }
    Changes: LongWord;     { that this guest has made: replies from before them may not be remembered }
    Running: Boolean;      { there is a session: see FuseSessions }
    Session: LongWord;     { its number }
    Users: LongInt;        { threads in it }
    Reviving, GaveUp: Boolean;
    Forgets, SpareForgets: PForgets; { collected so far; to be reused }
    LastUnique: QWord;
    Next: PFuseVolume;
  end;

  TFuseRequest = record
    Volume: PFuseVolume;
    Thread: TThreadID;
    Done: Boolean;
    Error: LongInt;        { 0, or a negative errno }
    ArgSize, ReplySize: LongWord;
    Send: Pointer;         { names or data behind the arguments: SendSize bytes }
    SendSize: LongWord;
    Fetch: Pointer;        { buffer for data behind the reply: FetchSize bytes }
    FetchSize: LongWord;
    Fetched: LongWord;     { bytes of these data }
    Header: TFuseRequestHeader;
    Args: packed record
      case Byte of
        0: (Init: TFuseInit);
        1: (GetAttr: TFuseGetAttr);
        2: (SetAttr: TFuseSetAttr);
        3: (Open: TFuseOpen);
        4: (Create: TFuseCreate);
        5: (MkDir: TFuseMkDir);
        6: (Rename: TFuseRename);
        7: (Transfer: TFuseTransfer);
        8: (Release: TFuseRelease);
        9: (Sync: TFuseSync);
    end;
    ReplyHeader: TFuseReplyHeader;
    Reply: packed record
      case Byte of
        0: (Init: TFuseInitReply);
        1: (Attributes: TFuseAttributesReply);
        2: (Entry: TFuseEntry);
        3: (Open: TFuseOpenReply);
        4: (Create: TFuseCreateReply);
        5: (Write: TFuseWriteReply);
    end;
  end;
  PFuseRequest = ^TFuseRequest;

{ Initializes a request. The caller then sets its arguments, which are zeroed, Send and Fetch. }
procedure Prepare(out Request: TFuseRequest; Volume: PFuseVolume; Opcode: LongWord; Node: QWord;
  ArgSize, ReplySize: LongWord);

{ Send a request, and wait for its reply. Finish returns 0 or a negative errno. }
procedure Start(var Request: TFuseRequest);
function Finish(var Request: TFuseRequest): LongInt;

{ Both together. CallOnce is for requests that must not be repeated: it returns EIO for LOST. }
function Call(var Request: TFuseRequest): LongInt;
function CallOnce(var Request: TFuseRequest): LongInt;

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

{ Starts serving the volume's device, whose queues are set up, on this core. }
procedure ServeVolume(Volume: PFuseVolume);

{ Restarts the device of a volume without users. False: it is still broken. }
function RestartVolume(Volume: PFuseVolume): Boolean;

{ Waits until something about the volume has changed, or the TSC has reached Deadline (0: no
  deadline). The caller holds the volume's lock, which is released meanwhile. }
procedure WaitForChange(Volume: PFuseVolume; Deadline: QWord = 0);

implementation

uses Arch, Filesystem, Memory, Scheduling, Thaw, ThreadRequests, VirtIOPolling, VirtQueues, WaitQueues;

const
  HIGH_PRIORITY = 0;
  REQUESTS = 1;
  PATIENCE = 1000;    { ms without a reply after which the device's status is checked }
  FORGET_TIME = 1000; { ms for which FORGET is collected }

var
  Volumes: PFuseVolume; { those being served }
  AtThaw: TRenewal;

procedure Prepare(out Request: TFuseRequest; Volume: PFuseVolume; Opcode: LongWord; Node: QWord;
  ArgSize, ReplySize: LongWord);
begin
  Request := Default(TFuseRequest);
  Request.Volume := Volume;
  Request.Thread := GetCurrentThread^.ThreadID;
  Request.ArgSize := ArgSize;
  Request.ReplySize := ReplySize;
  Request.Header.Opcode := Opcode;
  Request.Header.Node := Node;
end;

{ Adds a request to the queue. False: no room. }
function OfferRequest(var Request: TFuseRequest): Boolean;
var
  Buffers: array[0..3] of TVirtBuffer;
  Count, Readable: LongInt;
begin
  Buffers[0] := MakeBuffer(@Request.Header, SizeOf(Request.Header) + Request.ArgSize);
  Count := 1;
  if Request.SendSize > 0 then
  begin
    Buffers[1] := MakeBuffer(Request.Send, Request.SendSize);
    Count := 2;
  end;
  Readable := Count;
  Buffers[Count] := MakeBuffer(@Request.ReplyHeader, SizeOf(Request.ReplyHeader) + Request.ReplySize);
  Inc(Count);
  if Request.FetchSize > 0 then
  begin
    Buffers[Count] := MakeBuffer(Request.Fetch, Request.FetchSize);
    Inc(Count);
  end;
  Result := Offer(Request.Volume^.Device^.Queues[REQUESTS], Buffers[0..Count - 1], Readable, @Request);
end;

procedure WaitForChange(Volume: PFuseVolume; Deadline: QWord);
var
  Waiter: TWaiter;
begin
  LockQueue(Volume^.Room);
  JoinQueue(Volume^.Room, Waiter);
  UnlockQueue(Volume^.Room);
  ReleaseLock(Volume^.Lock);
  { A killed thread does not wait, but must let this core serve the device. }
  if not WaitInQueue(Volume^.Room, Waiter, Deadline) then
    Yield;
  AcquireLock(Volume^.Lock);
end;

{ The device has failed: requests that it has will not return. }
procedure EndSession(Volume: PFuseVolume);
var
  I: LongInt;
  Request: PFuseRequest;
begin
  Volume^.Running := False;
  with Volume^.Device^.Queues[REQUESTS] do
    for I := 0 to Size - 1 do
    begin
      Request := Requests[I].Token;
      Requests[I].Token := nil;
      if Request = nil then
        Continue;
      Request^.Error := LOST;
      Request^.Done := True;
      WakeThread(Request^.Thread);
    end;
  WakeAll(Volume^.Room);
end;

{ Outside a session only INIT can be sent. }
function CanSend(Volume: PFuseVolume; Opcode: LongWord): Boolean;
begin
  Result := not Volume^.Device^.Broken and (Volume^.Running or (Opcode = OP_INIT));
end;

procedure Start(var Request: TFuseRequest);
begin
  with Request.Volume^ do
  begin
    Request.Header.Length := SizeOf(Request.Header) + Request.ArgSize + Request.SendSize;
    AcquireLock(Lock);
    Inc(LastUnique);
    Request.Header.Unique := LastUnique;
    while CanSend(Request.Volume, Request.Header.Opcode) and not OfferRequest(Request) do
      WaitForChange(Request.Volume);
    if CanSend(Request.Volume, Request.Header.Opcode) then
      NotifyDevice(Device^.Queues[REQUESTS])
    else
    begin
      Request.Error := UNSENT;
      Request.Done := True;
      if Running then
        EndSession(Request.Volume);
    end;
    ReleaseLock(Lock);
  end;
end;

{ Checks whether the device has failed. Serve may have missed that: an interrupt that reports it
  can also report used buffers. }
procedure LookAfterDevice(Volume: PFuseVolume);
begin
  AcquireLock(Volume^.Lock);
  if Volume^.Device^.Broken or NeedsReset(Volume^.Device) then
  begin
    Volume^.Device^.Broken := True;
    EndSession(Volume);
  end;
  ReleaseLock(Volume^.Lock);
end;

function Finish(var Request: TFuseRequest): LongInt;
var
  Deadline: QWord;
begin
  { A killed thread waits, too, because the device writes to its stack. }
  while not Request.Done do
  begin
    Deadline := read_rdtsc + TicksOf(PATIENCE);
    while not Request.Done and (read_rdtsc < Deadline) do
      Block(Deadline);
    if not Request.Done then
      LookAfterDevice(Request.Volume);
  end;
  Result := Request.Error;
end;

function Call(var Request: TFuseRequest): LongInt;
begin
  Start(Request);
  Result := Finish(Request);
end;

function CallOnce(var Request: TFuseRequest): LongInt;
begin
  Result := Call(Request);
  if Result = LOST then
    Result := -EIO;
end;

{ Checks a reply: its length must be as stated, and fit into the buffers. }
procedure TakeReply(var Request: TFuseRequest; Written: LongWord);
begin
  with Request do
  begin
    Error := ReplyHeader.Error;
    if (Written < SizeOf(ReplyHeader)) or (ReplyHeader.Length > Written) or (Error > 0) or (Error <= -4096) then
      Error := -EIO
    else if (Error = 0) and (Written < SizeOf(ReplyHeader) + ReplySize) then
      Error := -EIO
    else if Error = 0 then
    begin
      Fetched := Written - SizeOf(ReplyHeader) - ReplySize;
      if Fetched > FetchSize then
        Error := -EIO;
    end;
    Done := True;
  end;
  WakeThread(Request.Thread);
end;

procedure TakeForgets(Volume: PFuseVolume);
var
  Sent: PForgets;
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

procedure TakeReplies(Volume: PFuseVolume);
var
  Request: PFuseRequest;
  Written: LongWord;
begin
  repeat
    Request := TakeUsed(Volume^.Device^.Queues[REQUESTS], Written);
    if Request = nil then
      Break;
    TakeReply(Request^, Written);
  until False;
end;

{ ---- Forgetting ---- }

{ Sends what was collected. If the queue has no room, the server keeps these nodes. }
procedure SendForgets(Volume: PFuseVolume);
var
  Sent: PForgets;
begin
  Sent := Volume^.Forgets;
  if Sent = nil then
    Exit;
  Sent^.Header.Length := SizeOf(TForgets) - (FORGET_BATCH - Sent^.Batch.Count) * SizeOf(TFuseForgetOne);
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
function NewForgets(Volume: PFuseVolume): PForgets;
begin
  Result := Volume^.SpareForgets;
  Volume^.SpareForgets := nil;
  if Result = nil then
    Result := ToroGetMem(SizeOf(TForgets));
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

{ ---- Serving the device ---- }

{ Sends what is to be forgotten by now. }
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

procedure Serve(Device: PVirtIODevice);
var
  Volume: PFuseVolume;
begin
  Volume := Volumes;
  while Volume^.Device <> Device do
    Volume := Volume^.Next;
  AcquireLock(Volume^.Lock);
  TakeReplies(Volume);
  TakeForgets(Volume);
  if Device^.Queues[REQUESTS].Broken then
    Device^.Broken := True;
  if Device^.Broken then
    EndSession(Volume);
  if Volume^.Room.First <> nil then
    WakeAll(Volume^.Room);
  ReleaseLock(Volume^.Lock);
  if (Device^.Due <> 0) and (read_rdtsc >= Device^.Due) then
    ForgetDue(Volume);
end;

procedure ServeVolume(Volume: PFuseVolume);
begin
  Volume^.Next := Volumes;
  Volumes := Volume;
  Volume^.Device^.Quiet := [HIGH_PRIORITY];
  Volume^.Device^.Serve := @Serve;
  RunDevice(Volume^.Device);
end;

function RestartVolume(Volume: PFuseVolume): Boolean;
var
  I: LongInt;
begin
  AcquireLock(Volume^.Lock);
  { The server has lost its nodes. }
  ToroFreeMem(Volume^.Forgets);
  Volume^.Forgets := nil;
  with Volume^.Device^.Queues[HIGH_PRIORITY] do
    for I := 0 to Size - 1 do
    begin
      ToroFreeMem(Requests[I].Token);
      Requests[I].Token := nil;
    end;
  Result := RestartDevice(Volume^.Device);
  ReleaseLock(Volume^.Lock);
end;

{ The server of a thawed machine is another one. }
procedure EndSessions;
var
  Volume: PFuseVolume;
begin
  Volume := Volumes;
  while Volume <> nil do
  begin
    AcquireLock(Volume^.Lock);
    Volume^.Device^.Broken := True;
    EndSession(Volume);
    ReleaseLock(Volume^.Lock);
    Volume := Volume^.Next;
  end;
end;

initialization
  AtThaw.Renew := @EndSessions;
  RegisterRenewal(AtThaw);
end.
