{ The guest of vsock.py: what a client of port 80 sends comes back, port 81 takes all,
  port 82 sends for ever. Each connection has a thread of its own. }
program SocketServer;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Network, Console, VirtIO, VirtIOVSocket;

const
  BUFFER = 256 * 1024;
  STACK = 16384;

procedure Answer(Socket: PSocket; Data: PChar);
var
  Count: LongInt;
begin
  repeat
    Count := 0;
    if SysSocketSelect(Socket, MaxInt) then
      Count := SysSocketRecv(Socket, Data, BUFFER, 0);
    if (Socket.SourcePort = 80) and (SysSocketSend(Socket, Data, Count, 0) < Count) then
      Break;
  until Count = 0;
end;

function Serve(Socket: PSocket): PtrInt;
var
  Data: PChar;
begin
  Data := ToroGetMem(BUFFER);
  if Socket.SourcePort <> 82 then
    Answer(Socket, Data)
  else
    while SysSocketSend(Socket, Data, BUFFER, 0) = BUFFER do
      ;
  ToroFreeMem(Data);
  SysSocketClose(Socket);
  Result := 0;
end;

function Listen(Server: PSocket): PtrInt;
var
  Client: PSocket;
  Thread: TThreadID;
begin
  while True do
  begin
    Client := SysSocketAccept(Server);
    if BeginThread(nil, STACK, @Serve, Client, 0, Thread) = 0 then
      SysSocketClose(Client);
  end;
  Result := 0;
end;

var
  Port: LongInt;
  Server: PSocket;
  Thread: TThreadID;
begin
  DedicateNetworkSocket('virtiovsock');
  for Port := 80 to 82 do
  begin
    Server := SysSocket(SOCKET_STREAM);
    Server.SourcePort := Port;
    Server.Blocking := True;
    SysSocketListen(Server, 128);
    BeginThread(nil, STACK, @Listen, Server, 0, Thread);
  end;
  WriteConsoleF('ready\n', []);
  SysSuspendThread(0);
end.
