{ Stream sockets over virtio-vsock (virtio 1.2, section 5.10.6): the state of each socket, and
  what a packet does to it. Applications use Network.

  A primer on credit, vsock's flow control. Every packet header carries two numbers of its
  sender: BufAlloc, the size of its receive buffer, and FwdCnt, how many bytes it has read from
  that buffer so far, modulo 2^32. We have sent Sent bytes; the peer has read PeerTaken of them.
  So Sent - PeerTaken may still be in its buffer, and PeerAlloc less that is our credit: what we
  may send now. Reading makes room, which the peer learns from FwdCnt in our next packet. If we
  have nothing to send, we tell it by CREDIT_UPDATE once it may be running out of credit.

  REQUEST and RESPONSE open a connection. SHUTDOWN of both directions and a RST close it; a RST
  closes it at any time.

  BufAlloc is a promise, for which ReceiveWindows finds the memory. It grows when a stream uses it up
  faster than the peer learns of the room.

  NetworkLock protects everything here, so all cores can use sockets. It is a spin lock: its
  holder must not yield. }
unit StreamSockets;

{$mode objfpc}

interface

uses CoreThreads, SocketTables, VSockPackets;

var
  NetworkLock: LongInt;
  Driver: PNetworkDriver;    { the driver in use; nil: none yet }
  AnyChange: TWaitQueue;     { threads that wait for several sockets }

{ A new socket; nil: no memory. }
function NewSocket: PSocket;

{ Frees a socket and the data that it has received. }
procedure FreeSocket(Socket: PSocket);

{ Gives a connection its window. False: the memory for it is not there. }
function GiveWindow(Socket: PSocket): Boolean;

{ Credit: how many bytes the peer has room for. }
function CreditOf(Socket: PSocket): LongWord;

{ The header for a packet of this connection. }
function HeaderFor(Socket: PSocket; Op: Word; Length, Flags: LongWord): TVSockHeader;

{ Sends a packet without data. }
procedure SendOp(Socket: PSocket; Op: Word; Flags: LongWord = 0);

{ A packet of a transfer has been returned. }
procedure Returned(var Transfer: TTransfer);

{ Sends CREDIT_UPDATE if the peer may be running out of credit. }
procedure TellCredit(Socket: PSocket);

{ Closes a connection. The socket is freed once the peer confirms, at the latest after ten
  seconds. }
procedure CloseConnection(Socket: PSocket);

{ Handles a packet from the device, which has checked its length. }
procedure ReceivePacket(const Header: TVSockHeader; Data: PByte);

{ Stops listening; connections that were not accepted are reset. }
procedure CloseListener(Socket: PSocket);

{ Makes a listener refuse, and those that wait for its connections go on. }
procedure StopListener(Socket: PSocket);

{ Ends all connections, because the device has failed or the machine was thawed. }
procedure ResetAll;

{ Tell all peers that we send and receive no more, and count those that have not confirmed yet. }
procedure ShutDownAll;
function Unconfirmed: LongInt;

implementation

uses Arch, ByteQueues, Memory, ReceiveWindows, ThreadRequests, WaitQueues;

