{ A key-value store for HTTP clients: GET /KEY=VALUE stores, GET /KEY fetches, GET / returns the
  number of keys. It serves any number of clients. All its threads are on core 0, so the table
  needs no lock. }
program HashTableServer;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Network, Console, VirtIO, VirtIOVSocket, FGL;

const
  PORT = 80;
  TIMEOUT = 5000;   { ms after which an idle client is disconnected }
  LINE_MAX = 4096;
  CRLF = #13#10;

type
  TTable = TFPGMap<String, String>;

var
  Table: TTable;

{ The first line from a client; empty if there is none, or it is too long. }
function ReceiveLine(Socket: PSocket): String;
var
  Data: array[0..511] of Char;
  Count: LongInt;
  Part: String;
begin
  Result := '';
  while (Pos(CRLF, Result) = 0) and (Length(Result) < LINE_MAX) do
  begin
    if not SysSocketSelect(Socket, TIMEOUT) then
      Exit('');
    Count := SysSocketRecv(Socket, @Data, SizeOf(Data), 0);
    SetString(Part, PChar(@Data), Count);
    Result := Result + Part;
  end;
  Result := Copy(Result, 1, Pos(CRLF, Result) - 1);
end;

procedure Send(Socket: PSocket; const Text: String);
begin
  SysSocketSend(Socket, PChar(Text), Length(Text), 0);
end;

procedure Answer(Socket: PSocket; const Status, Text: String);
var
  Size: String;
begin
  Str(Length(Text), Size);
  Send(Socket, 'HTTP/1.0 ' + Status + CRLF + 'Content-Type: text/plain' + CRLF + 'Content-Length: ' + Size + CRLF +
    CRLF + Text);
end;

{ The argument of GET: between the slash and the next blank. }
function QueryOf(const Line: String): String;
var
  Start: LongInt;
begin
  Start := Pos('/', Line);
  Result := Copy(Line, Start + 1, Length(Line));
  if Pos(' ', Result) > 0 then
    SetLength(Result, Pos(' ', Result) - 1);
end;

procedure AnswerQuery(Socket: PSocket; const Query: String);
var
  Index: LongInt;
  Text: String;
begin
  Index := Pos('=', Query);
  if Query = '' then
  begin
    Str(Table.Count, Text);
    Answer(Socket, '200 OK', Text + ' keys'#10);
  end
  else if Index > 0 then
  begin
    Table[Copy(Query, 1, Index - 1)] := Copy(Query, Index + 1, Length(Query));
    Answer(Socket, '200 OK', Copy(Query, Index + 1, Length(Query)) + #10);
  end
  else if Table.Find(Query, Index) then
    Answer(Socket, '200 OK', Table.Data[Index] + #10)
  else
    Answer(Socket, '404 Not Found', 'no such key'#10);
end;

function Serve(Socket: Pointer): PtrInt;
var
  Line: String;
begin
  Line := ReceiveLine(Socket);
  if Copy(Line, 1, 5) = 'GET /' then
    AnswerQuery(Socket, QueryOf(Line))
  else if Line <> '' then
    Answer(Socket, '400 Bad Request', 'GET /KEY or GET /KEY=VALUE'#10);
  SysSocketClose(Socket);
  Result := 0;
end;

var
  Server, Client: PSocket;
  Thread: TThreadID;
begin
  DedicateNetworkSocket('virtiovsocket');
  Server := SysSocket(SOCKET_STREAM);
  if Server = nil then
  begin
    WriteConsoleF('no vsock device: pyvmm boot with --vsock\n', []);
    Halt(1);
  end;
  Table := TTable.Create;
  Table.Sorted := True;
  Server.SourcePort := PORT;
  Server.Blocking := True;
  SysSocketListen(Server, 128);
  WriteConsoleF('listening\n', []);
  while True do
  begin
    Client := SysSocketAccept(Server);
    if BeginThread(nil, 32768, Serve, Client, 0, Thread) = 0 then
      SysSocketClose(Client);
  end;
end.
