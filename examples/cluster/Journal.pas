{ A key-value store that loses nothing: GET /KEY=VALUE is answered when the pair is in the file
  `journal` of the share FS and on the host's disk, GET /KEY fetches, GET / returns the number of
  keys. Started again, here or on another node that has the file, it has all that was answered.

  It serves one client after the other, so that the journal is written in the order of answers. }
program Journal;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Filesystem, Network, Console, VirtIO, VirtIOFS, VirtIOVSocket, FGL;

const
  PORT = 80;
  TIMEOUT = 5000;   { ms after which an idle client is disconnected }
  LINE_MAX = 4096;
  READ_MAX = 65536; { bytes of the journal that are read at a time }
  CRLF = #13#10;

type
  TTable = TFPGMap<String, String>;

var
  Table: TTable;
  Pairs: THandle;   { the journal }

procedure Store(const Pair: String);
var
  Index: LongInt;
begin
  Index := Pos('=', Pair);
  if Index > 0 then
    Table[Copy(Pair, 1, Index - 1)] := Copy(Pair, Index + 1, Length(Pair));
end;

{ Takes what is in the journal, up to the last pair that is whole, and goes on behind that. }
procedure ReadJournal;
var
  Data, Part: String;
  Count, Kept: Int64;
  Index: LongInt;
begin
  Data := '';
  Kept := 0;
  repeat
    SetLength(Part, READ_MAX);
    Count := SysReadFile(Pairs, READ_MAX, PChar(Part));
    if Count <= 0 then
      Break;
    Data := Data + Copy(Part, 1, Count);
    repeat
      Index := Pos(#10, Data);
      if Index = 0 then
        Break;
      Store(Copy(Data, 1, Index - 1));
      Delete(Data, 1, Index);
      Inc(Kept, Index);
    until False;
  until False;
  SysTruncateFile(Pairs, Kept);
  SysSeekFile(Pairs, Kept, SeekSet);
end;

{ False: the pair may be lost. }
function WriteJournal(const Pair: String): Boolean;
var
  Line: String;
begin
  Line := Pair + #10;
  Result := (SysWriteFile(Pairs, Length(Line), PChar(Line)) = Length(Line)) and (SysSyncFile(Pairs) = 1);
end;

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

procedure Answer(Socket: PSocket; const Status, Text: String);
var
  Head: String;
begin
  Str(Length(Text), Head);
  Head := 'HTTP/1.0 ' + Status + CRLF + 'Content-Type: text/plain' + CRLF + 'Content-Length: ' + Head + CRLF + CRLF;
  SysSocketSend(Socket, PChar(Head + Text), Length(Head) + Length(Text), 0);
end;

procedure AnswerQuery(Socket: PSocket; const Query: String);
var
  Index: LongInt;
  Text: String;
begin
  if Query = '' then
  begin
    Str(Table.Count, Text);
    Answer(Socket, '200 OK', Text + ' keys'#10);
  end
  else if Pos('=', Query) > 0 then
  begin
    if WriteJournal(Query) then
    begin
      Store(Query);
      Answer(Socket, '200 OK', 'stored'#10);
    end
    else
      Answer(Socket, '503 Service Unavailable', 'not stored'#10);
  end
  else if Table.Find(Query, Index) then
    Answer(Socket, '200 OK', Table.Data[Index] + #10)
  else
    Answer(Socket, '404 Not Found', 'no such key'#10);
end;

procedure Serve(Socket: PSocket);
var
  Line: String;
begin
  Line := ReceiveLine(Socket);
  if Copy(Line, 1, 5) = 'GET /' then
  begin
    Delete(Line, 1, 5);
    AnswerQuery(Socket, Copy(Line + ' ', 1, Pos(' ', Line + ' ') - 1));
  end
  else if Line <> '' then
    Answer(Socket, '400 Bad Request', 'GET /KEY or GET /KEY=VALUE'#10);
  SysSocketClose(Socket);
end;

var
  Server: PSocket;
begin
  DedicateNetworkSocket('virtiovsocket');
  DedicateBlockDriver('FS', 0);
  Server := SysSocket(SOCKET_STREAM);
  if (Server = nil) or not SysMount('virtiofs', 'FS', 0) then
  begin
    WriteConsoleF('pyvmm boot with --vsock CID and --share DIR:FS\n', []);
    Halt(1);
  end;
  Pairs := SysOpenFile('/journal', O_RDWR or O_CREAT);
  if Pairs = 0 then
  begin
    WriteConsoleF('the journal cannot be opened: error %d\n', [SysFileError]);
    Halt(1);
  end;
  Table := TTable.Create;
  Table.Sorted := True;
  ReadJournal;
  Server.SourcePort := PORT;
  Server.Blocking := True;
  SysSocketListen(Server, 128);
  WriteConsoleF('%d keys\n', [Table.Count]);
  repeat
    Serve(SysSocketAccept(Server));
  until False;
end.
