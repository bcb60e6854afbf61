{ System calls for stream sockets.

  A socket is one of Network, whatever its address family is: a port of AF_INET or AF_INET6 is a
  vsock port. connect leads to the host, whatever the address is, except with AF_VSOCK, whose
  addresses name the peer. An AF_INET address that a call returns has the peer's CID in its last
  byte. The device is started at the first call of `socket`, by the core that makes it. }
unit SocketCalls;

{$mode objfpc}

interface

implementation

uses Arch, ByteQueues, Descriptors, LibraryCalls, Memory, Network, PollCalls, SocketTables, StreamSockets, SystemCalls;

const
  ENOMEM = 12;
  EPIPE = 32;
  EPROTONOSUPPORT = 93;
  EAFNOSUPPORT = 97;
  EADDRINUSE = 98;
  ENETDOWN = 100;
  ENOTCONN = 107;
  ENOTSOCK = 88;
  ECONNREFUSED = 111;

  AF_INET = 2;
  AF_INET6 = 10;
  AF_VSOCK = 40;
  TYPE_STREAM = 1;
  TYPE_MASK = $F;

  HOST_CID = 2;
  BACKLOG_LEAST = 128; { a listener that asks for less gets as much, because Linux tries again }
  FIRST_PORT = 10000;  { range of ports for a listener that names none }
  LAST_PORT = 65535;

  MSG_PEEK = 2;
  MSG_DONTWAIT = $40;

  { ioctl }
  FIONREAD = $541B;
  FIONBIO = $5421;

  { Options of sockets }
  SOL_SOCKET = 1;
  SO_TYPE = 3;
  SO_RCVTIMEO = 20;

  FOREVER = 1000000000; { ms }

type
  { sockaddr_in, _in6 and _vm; the port of the first two is big-endian }
  PAddress = ^TAddress;
  TAddress = packed record
    Family: Word;
    case LongInt of
      0: (Port: Word; Address: LongWord);
      1: (Reserved: Word; VPort, Cid: LongWord);
      2: (Port6: Word; Flow: LongWord; Address6: array[0..15] of Byte; Scope: LongWord);
  end;

  { The socket of a descriptor }
  PEnd = ^TEnd;
  TEnd = record
    Socket: PSocket;
    Family: Word;
    ReceiveTime: LongInt; { ms that a receive waits at most; 0: without end }
  end;

function EndOf(Description: PDescription): PEnd; inline;
begin
  Result := Description^.Data;
end;

{ ---- Addresses ---- }

procedure TakeAddress(Address: PAddress; out Port, Cid: LongWord);
begin
  Cid := HOST_CID;
  if Address^.Family = AF_VSOCK then
  begin
    Port := Address^.VPort;
    Cid := Address^.Cid;
  end
  else
    Port := BEtoN(Address^.Port);
end;

