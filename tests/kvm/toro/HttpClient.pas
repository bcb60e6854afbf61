{ Asks port 80 of CID 2 for a page, and prints the answer. }
program HttpClient;

uses
  Process, VirtIOVSocket, Network, Console;

const
  REQUEST: PChar = 'GET / HTTP/1.0'#13#10#13#10;

var
  Socket: PSocket;
  Buffer: array[0..1023] of Char;
  Count: LongInt;

begin
  DedicateNetworkSocket('virtiovsocket');
  Socket := SysSocket(SOCKET_STREAM);
  Socket^.DestIp := 2;
  Socket^.DestPort := 80;
  Socket^.Blocking := True;
  if not SysSocketConnect(Socket) then
    Halt(1);
  SysSocketSend(Socket, REQUEST, Length(REQUEST), 0);
  while SysSocketSelect(Socket, MaxInt) do
  begin
    Count := SysSocketRecv(Socket, @Buffer, SizeOf(Buffer) - 1, 0);
    Buffer[Count] := #0;
    WriteConsoleF('%p', [PtrUInt(@Buffer)]);
  end;
  SysSocketClose(Socket);
end.
