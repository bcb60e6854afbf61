{ Serves a directory of the host over HTTP. Parameters: the network driver, the file system, its
  tag, and optionally `noconsole`, which turns off the line for each request.

  Each connection has a thread; the threads are spread over the cores. }
program StaticWebServer;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Filesystem, Network, Console, VirtIO, VirtIOFS, VirtIOVSocket;

const
  PORT = 80;
  BACKLOG = 1024;
  TIMEOUT = 5000;    { ms after which an idle client is disconnected }
  REQUEST_MAX = 8192;
  PART = 262144;     { bytes of a file that are read at a time }
  CRLF = #13#10;

type
  TRequest = record
    Socket: PSocket;
    Text: array[0..REQUEST_MAX] of Char; { what has been received of it }
    Count: LongInt;
    Path: PChar;     { points into Text }
    IsGet, IsHead, KeepAlive: Boolean;
  end;
  PRequest = ^TRequest;

{ ---- Requests ---- }

{ The end of the request, after its empty line; 0: it is incomplete. }
function EndOf(const Request: TRequest): LongInt;
var
  I: LongInt;
begin
  for I := 4 to Request.Count do
    if StrCmp(@Request.Text[I - 4], CRLF + CRLF, 4) then
      Exit(I);
  Result := 0;
end;

{ Reads until the request is complete. Returns its end, or 0 if the client has closed the
  connection or is too slow. }
function ReceiveRequest(var Request: TRequest): LongInt;
begin
  Result := EndOf(Request);
  while Result = 0 do
  begin
    if (Request.Count = REQUEST_MAX) or not SysSocketSelect(Request.Socket, TIMEOUT) then
      Exit;
    Inc(Request.Count, SysSocketRecv(Request.Socket, @Request.Text[Request.Count], REQUEST_MAX - Request.Count, 0));
    Result := EndOf(Request);
  end;
end;

function HexDigit(C: Char): LongInt;
begin
  case C of
    '0'..'9': Result := Ord(C) - Ord('0');
    'A'..'F': Result := Ord(C) - Ord('A') + 10;
    'a'..'f': Result := Ord(C) - Ord('a') + 10;
  else
    Result := -1;
  end;
end;

{ Decodes %XX. The path ends at a blank or a question mark. }
procedure DecodePath(Path: PChar);
var
  Target: PChar;
