{ FUSE requests through the virtio-fs device (virtio 1.2, section 5.11): queue 0 is for
  requests without a reply (FORGET), queue 1 for all others.

  A request lies on the stack of the thread that makes it, which waits for the reply; so
  a thread can have as many on their way as it has room for, and others go on. The data
  of reads and writes go from and to the caller's memory. All cores can make requests;
  the device's core takes the replies. }
unit FuseQueue;

{$mode objfpc}

interface

uses CoreThreads, Fuse, VirtIO;

const
  TAG_SIZE = 36;
  FORGET_BATCH = 64;

  { Results of a request besides those of the host: the device had to be reset before it was
    sent; or before its reply came, so that nobody knows whether it was done. }
  UNSENT = -5000;
  LOST = -5001;

type
  { Nodes that the host can forget, collected. }
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
    Room: TWaitQueue;      { threads for whose request there was none }
    Tag: array[0..TAG_SIZE] of Char;
    MaxTransfer: LongWord; { bytes of one READ or WRITE }
    { From one reset of the device to the next the host knows the guest's nodes and open
      files (FuseSessions). }
    Running: Boolean;      { there is a session }
    Session: LongWord;     { its number }
    Users: LongInt;        { threads that are at work in it }
    Reviving, GaveUp: Boolean;
    Forgets, SpareForgets: PForgets; { not sent yet; not in use }
    LastUnique: QWord;
    Next: PFuseVolume;
  end;

  TFuseRequest = record
    Volume: PFuseVolume;
    Thread: TThreadID;
    Done: Boolean;
    Error: LongInt;        { 0, or a negative errno }
    ArgSize, ReplySize: LongWord;
    Send: Pointer;         { what follows the arguments: SendSize bytes }
    SendSize: LongWord;
    Fetch: Pointer;        { where what follows the reply goes: FetchSize bytes at most }
    FetchSize: LongWord;
    Fetched: LongWord;     { how many it was }
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

{ Begins a request: its arguments (zeroed), names and data are the caller's to fill in. }
procedure Prepare(out Request: TFuseRequest; Volume: PFuseVolume; Opcode: LongWord; Node: QWord;
  ArgSize, ReplySize: LongWord);

{ Sends it; waits for its reply. Finish returns 0 or a negative errno. }
procedure Start(var Request: TFuseRequest);
function Finish(var Request: TFuseRequest): LongInt;

{ Both. CallOnce is for what must not be done twice: it returns EIO for LOST. }
function Call(var Request: TFuseRequest): LongInt;
function CallOnce(var Request: TFuseRequest): LongInt;

{ Tells the host, sooner or later, that a node it was asked for is not needed any more. }
procedure Forget(Volume: PFuseVolume; Node: QWord);

{ The volume's device, which runs on this core, has these queues; takes its replies. }
procedure ServeVolume(Volume: PFuseVolume);

{ Restarts the device of a volume without users. False: that cannot be just now. }
function RestartVolume(Volume: PFuseVolume): Boolean;

{ Waits, with the volume's lock, which is free meanwhile, until something has changed. }
procedure WaitForChange(Volume: PFuseVolume);

implementation

uses Arch, Filesystem, Memory, Scheduling, ThreadRequests, VirtQueues, WaitQueues;

const
  HIGH_PRIORITY = 0;
  REQUESTS = 1;
  PATIENCE = 1000; { ms without a reply after which the device is asked whether it goes on }

var
  Volumes: PFuseVolume; { that run }

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

{ The request as buffers; False when the queue has no room. }
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

procedure WaitForChange(Volume: PFuseVolume);
var
  Waiter: TWaiter;
begin
  LockQueue(Volume^.Room);
  JoinQueue(Volume^.Room, Waiter);
  UnlockQueue(Volume^.Room);
  ReleaseLock(Volume^.Lock);
  WaitInQueue(Volume^.Room, Waiter, 0);
  AcquireLock(Volume^.Lock);
end;

{ The device cannot go on, so nothing that it has comes back. }
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

{ Before there is a session it must begin. }
function CanSend(const Request: TFuseRequest): Boolean;
begin
  Result := not Request.Volume^.Device^.Broken and
            (Request.Volume^.Running or (Request.Header.Opcode = OP_INIT));
end;

procedure Start(var Request: TFuseRequest);
begin
  with Request.Volume^ do
  begin
    Request.Header.Length := SizeOf(Request.Header) + Request.ArgSize + Request.SendSize;
    AcquireLock(Lock);
    Inc(LastUnique);
    Request.Header.Unique := LastUnique;
    while CanSend(Request) and not OfferRequest(Request) do
      WaitForChange(Request.Volume);
    if CanSend(Request) then
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

{ An interrupt can hide that the device has failed: it also says that something was used. }
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
  { Also a thread that is to end waits: the device writes to its stack. }
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

{ What the host says is checked: it must be as long as it says, and fit. }
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
  if Volume^.Room.First <> nil then
    WakeAll(Volume^.Room);
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
  ReleaseLock(Volume^.Lock);
end;

{ ---- Forgetting ---- }

{ If there is no room, or no memory, the host remembers them until the end. }
procedure SendForgets(Volume: PFuseVolume);
var
  Sent: PForgets;
begin
  Sent := Volume^.Forgets;
  Sent^.Header.Length := SizeOf(TForgets) - (FORGET_BATCH - Sent^.Batch.Count) * SizeOf(TFuseForgetOne);
  Volume^.Forgets := nil;
  if Offer(Volume^.Device^.Queues[HIGH_PRIORITY], [MakeBuffer(Sent, Sent^.Header.Length)], 1, Sent) then
    NotifyDevice(Volume^.Device^.Queues[HIGH_PRIORITY])
  else
    ToroFreeMem(Sent);
end;

{ nil when there is no memory. }
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
    Exit; { it is known without asking }
  with Volume^ do
  begin
    AcquireLock(Lock);
    if Forgets = nil then
      Forgets := NewForgets(Volume);
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

{ ---- Starting ---- }

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
  { The host has forgotten everything. }
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

end.
