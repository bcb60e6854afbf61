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
  EIO = 5;

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
    Running: Boolean;
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

{ Both. }
function Call(var Request: TFuseRequest): LongInt;

{ Tells the host, sooner or later, that a node it was asked for is not needed any more. }
procedure Forget(Volume: PFuseVolume; Node: QWord);

{ Starts the device of a volume on this core. }
function StartVolume(Volume: PFuseVolume): Boolean;

implementation

uses Arch, Memory, Scheduling, ThreadRequests, VirtQueues, WaitQueues;

const
  HIGH_PRIORITY = 0;
  REQUESTS = 1;
  QUEUE_ENTRIES = 128;

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

function MakeBuffer(Data: Pointer; Size: LongWord): TVirtBuffer; inline;
begin
  Result.Data := Data;
  Result.Size := Size;
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

procedure WaitForRoom(Volume: PFuseVolume);
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

procedure Start(var Request: TFuseRequest);
begin
  with Request.Volume^ do
  begin
    Request.Header.Length := SizeOf(Request.Header) + Request.ArgSize + Request.SendSize;
    AcquireLock(Lock);
    Inc(LastUnique);
    Request.Header.Unique := LastUnique;
    while not Device^.Broken and not OfferRequest(Request) do
      WaitForRoom(Request.Volume);
    if Device^.Broken then
    begin
      Request.Error := -EIO;
      Request.Done := True;
    end
    else
      NotifyDevice(Device^.Queues[REQUESTS]);
    ReleaseLock(Lock);
  end;
end;

function Finish(var Request: TFuseRequest): LongInt;
begin
  { Also a thread that is to end waits: the device writes to its stack. }
  while not Request.Done do
    Block(0);
  Result := Request.Error;
end;

function Call(var Request: TFuseRequest): LongInt;
begin
  Start(Request);
  Result := Finish(Request);
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

{ The device cannot go on, so nothing that it has comes back. }
procedure FailAll(Volume: PFuseVolume);
var
  I: LongInt;
  Request: PFuseRequest;
begin
  with Volume^.Device^.Queues[REQUESTS] do
    for I := 0 to Size - 1 do
    begin
      Request := Requests[I].Token;
      Requests[I].Token := nil;
      if Request <> nil then
        TakeReply(Request^, 0);
    end;
  WakeAll(Volume^.Room);
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
    FailAll(Volume);
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

{ Agrees with the host on the protocol. }
function Introduce(Volume: PFuseVolume): Boolean;
var
  Request: TFuseRequest;
begin
  Prepare(Request, Volume, OP_INIT, 0, SizeOf(TFuseInit), SizeOf(TFuseInitReply));
  Request.Args.Init.Major := FUSE_MAJOR;
  Request.Args.Init.Minor := FUSE_MINOR;
  Request.Args.Init.MaxReadahead := 1 shl 20;
  Request.Args.Init.Flags := INIT_ASYNC_READ or INIT_BIG_WRITES or INIT_PARALLEL_DIROPS or INIT_MAX_PAGES;
  Result := (Call(Request) = 0) and (Request.Reply.Init.Major = FUSE_MAJOR) and
            (Request.Reply.Init.Minor >= 27);
  if not Result then
    Exit;
  Volume^.MaxTransfer := 32 * 4096;
  if Request.Reply.Init.Flags and INIT_MAX_PAGES <> 0 then
    Volume^.MaxTransfer := Request.Reply.Init.MaxPages * 4096;
  if Volume^.MaxTransfer > Request.Reply.Init.MaxWrite then
    Volume^.MaxTransfer := Request.Reply.Init.MaxWrite;
  Result := Volume^.MaxTransfer >= 4096;
end;

function StartVolume(Volume: PFuseVolume): Boolean;
begin
  Result := StartDevice(Volume^.Device, RING_FEATURES) and AddQueue(Volume^.Device, QUEUE_ENTRIES) and
            AddQueue(Volume^.Device, QUEUE_ENTRIES);
  if not Result then
    Exit;
  Volume^.Next := Volumes;
  Volumes := Volume;
  Volume^.Device^.Quiet := [HIGH_PRIORITY];
  Volume^.Device^.Serve := @Serve;
  RunDevice(Volume^.Device);
  Result := Introduce(Volume);
end;

end.
