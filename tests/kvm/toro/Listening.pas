{ Listens at as many ports as the first parameter says, which the others name, and greets each client there by the port's number. }
program Listening;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Network, Console, VirtIO, VirtIOVSocket, SysUtils;

function Greet(Server: Pointer): PtrInt;
var
  Client: PSocket;
  Text: String;
begin
  Text := IntToStr(PSocket(Server).SourcePort);
  repeat
    Result := 0;
    Client := SysSocketAccept(Server);
    SysSocketSend(Client, PChar(Text), Length(Text), 0);
    SysSocketClose(Client);
  until False;
end;

var
  I: LongInt;
  Server: PSocket;
  Thread: TThreadID;
begin
  DedicateNetworkSocket('virtiovsocket');
  for I := 1 to StrToInt(GetKernelParam(0)) do
  begin
    Server := SysSocket(SOCKET_STREAM);
    Server.SourcePort := StrToInt64(GetKernelParam(I));
    Server.Blocking := True;
    SysSocketListen(Server, 10);
    BeginThread(nil, 32768, Greet, Server, 0, Thread);
  end;
  WriteConsoleF('listening\n', []);
  SysThreadSwitch;
  repeat
    Sleep(1000);
  until False;
end.