begin
  Target := Path;
  while not (Path^ in [#0..' ', '?', '#']) do
  begin
    if (Path^ = '%') and (HexDigit(Path[1]) >= 0) and (HexDigit(Path[2]) >= 0) then
    begin
      Target^ := Char(16 * HexDigit(Path[1]) + HexDigit(Path[2]));
      Inc(Path, 2);
    end
    else
      Target^ := Path^;
    Inc(Path);
    Inc(Target);
  end;
  Target^ := #0;
end;

function HasHeader(const Text: String; const Header: ShortString): Boolean;
begin
  Result := Pos(CRLF + Header, LowerCase(Text)) > 0;
end;

procedure ParseRequest(var Request: TRequest; Size: LongInt);
var
  Head: String;
begin
  SetString(Head, PChar(@Request.Text), Size);
  Request.IsGet := Copy(Head, 1, 4) = 'GET ';
  Request.IsHead := Copy(Head, 1, 5) = 'HEAD ';
  if Pos(' HTTP/1.1' + CRLF, Head) > 0 then
    Request.KeepAlive := not HasHeader(Head, 'connection: close')
  else
    Request.KeepAlive := HasHeader(Head, 'connection: keep-alive');
  Request.Path := @Request.Text[Pos(' ', Head)];
  DecodePath(Request.Path);
end;

{ ---- Answers ---- }

function TypeOf(Path: PChar): ShortString;
var
  Extension: ShortString;
  I: LongInt;
begin
  I := StrLen(Path);
  while (I > 0) and not (Path[I - 1] in ['.', '/']) do
    Dec(I);
  Extension := LowerCase(StrPas(Path + I));
  if (Extension = 'html') or (Extension = 'htm') then
    Result := 'text/html; charset=utf-8'
  else if (Extension = 'txt') or (Extension = 'md') then
    Result := 'text/plain; charset=utf-8'
  else if Extension = 'css' then
    Result := 'text/css'
  else if Extension = 'js' then
    Result := 'text/javascript'
  else if Extension = 'json' then
    Result := 'application/json'
  else if Extension = 'svg' then
    Result := 'image/svg+xml'
  else if (Extension = 'png') or (Extension = 'gif') then
    Result := 'image/' + Extension
  else if (Extension = 'jpg') or (Extension = 'jpeg') then
    Result := 'image/jpeg'
  else
    Result := 'application/octet-stream';
end;

function Send(var Request: TRequest; Data: PChar; Count: LongInt): Boolean;
begin
  Result := SysSocketSend(Request.Socket, Data, Count, 0) = Count;
end;

function SendHead(var Request: TRequest; const Status, ContentType: ShortString; Size: Int64): Boolean;
var
  Text, Number: ShortString;
begin
  Str(Size, Number);
  Text := 'HTTP/1.1 ' + Status + CRLF + 'Server: Toro' + CRLF + 'Content-Type: ' + ContentType + CRLF +
    'Content-Length: ' + Number + CRLF;
  if Request.KeepAlive then
    Text := Text + CRLF
  else
    Text := Text + 'Connection: close' + CRLF + CRLF;
  Result := Send(Request, @Text[1], Length(Text));
end;

function Refuse(var Request: TRequest; const Status: ShortString): Boolean;
begin
  Result := SendHead(Request, Status, 'text/plain', Length(Status) + 1) and
    (Request.IsHead or (Send(Request, @Status[1], Length(Status)) and Send(Request, #10, 1)));
end;

{ The status for a file that cannot be had: a failure of the share is not the client's. }
function StatusOf(Error: LongInt): ShortString;
begin
  case Error of
    ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, EXDEV: Result := '404 Not Found';
    EACCES: Result := '403 Forbidden';
  else
    Result := '503 Service Unavailable';
  end;
end;

function Read(Handle: THandle; Data: PChar; Count: Int64): Boolean;
begin
  Result := (Count = 0) or (SysReadFile(Handle, Count, Data) = Count);
end;

{ Sends a file, with its head. False: the connection must be closed, because the file could not be
  read to its end. }
function SendFile(var Request: TRequest; Handle: THandle; const ContentType: ShortString; Size: Int64): Boolean;
var
  Data: PChar;
  Count, Left: Int64;
begin
  Left := Size;
  if Request.IsHead then
    Left := 0;
  Count := PART;
  if Count > Left then
    Count := Left;
  Data := ToroGetMem(Count);
  if (Data = nil) or not Read(Handle, Data, Count) then
    Result := Refuse(Request, '503 Service Unavailable')
  else
  begin
    Result := SendHead(Request, '200 OK', ContentType, Size);
    while Result and (Left > 0) do
    begin
      Result := Send(Request, Data, Count);
      Dec(Left, Count);
      if Count > Left then
        Count := Left;
      Result := Result and Read(Handle, Data, Count);
    end;
  end;
  ToroFreeMem(Data);
end;

{ Answers a request. False: the connection must be closed. }
function Answer(var Request: TRequest): Boolean;
var
  Inode: TInode;
  Handle: THandle;
  Path: String;
begin
  if not (Request.IsGet or Request.IsHead) then
  begin
    Request.KeepAlive := False;
    Exit(Refuse(Request, '405 Method Not Allowed'));
  end;
  Path := Request.Path;
  if (Path = '') or (Path[Length(Path)] = '/') then
    Path := Path + 'index.html';
  if SysStatFile(PChar(Path), @Inode) = 0 then
    Exit(Refuse(Request, StatusOf(SysFileError)));
  if Inode.Mode <> INODE_REG then
    Exit(Refuse(Request, '404 Not Found'));
  Handle := SysOpenFile(PChar(Path), O_RDONLY);
  if Handle = 0 then
    Exit(Refuse(Request, StatusOf(SysFileError)));
  Result := SendFile(Request, Handle, TypeOf(PChar(Path)), Inode.Size);
  SysCloseFile(Handle);
  WriteConsoleF('%p, %d bytes\n', [PtrUInt(PChar(Path)), Inode.Size]);
end;

{ ---- Connections ---- }

function Serve(Socket: Pointer): PtrInt;
var
  Request: PRequest;
  Size: LongInt;
begin
  Request := ToroGetMem(SizeOf(TRequest));
  if Request <> nil then
  begin
    Request.Socket := Socket;
    Request.Count := 0;
    repeat
      Size := ReceiveRequest(Request^);
      if Size = 0 then
        Break;
      ParseRequest(Request^, Size);
      if not Answer(Request^) then
        Break;
      { What follows is the beginning of the next request. }
      Dec(Request.Count, Size);
      Move(Request.Text[Size], Request.Text, Request.Count);
    until not Request.KeepAlive;
    ToroFreeMem(Request);
  end;
  SysSocketClose(Socket);
  Result := 0;
end;

var
  Server, Client: PSocket;
  Thread: TThreadID;
  Core: LongInt;
begin
  if KernelParamCount < 3 then
  begin
    WriteConsoleF('parameters: virtiovsocket,virtiofs,TAG[,noconsole]\n', []);
    Halt(1);
  end;
  DedicateNetworkSocket(GetKernelParam(0));
  DedicateBlockDriver(GetKernelParam(2), 0);
  if not SysMount(GetKernelParam(1), GetKernelParam(2), 0) then
  begin
    WriteConsoleF('no file system %p with the tag %p\n', [PtrUInt(GetKernelParam(1)), PtrUInt(GetKernelParam(2))]);
    Halt(1);
  end;
  Server := SysSocket(SOCKET_STREAM);
  if Server = nil then
  begin
    WriteConsoleF('no network device %p\n', [PtrUInt(GetKernelParam(0))]);
    Halt(1);
  end;
  Server.SourcePort := PORT;
  Server.Blocking := True;
  SysSocketListen(Server, BACKLOG);
  WriteConsoleF('listening\n', []);
  HeadLess := (KernelParamCount > 3) and (String(GetKernelParam(3)) = 'noconsole');
  Core := 0;
  while True do
  begin
    Client := SysSocketAccept(Server);
    if BeginThread(nil, 32768, Serve, Client, Core, Thread) = 0 then
      SysSocketClose(Client);
    Core := (Core + 1) mod CPU_COUNT;
  end;
end.
