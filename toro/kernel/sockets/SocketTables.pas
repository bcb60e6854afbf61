{ The sockets, in the tables in which packets look for them. NetworkLock (StreamSockets) protects all of
  this. }
unit SocketTables;

{$mode objfpc}

interface

uses ByteQueues, CoreThreads;

const
  BUCKETS = 1024;

  { Ports of outgoing connections }
  FIRST_PORT = 10000;
  LAST_PORT = 65535;

  { States of a socket }
  SCK_BLOCKED = 0;           { new }
  SCK_LISTENING = 1;
  SCK_TRANSMITTING = 3;
  SCK_CLOSED = 4;            { the connection is over }
  SCK_LOCALCLOSING = 5;      { closed here; the peer has not confirmed yet }
  SCK_CONNECTING = 6;
  SCK_PEER_DISCONNECTED = 9; { the peer sends no more }

type
  PSocket = ^TSocket;
  TSocket = record
    SourcePort, DestPort: LongWord;
    DestIp: LongWord;        { the peer's context id }
    SocketType: LongInt;
    State: LongInt;          { SCK_* }
    Blocking: Boolean;       { accept, send and receive block }
    UserDefined: Pointer;    { for the application }

    PeerTakesNoMore: Boolean;
    SendingEnded: Boolean;   { the peer knows that we send no more }
    Window: LongWord;        { the size of the receive buffer, in bytes }
    WindowBegin: LongWord;   { Taken, and the TSC, when Widen has last looked at it }
    WindowSince: QWord;
    Received: TByteQueue;
    Taken, TakenTold: LongWord;        { bytes read, and FwdCnt of our last packet }
    Sent, PeerTaken, PeerAlloc: LongWord;
    Waiters: TWaitQueue;     { threads that wait for any change of the socket }
    Deadline: QWord;         { TSC at which we stop waiting for the peer's confirmation }
    Pending, LastPending: PSocket;     { connections to accept, linked by NextPending }
    NextPending: PSocket;
    Listener: PSocket;
    PendingCount, PendingMost: LongInt;
    NextInBucket: PSocket;
    NextClosing: PSocket;
  end;

var
  { By BucketOf, linked by NextInBucket. }
  Connections: array[0..BUCKETS - 1] of PSocket;

{ The socket that listens on Port; the connection between Port and this peer; or nil. }
function FindListener(Port: LongWord): PSocket;
function FindConnection(Port, PeerPort, Cid: LongWord): PSocket;

{ Chooses a source port that no listener, and no connection to this peer, has. False: all are in
  use. }
function ChoosePort(Socket: PSocket): Boolean;

{ Enter a socket in the tables in which packets look for it, and remove it. }
procedure AddListener(Socket: PSocket);
procedure AddConnection(Socket: PSocket);
procedure RemoveSocket(Socket: PSocket);

{ Tells the VMM, which is another one after a thaw, of all that listen. }
procedure TellOfListeners;

implementation

uses Arch, BootInfo;

const
  LISTEN_PORT = $FC; { where the VMM is told of listeners (docs/boot-protocol.md) }

var
  Listeners: array[0..BUCKETS - 1] of PSocket;
  NextPort: LongWord = FIRST_PORT;

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

function ChoosePort(Socket: PSocket): Boolean;
var
  I: LongInt;
begin
  for I := FIRST_PORT to LAST_PORT do
  begin
    Socket^.SourcePort := NextPort;
    Inc(NextPort);
    if NextPort > LAST_PORT then
      NextPort := FIRST_PORT;
    if (FindConnection(Socket^.SourcePort, Socket^.DestPort, Socket^.DestIp) = nil) and
       (FindListener(Socket^.SourcePort) = nil) then
      Exit(True);
  end;
  Socket^.SourcePort := 0;
  Result := False;
end;

procedure AddTo(var Bucket: PSocket; Socket: PSocket);
begin
  Socket^.NextInBucket := Bucket;
  Bucket := Socket;
end;

{ A VMM that publishes whatever port a guest listens at wants to know it; to others the write is
  nothing. Another loader's machine may have something at that port. }
procedure TellOf(Listener: PSocket);
begin
  if TheBootInfo^.Flags and BOOT_INFO_LINES = 0 then
    write_portd(@Listener^.SourcePort, LISTEN_PORT);
end;

procedure AddListener(Socket: PSocket);
begin
  AddTo(Listeners[Socket^.SourcePort mod BUCKETS], Socket);
  TellOf(Socket);
end;

procedure TellOfListeners;
var
  Bucket: LongInt;
  Socket: PSocket;
begin
  for Bucket := 0 to BUCKETS - 1 do
  begin
    Socket := Listeners[Bucket];
    while Socket <> nil do
    begin
      TellOf(Socket);
      Socket := Socket^.NextInBucket;
    end;
  end;
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

end.
