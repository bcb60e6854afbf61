{ FUSE requests through the virtio-fs device (virtio 1.2, section 5.11). Queue 0 is for FORGET,
  which has no reply, queue 1 for all other requests.

  A request is a record on the stack of the thread that makes it. A thread can have several
  under way, and waits for the reply to each. Data are read and written in the caller's memory.
  All cores can make requests; the device's core takes the replies. }
unit FuseQueue;

{$mode objfpc}

interface

uses CoreThreads, Fuse, VirtIODevices;

const
  TAG_SIZE = 36;

  { Results of a request besides those of the server. UNSENT: the device failed before the
    request was sent. LOST: it failed afterwards, so the request may have been carried out. }
  UNSENT = -5000;
  LOST = -5001;

  { Queues }
  HIGH_PRIORITY = 0;
  REQUESTS = 1;

  PATIENCE = 1000;    { ms without a reply after which the device's status is checked }

type
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
    Forgets, SpareForgets: PFuseForgets; { collected so far; to be reused: see FuseForgets }
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

{ Waits until something about the volume has changed, or the TSC has reached Deadline (0: no
  deadline). The caller holds the volume's lock, which is released meanwhile. }
procedure WaitForChange(Volume: PFuseVolume; Deadline: QWord = 0);

{ Whether a request can be sent: outside a session only INIT. }
function CanSend(Volume: PFuseVolume; Opcode: LongWord): Boolean;

{ The volume's lock is held: takes the replies that are there. }
procedure TakeReplies(Volume: PFuseVolume);

{ The same: the device has failed, so requests that it has will not return. }
procedure EndSession(Volume: PFuseVolume);

implementation

uses Arch, Filesystem, Scheduling, ThreadRequests, VirtQueues, WaitQueues;

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

end.
