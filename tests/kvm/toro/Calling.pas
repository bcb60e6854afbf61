{ Calls a port of the host until that works, twice at most, and says what came of it. }
program Calling;

{$mode delphi}

uses
  Kernel, Network, VirtIOVSocket;

var
  I: LongInt;
  S: PSocket;
begin
  DedicateNetworkSocket('virtiovsocket');
  for I := 1 to 2 do
  begin
    S := SysSocket(SOCKET_STREAM);
    S.DestIp := 2;
    S.DestPort := 80;
    S.Blocking := True;
    if SysSocketConnect(S) then
    begin
      WriteLn('connected');
      Halt;
    end;
    SysSocketClose(S);
  end;
  WriteLn('refused');
end.
