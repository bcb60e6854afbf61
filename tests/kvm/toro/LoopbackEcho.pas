{ An echo server and its client, in one program, over the loopback interface. }
program LoopbackEcho;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Network, Console, Loopback;

const
  PORT = 80;
  CID = 9;
  WAIT = 2000; { ms }

var
  Listening: Boolean;

procedure Check(Condition: Boolean; Name: PChar);
begin
  if Condition then
    WriteConsoleF('ok %p\n', [PtrUInt(Name)])
  else
    WriteConsoleF('FAILED %p\n', [PtrUInt(Name)]);
end;

function Serve(Parameter: Pointer): PtrInt;
var
  Server, Client: PSocket;
  Data: array[0..4095] of Char;
  Count: LongInt;
begin
  Server := SysSocket(SOCKET_STREAM);
  Server.SourcePort := PORT;
  Server.Blocking := True;
  SysSocketListen(Server, 10);
  Listening := True;
  while True do
  begin
    Client := SysSocketAccept(Server);
    while SysSocketSelect(Client, WAIT) do
    begin
      Count := SysSocketRecv(Client, @Data, SizeOf(Data), 0);
      if Count > 0 then
        SysSocketSend(Client, @Data, Count, 0);
    end;
    SysSocketClose(Client);
  end;
  Result := 0;
end;

{ Whether what is sent comes back. }
function Echo(Size: LongInt): Boolean;
var
  Client: PSocket;
  Sent, Back: PChar;
  Count, I: LongInt;
begin
  Sent := ToroGetMem(Size);
  Back := ToroGetMem(Size);
  for I := 0 to Size - 1 do
    Sent[I] := Char(I * 3);
  Client := SysSocket(SOCKET_STREAM);
  Client.DestIp := CID;
  Client.DestPort := PORT;
  Client.Blocking := True;
  Result := SysSocketConnect(Client);
  if not Result then
    Exit;
  SysThreadSwitch;
  SysThreadSwitch; { the server accepts }
  SysSocketSend(Client, Sent, Size, 0);
  Count := 0;
  while (Count < Size) and SysSocketSelect(Client, WAIT) do
    Inc(Count, SysSocketRecv(Client, Back + Count, Size - Count, 0));
  Result := (Count = Size) and (CompareByte(Sent^, Back^, Size) = 0);
  SysSocketClose(Client);
end;

var
  ID: TThreadID;
  Client: PSocket;
begin
  DedicateNetworkSocket('nothing');
  DedicateNetworkSocket('loopback');
  BeginThread(nil, 65536, Serve, nil, 0, ID);
  while not Listening do
    SysThreadSwitch;
  Check(Echo(5), 'five bytes');
  Check(Echo(4096), 'a page');
  Client := SysSocket(SOCKET_STREAM);
  Client.DestIp := CID;
  Client.DestPort := PORT + 1;
  Client.Blocking := True;
  Check(not SysSocketConnect(Client), 'refused where nobody listens');
  Check(Sent > 6, 'all of it went through the interface');
end.