const
  CLOSING_TIME = 10000; { ms }
  ROUND_TRIP = 1000;    { us: with other work on the host's CPUs }

var
  Closing: PSocket; { sockets in SCK_LOCALCLOSING, newest first }

function NewSocket: PSocket;
begin
  Result := ToroAllocMem(SizeOf(TSocket));
end;

function GiveWindow(Socket: PSocket): Boolean;
begin
  Socket^.Window := TakeWindow;
  Result := Socket^.Window > 0;
end;

procedure FreeSocket(Socket: PSocket);
begin
  ReturnWindow(Socket^.Window);
  ClearBytes(Socket^.Received);
  ToroFreeMem(Socket);
end;

{ Wakes the threads that wait for a change of the socket. }
procedure Changed(Socket: PSocket);
begin
  WakeAll(Socket^.Waiters);
  if AnyChange.First <> nil then
    WakeAll(AnyChange);
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
  Result.BufAlloc := Socket^.Window;
  Result.FwdCnt := Socket^.Taken;
  Socket^.TakenTold := Socket^.Taken;
end;

procedure SendOp(Socket: PSocket; Op: Word; Flags: LongWord);
begin
  Driver^.SendControl(HeaderFor(Socket, Op, 0, Flags));
end;

procedure Returned(var Transfer: TTransfer);
begin
  Dec(Transfer.Packets);
  if Transfer.Packets > 0 then
    Exit;
  if Transfer.Thread <> 0 then
    WakeThread(Transfer.Thread)
  else
    Transfer.Finished(@Transfer);
end;

{ Answers a packet for which there is no connection with RST. }
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

{ Makes the window larger if it has been used up in less time than a round trip may take. }
procedure Widen(Socket: PSocket);
var
  Now: QWord;
begin
  if Socket^.Taken - Socket^.WindowBegin < Socket^.Window then
    Exit;
  Now := read_rdtsc;
  if Now - Socket^.WindowSince < TicksOfMicro(ROUND_TRIP) then
    GrowWindow(Socket^.Window);
  Socket^.WindowBegin := Socket^.Taken;
  Socket^.WindowSince := Now;
end;

procedure TellCredit(Socket: PSocket);
begin
  { The peer's view of our buffer: it does not know of Taken - TakenTold. }
  if (Socket^.State = SCK_TRANSMITTING) and (Socket^.Taken - Socket^.TakenTold >= Socket^.Window div 4) and
     (Socket^.Received.Count + Socket^.Taken - Socket^.TakenTold >= Socket^.Window div 2) then
  begin
    Widen(Socket);
    SendOp(Socket, OP_CREDIT_UPDATE);
  end;
end;

{ ---- The end of connections ---- }

{ Frees a connection that was closing. }
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

{ Frees a connection that was not accepted, and takes it from its listener. }
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

{ Ends a connection. The application notices when it uses the socket next. }
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
      Changed(Socket);
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
  ReturnWindow(Socket^.Window);
end;

procedure StopListener(Socket: PSocket);
begin
  while Socket^.Pending <> nil do
    Reset(Socket^.Pending);
  RemoveSocket(Socket);
  Socket^.State := SCK_CLOSED;
  Changed(Socket);
end;

procedure CloseListener(Socket: PSocket);
begin
  StopListener(Socket);
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

procedure ShutDownAll;
var
  I: LongInt;
  Socket: PSocket;
begin
  for I := 0 to BUCKETS - 1 do
  begin
    Socket := Connections[I];
    while Socket <> nil do
    begin
      if Socket^.State in [SCK_TRANSMITTING, SCK_PEER_DISCONNECTED] then
      begin
        Socket^.SendingEnded := True;
        SendOp(Socket, OP_SHUTDOWN, SHUTDOWN_BOTH);
      end;
      Socket := Socket^.NextInBucket;
    end;
  end;
end;

function Unconfirmed: LongInt;
var
  I: LongInt;
  Socket: PSocket;
begin
  Result := 0;
  for I := 0 to BUCKETS - 1 do
  begin
    Socket := Connections[I];
    while Socket <> nil do
    begin
      if Socket^.State <> SCK_CONNECTING then
        Inc(Result);
      Socket := Socket^.NextInBucket;
    end;
  end;
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
  if (Socket <> nil) and not GiveWindow(Socket) then
  begin
    FreeSocket(Socket);
    Socket := nil;
  end;
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
  Changed(Listener);
end;

procedure ReceiveData(Socket: PSocket; const Header: TVSockHeader; Data: PByte);
begin
  if Socket^.State = SCK_LOCALCLOSING then
    Exit; { the SHUTDOWN has told it that we read no more }
  if (Socket^.State = SCK_TRANSMITTING) and (Header.Length <= Socket^.Window - Socket^.Received.Count) and
     AddBytes(Socket^.Received, Data, Header.Length, ChunkOf(Socket^.Window)) then
    Changed(Socket)
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
    Reset(Socket) { both directions are closed }
  else
    Changed(Socket);
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
          Changed(Socket);
        end;
      OP_RW: ReceiveData(Socket, Header, Data);
      OP_SHUTDOWN: ReceiveShutdown(Socket, Header.Flags);
      OP_CREDIT_UPDATE: Changed(Socket);
      OP_CREDIT_REQUEST: SendOp(Socket, OP_CREDIT_UPDATE);
    else
      Reset(Socket);
    end;
end;

end.
