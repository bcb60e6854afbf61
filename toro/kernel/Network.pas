{ Stream sockets over virtio-vsock. An address is a context id (CID; the host's is 2) and a
  port.

  A driver is available if its unit is used (VirtIOVSocket), and works once a core is dedicated
  to it. All cores can then use sockets. A thread that waits is blocked and costs nothing. }
unit Network;

{$mode objfpc}

interface

uses PacketInterfaces, ReceiveWindows, SocketTables, StreamSockets, VSockPackets;

const
  SOCKET_STREAM = 2;
  USER_START_PORT = FIRST_PORT;     { ports of outgoing connections begin here, }
  MAX_SocketPORTS = LAST_PORT + 1;  { and end before this one }
  MAX_WINDOW = WINDOW_MOST;    { bytes that a connection keeps for its reader }
  MAX_NET_NAME = PacketInterfaces.MAX_NET_NAME;
  ServiceStack = PacketInterfaces.ServiceStack;

  VIRTIO_VSOCK_OP_INVALID = 0;
  VIRTIO_VSOCK_OP_REQUEST = OP_REQUEST;
  VIRTIO_VSOCK_OP_RESPONSE = OP_RESPONSE;
  VIRTIO_VSOCK_OP_RST = OP_RST;
  VIRTIO_VSOCK_OP_SHUTDOWN = OP_SHUTDOWN;
  VIRTIO_VSOCK_OP_RW = OP_RW;
  VIRTIO_VSOCK_OP_CREDIT_UPDATE = OP_CREDIT_UPDATE;
  VIRTIO_VSOCK_TYPE_STREAM = TYPE_STREAM;
  VIRTIO_VSOCK_MAX_PKT_BUF_SIZE = MAX_PAYLOAD;

  SCK_BLOCKED = SocketTables.SCK_BLOCKED;
  SCK_LISTENING = SocketTables.SCK_LISTENING;
  SCK_TRANSMITTING = SocketTables.SCK_TRANSMITTING;
  SCK_CLOSED = SocketTables.SCK_CLOSED;
  SCK_LOCALCLOSING = SocketTables.SCK_LOCALCLOSING;
  SCK_CONNECTING = SocketTables.SCK_CONNECTING;
  SCK_PEER_DISCONNECTED = SocketTables.SCK_PEER_DISCONNECTED;

type
  TIPAddress = LongWord;       { a context id }
  PSocket = SocketTables.PSocket;
  TSocket = SocketTables.TSocket;
  PPacket = PacketInterfaces.PPacket;
  TPacket = PacketInterfaces.TPacket;
  PNetworkInterface = PacketInterfaces.PNetworkInterface;
  TNetworkInterface = PacketInterfaces.TNetworkInterface;

  { A packet of virtio-vsock, for drivers (virtio 1.2, section 5.10.6) }
  TVirtIOVSockHdr = packed record
    src_cid, dst_cid: QWord;
    src_port, dst_port: DWord;
    len: DWord;
    tp, op: Word;
    flags: DWord;
    buf_alloc, fwd_cnt: DWord;
  end;
  PVirtIOVSocketPacket = ^VirtIOVSocketPacket;
  VirtIOVSocketPacket = packed record
    hdr: TVirtIOVSockHdr;
    data: array[0..0] of Byte; { hdr.len of them }
  end;

  { An event of the device }
  TVirtIOVSockEvent = record
    ID: DWord;
  end;

{ Starts the driver with this name, or whose name starts with it, on this core. Sockets use the
  first driver that started. }
procedure DedicateNetworkSocket(const Name: PChar);

{ Creates a socket; it is non-blocking until Blocking is set. nil: SocketType is not
  SOCKET_STREAM, there is no driver, or no memory. }
function SysSocket(SocketType: LongInt): PSocket;

{ Listens on the socket's SourcePort. Up to QueueLen connections wait to be accepted; more are
  refused. False: the socket or the port is in use, or the port is 0. }
function SysSocketListen(Socket: PSocket; QueueLen: LongInt): Boolean;

{ Accepts a connection. If none is there, a Blocking socket waits, and others return nil. }
function SysSocketAccept(Socket: PSocket): PSocket;

{ Connects to port DestPort of CID DestIp, from SourcePort, or from any port from 10000 up if
  that is 0. False: refused, no answer within 5 s, or no memory for what may come. }
function SysSocketConnect(Socket: PSocket): Boolean;

{ Sends data; Flags is 0. Large data are not copied: the device reads them in place. Returns the
  number of bytes sent: all of them, if the socket is Blocking and the connection lasts. }
function SysSocketSend(Socket: PSocket; Addr: PChar; AddrLen, Flags: LongWord): LongInt;

{ Return up to AddrLen bytes that have arrived; Peek leaves them in the socket. Return the
  number of bytes, 0 if there are none. }
function SysSocketRecv(Socket: PSocket; Addr: PChar; AddrLen, Flags: LongWord): LongInt;
function SysSocketPeek(Socket: PSocket; Addr: PChar; AddrLen: LongWord): LongInt;

{ Waits until there are data, or a connection on a listening socket. False: the peer sends no
  more, or TimeOut (ms) is over. }
function SysSocketSelect(Socket: PSocket; TimeOut: LongInt): Boolean;

{ Whether a send would not wait. }
function SysSocketCanSend(Socket: PSocket): Boolean;

{ Ends sending, and tells the peer so; receiving goes on. A listener stops listening. }
procedure SysSocketShutdown(Socket: PSocket);

{ Closes a connection, or stops listening, and frees the socket. Data sent before still arrive,
  also if the program ends now. }
procedure SysSocketClose(Socket: PSocket);

{ ---- For drivers ---- }

procedure RegisterNetworkDriver(NewDriver: PNetworkDriver);
procedure RegisterNetworkInterface(NetInterface: PNetworkInterface);

{ A packet with Data of Size bytes; nil: no memory. }
function AllocatePacket(Size: LongInt): PPacket;

{ An interface has sent a packet: frees it. }
procedure DequeueOutgoingPacket(Packet: PPacket);

{ A packet has come through this core's interface, which no longer has it. May be called by Send. }
procedure EnqueueIncomingPacket(Packet: PPacket);

{ Send and receive a packet through this core's interface without sockets. SysNetworkRead waits for
  one, which the caller has to free; nil: the core has no interface. }
procedure SysNetworkSend(Packet: PPacket);
function SysNetworkRead: PPacket;

implementation

uses Arch, ByteQueues, SocketSending, SocketWaits;

const
  CONNECT_TIME = 5000; { ms }

var
  Drivers: PNetworkDriver;

procedure RegisterNetworkDriver(NewDriver: PNetworkDriver);
begin
  NewDriver^.Next := Drivers;
  Drivers := NewDriver;
end;

procedure RegisterNetworkInterface(NetInterface: PNetworkInterface);
begin
  AddInterface(NetInterface);
end;

function AllocatePacket(Size: LongInt): PPacket;
begin
  Result := NewPacket(Size);
end;

procedure DequeueOutgoingPacket(Packet: PPacket);
begin
  FreePacket(Packet);
end;

procedure EnqueueIncomingPacket(Packet: PPacket);
begin
  PutPacket(Packet);
end;

procedure SysNetworkSend(Packet: PPacket);
begin
  SendPacket(Packet);
end;

function SysNetworkRead: PPacket;
begin
  Result := GetPacket;
end;

procedure DedicateNetworkSocket(const Name: PChar);
var
  Candidate: PNetworkDriver;
begin
  if Driver = nil then
    Driver := StartInterface(Name);
  Candidate := Drivers;
  while (Candidate <> nil) and (Driver = nil) do
  begin
    if StrCmp(Candidate^.Name, Name, StrLen(Name)) and Candidate^.Start() then
      Driver := Candidate;
    Candidate := Candidate^.Next;
  end;
end;

function SysSocket(SocketType: LongInt): PSocket;
begin
  if (SocketType <> SOCKET_STREAM) or (Driver = nil) then
    Exit(nil);
  Result := NewSocket;
  if Result <> nil then
    Result^.SocketType := SocketType;
end;

function SysSocketListen(Socket: PSocket; QueueLen: LongInt): Boolean;
begin
  AcquireLock(NetworkLock);
  Result := (Socket^.State = SCK_BLOCKED) and (Socket^.SourcePort <> 0) and
            (FindListener(Socket^.SourcePort) = nil);
  if Result then
  begin
    Socket^.PendingMost := QueueLen;
    Socket^.State := SCK_LISTENING;
    AddListener(Socket);
  end;
  LeaveSockets;
end;

function SysSocketAccept(Socket: PSocket): PSocket;
begin
  Result := nil;
  if Socket^.State <> SCK_LISTENING then
    Exit;
  AcquireLock(NetworkLock);
  while (Socket^.Pending = nil) and Socket^.Blocking and (Socket^.State = SCK_LISTENING) and
        WaitFor(Socket^.Waiters, 0) do
    ;
  Result := Socket^.Pending;
  if Result <> nil then
  begin
    Socket^.Pending := Result^.NextPending;
    Result^.NextPending := nil;
    Result^.Listener := nil;
    Dec(Socket^.PendingCount);
  end;
  LeaveSockets;
end;

function SysSocketConnect(Socket: PSocket): Boolean;
var
  Deadline: QWord;
begin
  Result := False;
  if Socket^.State <> SCK_BLOCKED then
    Exit;
  Deadline := read_rdtsc + TicksOf(CONNECT_TIME);
  AcquireLock(NetworkLock);
  if Driver^.GivenUp then
    Result := False
  else if Socket^.SourcePort = 0 then
    Result := ChoosePort(Socket)
  else
    Result := FindConnection(Socket^.SourcePort, Socket^.DestPort, Socket^.DestIp) = nil;
  Result := Result and GiveWindow(Socket);
  if Result then
  begin
    Socket^.State := SCK_CONNECTING;
    AddConnection(Socket);
    SendOp(Socket, OP_REQUEST);
    while (Socket^.State = SCK_CONNECTING) and WaitFor(Socket^.Waiters, Deadline) do
      ;
    Result := Socket^.State in [SCK_TRANSMITTING, SCK_PEER_DISCONNECTED];
    if (Socket^.State = SCK_CONNECTING) and (Driver^.LookAfter <> nil) then
      Driver^.LookAfter();
    if Socket^.State = SCK_CONNECTING then
    begin
      SendOp(Socket, OP_RST);
      RemoveSocket(Socket);
      Socket^.State := SCK_CLOSED;
    end;
  end;
  LeaveSockets;
end;

function SysSocketCanSend(Socket: PSocket): Boolean;
begin
  Result := not CanSend(Socket) or (CreditOf(Socket) > 0);
end;

function SysSocketSend(Socket: PSocket; Addr: PChar; AddrLen, Flags: LongWord): LongInt;
begin
  Result := SendHeadAndData(Socket, nil, 0, Addr, AddrLen);
end;

function Receive(Socket: PSocket; Addr: PChar; AddrLen: LongWord; Take: Boolean): LongInt;
begin
  if Socket^.Received.Count = 0 then
    Exit(0);
  AcquireLock(NetworkLock);
  Result := CopyBytes(Socket^.Received, PByte(Addr), AddrLen, Take);
  if Take then
  begin
    Inc(Socket^.Taken, Result);
    TellCredit(Socket);
  end;
  LeaveSockets;
end;

function SysSocketRecv(Socket: PSocket; Addr: PChar; AddrLen, Flags: LongWord): LongInt;
begin
  Result := Receive(Socket, Addr, AddrLen, True);
end;

function SysSocketPeek(Socket: PSocket; Addr: PChar; AddrLen: LongWord): LongInt;
begin
  Result := Receive(Socket, Addr, AddrLen, False);
end;

function SysSocketSelect(Socket: PSocket; TimeOut: LongInt): Boolean;
var
  Deadline: QWord;

  function Ready: Boolean;
  begin
    Result := (Socket^.Received.Count > 0) or (Socket^.Pending <> nil);
  end;

begin
  if Ready then
    Exit(True);
  if TimeOut < 0 then
    TimeOut := 0;
  Deadline := read_rdtsc + TicksOf(TimeOut);
  AcquireLock(NetworkLock);
  while not Ready and (Socket^.State in [SCK_TRANSMITTING, SCK_LISTENING]) and
        WaitFor(Socket^.Waiters, Deadline) do
    ;
  Result := Ready;
  LeaveSockets;
end;

procedure SysSocketShutdown(Socket: PSocket);
begin
  AcquireLock(NetworkLock);
  if CanSend(Socket) then
  begin
    Socket^.SendingEnded := True;
    SendOp(Socket, OP_SHUTDOWN, SHUTDOWN_SEND);
  end
  else if Socket^.State = SCK_LISTENING then
    StopListener(Socket);
  LeaveSockets;
end;

procedure SysSocketClose(Socket: PSocket);
begin
  AcquireLock(NetworkLock);
  case Socket^.State of
    SCK_TRANSMITTING, SCK_PEER_DISCONNECTED: CloseConnection(Socket);
    SCK_LISTENING: CloseListener(Socket);
  else
    FreeSocket(Socket);
  end;
  LeaveSockets;
end;

end.
