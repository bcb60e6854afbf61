{ What a server can meet, by port. Each connection has a thread of its own, on the cores
  in turn.

    80  sends back what comes
    81  takes everything and, when the client has ended sending, answers its count and sum
    82  sends as many bytes as the client's first eight say, and closes
    83  sends without end
    84  never reads
    85  ends the machine, with the client's first byte as status
    86  sends back what comes, one byte at a time
    87  connects to port 90 of the host, and carries bytes both ways

  Nobody listens on 88. 89 takes no connection that waits to be accepted. }
program SocketEcho;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Network, Console, VirtIO, VirtIOVSocket;

const
  BUFFER = 65536;
  FOREVER = MaxInt;

function Receive(Socket: PSocket; Buffer: PChar; Count: LongInt): LongInt;
begin
  Result := 0;
  if SysSocketSelect(Socket, FOREVER) then
    Result := SysSocketRecv(Socket, Buffer, Count, 0);
end;

{ Carries what comes from one socket to another until there is no more. }
procedure Carry(Source, Target: PSocket; Step: LongInt);
var
  Data: PChar;
  Count: LongInt;
begin
  Data := ToroGetMem(Step);
  repeat
    Count := Receive(Source, Data, Step);
  until (Count = 0) or (SysSocketSend(Target, Data, Count, 0) < Count);
  ToroFreeMem(Data);
end;

procedure Add(Socket: PSocket);
var
  Data: PByte;
  Count, I: LongInt;
  Total, Sum: QWord;
  Text: ShortString;
begin
  Data := ToroGetMem(BUFFER);
  Total := 0;
  Sum := 0;
  repeat
    Count := Receive(Socket, PChar(Data), BUFFER);
    Inc(Total, Count);
    for I := 0 to Count - 1 do
      Inc(Sum, Data[I]);
  until Count = 0;
  ToroFreeMem(Data);
  Str(Total, Text);
  SysSocketSend(Socket, @Text[1], Length(Text), 0);
  Str(Sum, Text);
  Text := ' ' + Text;
  SysSocketSend(Socket, @Text[1], Length(Text), 0);
end;

{ Byte I of what is sent is I modulo 251. }
procedure Generate(Socket: PSocket; Count: QWord);
const
  PERIOD = 251;
var
  Data: PByte;
  I, Part: LongInt;
begin
  Data := ToroGetMem(PERIOD * 4096);
  for I := 0 to PERIOD * 4096 - 1 do
    Data[I] := I mod PERIOD;
  while Count > 0 do
  begin
    Part := PERIOD * 4096;
    if Part > Count then
      Part := Count;
    if SysSocketSend(Socket, PChar(Data), Part, 0) < Part then
      Break;
    Dec(Count, Part);
  end;
  ToroFreeMem(Data);
end;

function Backward(Pair: PPointer): PtrInt;
begin
  Carry(Pair[1], Pair[0], BUFFER);
  SysSocketShutdown(Pair[0]);
  Result := 0;
end;

procedure Proxy(Socket: PSocket);
var
  Pair: array[0..1] of Pointer;
  Thread: TThreadID;
  Target: PSocket;
begin
  Target := SysSocket(SOCKET_STREAM);
  Target.DestIp := 2;
  Target.DestPort := 90;
  Target.Blocking := True;
  if SysSocketConnect(Target) then
  begin
    Pair[0] := Socket;
    Pair[1] := Target;
    BeginThread(nil, 16384, @Backward, @Pair, GetCoreId, Thread);
    Carry(Socket, Target, BUFFER);
    SysSocketShutdown(Target);
    WaitForThreadTerminate(Thread, 0);
  end;
  SysSocketClose(Target);
end;

procedure Finish(Socket: PSocket);
var
  Status: Byte;
begin
  if Receive(Socket, @Status, 1) = 1 then
    Halt(Status);
end;

function Serve(Socket: PSocket): PtrInt;
var
  Count: QWord;
begin
  case Socket.SourcePort of
    80: Carry(Socket, Socket, BUFFER);
    81: Add(Socket);
    82:
      if Receive(Socket, @Count, SizeOf(Count)) = SizeOf(Count) then
        Generate(Socket, Count);
    83: Generate(Socket, High(QWord));
    84:
      while Socket.State = SCK_TRANSMITTING do
        Sleep(10);
    85: Finish(Socket);
    86: Carry(Socket, Socket, 1);
    87: Proxy(Socket);
  end;
  SysSocketClose(Socket);
  Result := 0;
end;

var
  NextCore: LongInt;

function Listen(Server: PSocket): PtrInt;
var
  Client: PSocket;
  Thread: TThreadID;
begin
  while True do
  begin
    Client := SysSocketAccept(Server);
    if BeginThread(nil, 16384, @Serve, Client, NextCore, Thread) = 0 then
      SysSocketClose(Client);
    NextCore := (NextCore + 1) mod CPU_COUNT;
  end;
  Result := 0;
end;

var
  Port: LongInt;
  Server: PSocket;
  Thread: TThreadID;
begin
  DedicateNetworkSocket('virtiovsock');
  for Port := 80 to 89 do
    if Port <> 88 then
    begin
      Server := SysSocket(SOCKET_STREAM);
      Server.SourcePort := Port;
      Server.Blocking := True;
      SysSocketListen(Server, 1024 * Ord(Port <> 89));
      BeginThread(nil, 16384, @Listen, Server, 0, Thread);
    end;
  WriteConsoleF('ready\n', []);
  SysSuspendThread(0);
end.