{ Stores an address as a call returns it, shortened to the caller's room. }
procedure GiveAddress(Family: Word; Port, Cid: LongWord; Target: Pointer; Length: PLongWord);
var
  Address: TAddress;
  Size: LongWord;
begin
  if (Target = nil) or (Length = nil) then
    Exit;
  Address := Default(TAddress);
  Address.Family := Family;
  Size := 16;
  case Family of
    AF_VSOCK:
      begin
        Address.VPort := Port;
        Address.Cid := Cid;
      end;
    AF_INET6:
      begin
        Address.Port6 := NtoBE(Word(Port));
        Address.Address6[15] := Cid;
        Size := 28;
      end;
  else
    Address.Port := NtoBE(Word(Port));
    Address.Address := NtoBE(Cid);
  end;
  if Size > SizeOf(Address) then
    Size := SizeOf(Address);
  if Size > Length^ then
    Move(Address, Target^, Length^)
  else
    Move(Address, Target^, Size);
  Length^ := Size;
end;

{ ---- Reading and writing ---- }

function Receive(Description: PDescription; Data: PByte; Count: PtrInt; Flags: LongInt): PtrInt;
var
  Socket: PSocket;
  Time: LongInt;
begin
  Socket := EndOf(Description)^.Socket;
  if Count > MaxLongInt then
    Count := MaxLongInt;
  if not (Socket^.State in [SCK_TRANSMITTING, SCK_PEER_DISCONNECTED, SCK_CLOSED]) then
    Exit(-ENOTCONN);
  Time := EndOf(Description)^.ReceiveTime;
  repeat
    if Flags and MSG_PEEK <> 0 then
      Result := SysSocketPeek(Socket, PChar(Data), Count)
    else
      Result := SysSocketRecv(Socket, PChar(Data), Count, 0);
    if (Result > 0) or (Count = 0) or (Socket^.State <> SCK_TRANSMITTING) then
    begin
      { What came before the end is read first. }
      if (Result = 0) and (Count > 0) and (Socket^.Received.Count > 0) then
        Continue;
      Exit;
    end;
    if (Description^.Flags and O_NONBLOCK <> 0) or (Flags and MSG_DONTWAIT <> 0) then
      Exit(-EAGAIN);
    if Time = 0 then
      SysSocketSelect(Socket, FOREVER)
    else if not SysSocketSelect(Socket, Time) and (Socket^.State = SCK_TRANSMITTING) then
      Exit(-EAGAIN);
  until False;
end;

function Send(Description: PDescription; Data: PByte; Count: PtrInt; Flags: LongInt): PtrInt;
var
  Socket: PSocket;
begin
  Socket := EndOf(Description)^.Socket;
  if Count > MaxLongInt then
    Count := MaxLongInt;
  Socket^.Blocking := (Description^.Flags and O_NONBLOCK = 0) and (Flags and MSG_DONTWAIT = 0);
  Result := SysSocketSend(Socket, PChar(Data), Count, 0);
  if (Result > 0) or (Count = 0) then
    Exit;
  if (Socket^.State in [SCK_TRANSMITTING, SCK_PEER_DISCONNECTED]) and not Socket^.SendingEnded and
     not Socket^.PeerTakesNoMore then
    Result := -EAGAIN
  else
    Result := -EPIPE;
end;

function ReadSocket(Description: PDescription; Data: PByte; Count: PtrInt): PtrInt;
begin
  Result := Receive(Description, Data, Count, 0);
end;

function WriteSocket(Description: PDescription; Data: PByte; Count: PtrInt): PtrInt;
begin
  Result := Send(Description, Data, Count, 0);
end;

procedure CloseSocket(Description: PDescription);
begin
  SysSocketClose(EndOf(Description)^.Socket);
  ToroFreeMem(Description^.Data);
end;

function SocketReady(Description: PDescription): LongInt;
var
  Socket: PSocket;
begin
  Socket := EndOf(Description)^.Socket;
  Result := 0;
  if (Socket^.Received.Count > 0) or (Socket^.Pending <> nil) or
     not (Socket^.State in [SCK_BLOCKED, SCK_TRANSMITTING, SCK_LISTENING]) then
    Result := POLLIN;
  if (Socket^.State <> SCK_LISTENING) and SysSocketCanSend(Socket) then
    Result := Result or POLLOUT;
  if Socket^.State = SCK_CLOSED then
    Result := Result or POLLHUP;
end;

{ ---- Connections ---- }

function FreePort: LongWord;
begin
  for Result := FIRST_PORT to LAST_PORT do
    if FindListener(Result) = nil then
      Exit;
  Result := 0;
end;

function Listen(Socket: PSocket; Backlog: LongInt): PtrInt;
begin
  if Backlog < BACKLOG_LEAST then
    Backlog := BACKLOG_LEAST;
  if Socket^.SourcePort = 0 then
    Socket^.SourcePort := FreePort;
  Result := 0;
  if Socket^.State = SCK_LISTENING then
    Exit; { again }
  if not SysSocketListen(Socket, Backlog) then
    Result := -EADDRINUSE;
end;

function Bind(Socket: PSocket; Address: PAddress): PtrInt;
var
  Port, Cid: LongWord;
begin
  TakeAddress(Address, Port, Cid);
  if (Port <> 0) and (FindListener(Port) <> nil) then
    Exit(-EADDRINUSE);
  Socket^.SourcePort := Port;
  Result := 0;
end;

function Connect(Socket: PSocket; Address: PAddress): PtrInt;
begin
  TakeAddress(Address, Socket^.DestPort, Socket^.DestIp);
  Result := 0;
  if not SysSocketConnect(Socket) then
    Result := -ECONNREFUSED;
end;

const
  SocketKind: TKind = (Read: @ReadSocket; Write: @WriteSocket; Close: @CloseSocket; Ready: @SocketReady; Other: nil);

var
  { SocketKind with Other, which refers to it }
  Kind: TKind;

{ Opens a descriptor for a socket of Network. }
function NewEnd(Socket: PSocket; Family: Word; Flags: LongInt): PtrInt;
var
  The: PEnd;
begin
  The := ToroAllocMem(SizeOf(TEnd));
  Result := -ENOMEM;
  if The <> nil then
  begin
    The^.Socket := Socket;
    The^.Family := Family;
    Result := NewDescriptor(@Kind, The, Flags);
  end;
  if Result >= 0 then
    Exit;
  ToroFreeMem(The);
  SysSocketClose(Socket);
end;

function Accept(Description: PDescription; const Call: TCall): PtrInt;
var
  Socket: PSocket;
  Time: LongInt;
begin
  with EndOf(Description)^ do
  begin
    if Socket^.State <> SCK_LISTENING then
      Exit(-EINVAL);
    Time := ReceiveTime;
    Socket^.Blocking := (Description^.Flags and O_NONBLOCK = 0) and (Time = 0);
    if Time > 0 then
      SysSocketSelect(Socket, Time);
  end;
  Socket := SysSocketAccept(EndOf(Description)^.Socket);
  if Socket = nil then
  begin
    if EndOf(Description)^.Socket^.State <> SCK_LISTENING then
      Exit(-EINVAL);
    Exit(-EAGAIN);
  end;
  GiveAddress(EndOf(Description)^.Family, Socket^.DestPort, Socket^.DestIp, Call.Pointers[2], Call.Pointers[3]);
  Result := NewEnd(Socket, EndOf(Description)^.Family, 0);
end;

function NewSocketCall(Family, Kind_: PtrInt): PtrInt;
var
  Socket: PSocket;
begin
  if (Family <> AF_INET) and (Family <> AF_INET6) and (Family <> AF_VSOCK) then
    Exit(-EAFNOSUPPORT);
  if Kind_ and TYPE_MASK <> TYPE_STREAM then
    Exit(-EPROTONOSUPPORT);
  DedicateNetworkSocket('virtiovsocket');
  Socket := SysSocket(SOCKET_STREAM);
  if Socket = nil then
    Exit(-ENETDOWN);
  Result := NewEnd(Socket, Family, Kind_ and O_NONBLOCK);
end;

{ ---- Options ---- }

function SetOption(Socket: PEnd; const Call: TCall): PtrInt;
begin
  Result := 0;
  if (Call.Args[2] = SOL_SOCKET) and (Call.Args[3] = SO_RCVTIMEO) and (Call.Args[5] >= SizeOf(TTimeval)) then
    with PTimeval(Call.Pointers[4])^ do
      Socket^.ReceiveTime := Seconds * 1000 + (Micro + 999) div 1000;
end;

function GetOption(const Call: TCall): PtrInt;
var
  Length: PLongWord;
begin
  Length := Call.Pointers[5];
  Result := 0;
  FillChar(Call.Pointers[4]^, Length^, 0);
  if (Call.Args[2] = SOL_SOCKET) and (Call.Args[3] = SO_TYPE) and (Length^ >= SizeOf(LongInt)) then
    PLongInt(Call.Pointers[4])^ := TYPE_STREAM;
end;

{ ioctl }
function Control(Description: PDescription; const Call: TCall): PtrInt;
begin
  Result := 0;
  case Call.Args[2] of
    FIONREAD: PLongInt(Call.Pointers[3])^ := EndOf(Description)^.Socket^.Received.Count;
    FIONBIO:
      if PLongInt(Call.Pointers[3])^ <> 0 then
        Description^.Flags := Description^.Flags or O_NONBLOCK
      else
        Description^.Flags := Description^.Flags and not O_NONBLOCK;
  else
    Result := -ENOTTY;
  end;
end;

{ A call about an open socket }
function SocketOther(Description: PDescription; const Call: TCall): PtrInt;
var
  The: PEnd;
begin
  The := EndOf(Description);
  Result := 0;
  case Call.Number of
    CALL_CONNECT: Result := Connect(The^.Socket, Call.Pointers[2]);
    CALL_ACCEPT: Result := Accept(Description, Call);
    CALL_SENDTO: Result := Send(Description, Call.Pointers[2], Call.Args[3], Call.Args[4]);
    CALL_RECVFROM: Result := Receive(Description, Call.Pointers[2], Call.Args[3], Call.Args[4]);
    CALL_SHUTDOWN:
      if Call.Args[2] > 0 then
        SysSocketShutdown(The^.Socket);
    CALL_BIND: Result := Bind(The^.Socket, Call.Pointers[2]);
    CALL_LISTEN: Result := Listen(The^.Socket, Call.Args[2]);
    CALL_GETSOCKNAME:
      GiveAddress(The^.Family, The^.Socket^.SourcePort, Driver^.Cid, Call.Pointers[2], Call.Pointers[3]);
    CALL_GETPEERNAME:
      if The^.Socket^.State in [SCK_TRANSMITTING, SCK_PEER_DISCONNECTED] then
        GiveAddress(The^.Family, The^.Socket^.DestPort, The^.Socket^.DestIp, Call.Pointers[2], Call.Pointers[3])
      else
        Result := -ENOTCONN;
    CALL_SETSOCKOPT: Result := SetOption(The, Call);
    CALL_GETSOCKOPT: Result := GetOption(Call);
    CALL_IOCTL: Result := Control(Description, Call);
    CALL_LSEEK: Result := -ESPIPE;
  else
    Result := -EINVAL;
  end;
end;

{ A call of a socket that is not read, write or close }
function OfSocket(const Call: TCall): PtrInt;
var
  Description: PDescription;
begin
  Description := Acquire(Call.Args[1]);
  if Description = nil then
    Exit(-EBADF);
  if Description^.Kind = @Kind then
    Result := SocketOther(Description, Call)
  else
    Result := -ENOTSOCK;
  Release(Description);
end;

function SocketCall(const Call: TCall): PtrInt;
begin
  case Call.Number of
    CALL_SOCKET: Result := NewSocketCall(Call.Args[1], Call.Args[2]);
    CALL_POLL: Result := Poll(Call.Pointers[1], Call.Args[2], LongInt(Call.Args[3]));
    CALL_SELECT:
      Result := Select(Call.Args[1], Call.Pointers[2], Call.Pointers[3], Call.Pointers[4], Call.Pointers[5]);
    CALL_SOCKETPAIR: Result := -EAFNOSUPPORT;
  else
    Result := OfSocket(Call);
  end;
end;

initialization
  Kind := SocketKind;
  Kind.Other := @SocketOther;
  Telling := @Kind;
  OnSocketCall := @SocketCall;
end.
