{ Stream sockets over virtio-vsock (virtio 1.2, section 5.10.6): what is known of each,
  and what an arriving packet does to it. Network has what applications call.

  Either side may send what the other has room for, its credit: BufAlloc bytes less those
  that were sent and not taken. Both numbers come with every packet. A connection begins
  with REQUEST and RESPONSE, and ends with SHUTDOWN of both halves and a RST, or with a
  RST at any time.

  Everything here is under NetworkLock, so sockets can be used on all cores. It is a spin
  lock: who has it must not give way. }
unit Sockets;

{$mode objfpc}

interface

uses ByteQueues, CoreThreads, VSockPackets;

const
  { States of a socket }
  SCK_BLOCKED = 0;           { new }
  SCK_LISTENING = 1;
  SCK_TRANSMITTING = 3;
  SCK_CLOSED = 4;            { the connection is over }
  SCK_LOCALCLOSING = 5;      { closed by us; the peer has not agreed yet }
  SCK_CONNECTING = 6;
  SCK_PEER_DISCONNECTED = 9; { the peer sends no more }

  { Bytes that a connection keeps until they are read. }
  WINDOW = 262144;

type
  PSocket = ^TSocket;
  TSocket = record
    SourcePort, DestPort: LongWord;
    DestIp: LongWord;        { context id of the peer }
    SocketType: LongInt;
    State: LongInt;          { SCK_* }
    Blocking: Boolean;       { accept, send and receive wait }
    UserDefined: Pointer;    { the application's }

    PeerTakesNoMore: Boolean;
    SendingEnded: Boolean;   { we have said that we send no more }
    Received: TByteQueue;
    Taken, TakenTold: LongWord;        { bytes read so far, and what the peer knows of }
    Sent, PeerTaken, PeerAlloc: LongWord;
    Waiters: TWaitQueue;     { threads that wait for any change }
    Deadline: QWord;         { TSC at which the peer has had its time to agree; 0: none }
    Pending, LastPending: PSocket;     { connections not accepted yet, by NextPending }
    NextPending: PSocket;
    Listener: PSocket;
    PendingCount, PendingMost: LongInt;
    NextInBucket: PSocket;
    NextClosing: PSocket;
  end;

var
  NetworkLock: LongInt;
  Driver: PNetworkDriver;    { that sockets use; nil: none yet }

{ A socket with nothing in it; nil when there is no memory. }
function NewSocket: PSocket;

{ Forgets a socket and what it has received. }
procedure FreeSocket(Socket: PSocket);

{ Whether the port can be listened to, or is a connection's to this peer. }
function FindListener(Port: LongWord): PSocket;
function FindConnection(Port, PeerPort, Cid: LongWord): PSocket;

{ Put a socket where packets find it, and take it away. }
procedure AddListener(Socket: PSocket);
procedure AddConnection(Socket: PSocket);
procedure RemoveSocket(Socket: PSocket);

{ Bytes that the peer has room for. }
function CreditOf(Socket: PSocket): LongWord;

{ The header of a packet of this connection. }
function HeaderFor(Socket: PSocket; Op: Word; Length, Flags: LongWord): TVSockHeader;

{ Sends a packet without data. }
procedure SendOp(Socket: PSocket; Op: Word; Flags: LongWord = 0);

{ Tells the peer of the room that reading has made, if it may be waiting for it. }
procedure TellCredit(Socket: PSocket);

{ Closes a connection: it is freed when the peer has agreed, or has had ten seconds. }
procedure CloseConnection(Socket: PSocket);

{ Serves a packet from the device. Its length has been checked. }
procedure ReceivePacket(const Header: TVSockHeader; Data: PByte);

{ Stops listening: connections that were not accepted yet are refused. }
procedure CloseListener(Socket: PSocket);

{ All connections are over: the device has failed, or the machine moved. }
procedure ResetAll;

implementation

uses Arch, Memory, WaitQueues;

const
  BUCKETS = 1024;
  CLOSING_TIME = 10000; { ms }

var
  Connections, Listeners: array[0..BUCKETS - 1] of PSocket;
  Closing: PSocket; { those in SCK_LOCALCLOSING, the newest first }

function NewSocket: PSocket;
begin
  Result := ToroAllocMem(SizeOf(TSocket));
end;

procedure FreeSocket(Socket: PSocket);
begin
  ClearBytes(Socket^.Received);
  ToroFreeMem(Socket);
end;

{ ---- Table ---- }

function BucketOf(Port, PeerPort: LongWord): LongInt; inline;
begin
  Result := (Port * 31 + PeerPort) mod BUCKETS;
end;

function FindListener(Port: LongWord): PSocket;
begin
  Result := Listeners[Port mod BUCKETS];
  while (Result <> nil) and (Result^.SourcePort <> Port) do
    Result := Result^.NextInBucket;
end;

function FindConnection(Port, PeerPort, Cid: LongWord): PSocket;
begin
  Result := Connections[BucketOf(Port, PeerPort)];
  while (Result <> nil) and
        ((Result^.SourcePort <> Port) or (Result^.DestPort <> PeerPort) or (Result^.DestIp <> Cid)) do
    Result := Result^.NextInBucket;
end;

procedure AddTo(var Bucket: PSocket; Socket: PSocket);
begin
  Socket^.NextInBucket := Bucket;
  Bucket := Socket;
end;

procedure AddListener(Socket: PSocket);
begin
  AddTo(Listeners[Socket^.SourcePort mod BUCKETS], Socket);
end;

procedure AddConnection(Socket: PSocket);
begin
  AddTo(Connections[BucketOf(Socket^.SourcePort, Socket^.DestPort)], Socket);
end;

procedure RemoveSocket(Socket: PSocket);
var
  Link: ^PSocket;
begin
  if Socket^.State = SCK_LISTENING then
    Link := @Listeners[Socket^.SourcePort mod BUCKETS]
  else
    Link := @Connections[BucketOf(Socket^.SourcePort, Socket^.DestPort)];
  while (Link^ <> nil) and (Link^ <> Socket) do
    Link := @Link^^.NextInBucket;
  if Link^ <> nil then
    Link^ := Socket^.NextInBucket;
end;

{ ---- Packets out ---- }

function CreditOf(Socket: PSocket): LongWord;
var
  Outstanding: LongWord;
begin
  Outstanding := Socket^.Sent - Socket^.PeerTaken;
  if Outstanding >= Socket^.PeerAlloc then
    Result := 0
  else
    Result := Socket^.PeerAlloc - Outstanding;
end;

function HeaderFor(Socket: PSocket; Op: Word; Length, Flags: LongWord): TVSockHeader;
begin
  Result.SrcCid := Driver^.Cid;
  Result.DstCid := Socket^.DestIp;
  Result.SrcPort := Socket^.SourcePort;
  Result.DstPort := Socket^.DestPort;
  Result.Length := Length;
  Result.Kind := TYPE_STREAM;
  Result.Op := Op;
  Result.Flags := Flags;
  Result.BufAlloc := WINDOW;
  Result.FwdCnt := Socket^.Taken;
  Socket^.TakenTold := Socket^.Taken;
end;

procedure SendOp(Socket: PSocket; Op: Word; Flags: LongWord);
begin
  Driver^.SendControl(HeaderFor(Socket, Op, 0, Flags));
end;

{ Answers a packet that belongs to no connection. }
procedure Refuse(const Header: TVSockHeader);
var
  Answer: TVSockHeader;
begin
  Answer := Default(TVSockHeader);
  Answer.SrcCid := Header.DstCid;
  Answer.DstCid := Header.SrcCid;
  Answer.SrcPort := Header.DstPort;
  Answer.DstPort := Header.SrcPort;
  Answer.Kind := Header.Kind;
  Answer.Op := OP_RST;
  Driver^.SendControl(Answer);
end;

procedure TellCredit(Socket: PSocket);
begin
  { What the peer believes that there is room for: it knows nothing of Taken - TakenTold. }
  if (Socket^.State = SCK_TRANSMITTING) and (Socket^.Taken - Socket^.TakenTold >= WINDOW div 4) and
     (Socket^.Received.Count + Socket^.Taken - Socket^.TakenTold >= WINDOW div 2) then
    SendOp(Socket, OP_CREDIT_UPDATE);
end;

{ ---- The end of connections ---- }

{ Takes a connection out of the list of those that are closing, and forgets it. }
procedure FreeClosing(Socket: PSocket);
var
  Link: ^PSocket;
begin
  Link := @Closing;
  while Link^ <> Socket do
    Link := @Link^^.NextClosing;
  Link^ := Socket^.NextClosing;
  FreeSocket(Socket);
end;

{ Takes a connection that was not accepted yet from its listener. }
procedure FreePending(Socket: PSocket);
var
  Before: PSocket;
begin
  with Socket^.Listener^ do
  begin
    Dec(PendingCount);
    if Pending = Socket then
      Pending := Socket^.NextPending
    else
    begin
      Before := Pending;
      while Before^.NextPending <> Socket do
        Before := Before^.NextPending;
      Before^.NextPending := Socket^.NextPending;
      if LastPending = Socket then
        LastPending := Before;
    end;
  end;
  FreeSocket(Socket);
end;

{ The connection is over: the application learns of it when it uses the socket next. }
procedure Over(Socket: PSocket);
begin
  RemoveSocket(Socket);
  if Socket^.State = SCK_LOCALCLOSING then
    FreeClosing(Socket)
  else
  begin
    Socket^.State := SCK_CLOSED;
    if Socket^.Listener <> nil then
      FreePending(Socket)
    else
      WakeAll(Socket^.Waiters);
  end;
end;

procedure Reset(Socket: PSocket);
begin
  SendOp(Socket, OP_RST);
  Over(Socket);
end;

procedure ForgetLate;
var
  Socket, Next: PSocket;
begin
  Socket := Closing;
  while Socket <> nil do
  begin
    Next := Socket^.NextClosing;
    if read_rdtsc >= Socket^.Deadline then
      Reset(Socket);
    Socket := Next;
  end;
end;

procedure CloseConnection(Socket: PSocket);
begin
  ForgetLate;
  SendOp(Socket, OP_SHUTDOWN, SHUTDOWN_BOTH);
  Socket^.State := SCK_LOCALCLOSING;
  Socket^.Deadline := read_rdtsc + TicksOf(CLOSING_TIME);
  Socket^.NextClosing := Closing;
  Closing := Socket;
  ClearBytes(Socket^.Received);
end;

procedure CloseListener(Socket: PSocket);
begin
  while Socket^.Pending <> nil do
    Reset(Socket^.Pending);
  RemoveSocket(Socket);
  FreeSocket(Socket);
end;

procedure ResetAll;
var
  I: LongInt;
begin
  for I := 0 to BUCKETS - 1 do
    while Connections[I] <> nil do
      Over(Connections[I]);
end;

{ ---- Packets in ---- }

procedure Connect(const Header: TVSockHeader; Listener: PSocket);
var
  Socket: PSocket;
begin
  ForgetLate;
  Socket := nil;
  if Listener^.PendingCount < Listener^.PendingMost then
    Socket := NewSocket;
  if Socket = nil then
  begin
    Refuse(Header);
    Exit;
  end;
  Socket^.SourcePort := Header.DstPort;
  Socket^.DestPort := Header.SrcPort;
  Socket^.DestIp := Header.SrcCid;
  Socket^.SocketType := Listener^.SocketType;
  Socket^.Blocking := Listener^.Blocking;
  Socket^.State := SCK_TRANSMITTING;
  Socket^.PeerAlloc := Header.BufAlloc;
  Socket^.PeerTaken := Header.FwdCnt;
  Socket^.Listener := Listener;
  AddConnection(Socket);
  if Listener^.Pending = nil then
    Listener^.Pending := Socket
  else
    Listener^.LastPending^.NextPending := Socket;
  Listener^.LastPending := Socket;
  Inc(Listener^.PendingCount);
  SendOp(Socket, OP_RESPONSE);
  WakeAll(Listener^.Waiters);
end;

procedure ReceiveData(Socket: PSocket; const Header: TVSockHeader; Data: PByte);
begin
  if Socket^.State = SCK_LOCALCLOSING then
    Exit; { it was told that nobody takes it }
  if (Socket^.State = SCK_TRANSMITTING) and (Header.Length <= WINDOW - Socket^.Received.Count) and
     AddBytes(Socket^.Received, Data, Header.Length) then
    WakeAll(Socket^.Waiters)
  else
    Reset(Socket);
end;

procedure ReceiveShutdown(Socket: PSocket; Flags: LongWord);
begin
  if Flags and SHUTDOWN_RECEIVE <> 0 then
    Socket^.PeerTakesNoMore := True;
  if (Flags and SHUTDOWN_SEND <> 0) and (Socket^.State = SCK_TRANSMITTING) then
    Socket^.State := SCK_PEER_DISCONNECTED;
  if (Socket^.State <> SCK_TRANSMITTING) and Socket^.PeerTakesNoMore then
    Reset(Socket) { it wants nothing more of us }
  else
    WakeAll(Socket^.Waiters);
end;

procedure ReceivePacket(const Header: TVSockHeader; Data: PByte);
var
  Socket, Listener: PSocket;
begin
  Socket := nil;
  if (Header.DstCid = Driver^.Cid) and (Header.SrcCid <= High(LongWord)) and (Header.Kind = TYPE_STREAM) then
    Socket := FindConnection(Header.DstPort, Header.SrcPort, Header.SrcCid);
  if Socket = nil then
  begin
    Listener := nil;
    if (Header.Op = OP_REQUEST) and (Header.Kind = TYPE_STREAM) then
      Listener := FindListener(Header.DstPort);
    if Listener <> nil then
      Connect(Header, Listener)
    else if Header.Op <> OP_RST then
      Refuse(Header);
    Exit;
  end;
  if Header.Op = OP_RST then
  begin
    Over(Socket);
    Exit;
  end;
  Socket^.PeerAlloc := Header.BufAlloc;
  Socket^.PeerTaken := Header.FwdCnt;
  if (Socket^.State = SCK_CONNECTING) <> (Header.Op = OP_RESPONSE) then
    Reset(Socket)
  else
    case Header.Op of
      OP_RESPONSE:
        begin
          Socket^.State := SCK_TRANSMITTING;
          WakeAll(Socket^.Waiters);
        end;
      OP_RW: ReceiveData(Socket, Header, Data);
      OP_SHUTDOWN: ReceiveShutdown(Socket, Header.Flags);
      OP_CREDIT_UPDATE: WakeAll(Socket^.Waiters);
      OP_CREDIT_REQUEST: SendOp(Socket, OP_CREDIT_UPDATE);
    else
      Reset(Socket);
    end;
end;

end.
