{ Serves a directory of the host over HTTP. Parameters: the network driver, the file system, its
  tag, and optionally `noconsole`, which turns off the line for each request.

  Each connection has a thread; the threads are spread over the cores. }
program StaticWebServer;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Filesystem, Network, Console, SendFile, VirtIO, VirtIOFS, VirtIOVSocket,
  HttpRequests, HttpReplies, SysUtils;

const
  PORT = 80;
  BACKLOG = 1024;
  TIMEOUT = 5000;    { ms after which an idle client is disconnected }

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

{ Sends a part of a file behind a head. False: the connection must be closed, because the file
  could not be read to its end. }
function SendPart(var Request: TRequest; Handle: THandle; const Head: String; const Wanted: TPart): Boolean;
var
  Sent: Int64;
begin
  Sent := SysSocketSendFile(Request.Socket, Handle, Wanted.Offset, Wanted.Count, PChar(Head), Length(Head));
  if Sent < 0 then
    Result := Refuse(Request, '503 Service Unavailable')
  else
    Result := Sent = Wanted.Count;
end;

{ Answers with what is wanted of a file. }
function AnswerWith(var Request: TRequest; Handle: THandle; const Path: String; const Inode: TInode): Boolean;
var
  Headers, Head, Tag, Date, Asked: String;
  Wanted: TPart;
begin
  Tag := '"' + HexStr(Inode.MTime, 8) + '-' + HexStr(Inode.Size, 16) + '"';
  Date := DateOf(Request.Modified, Inode.MTime);
  Headers := 'Last-Modified: ' + Date + CRLF + 'ETag: ' + Tag + CRLF;
  Asked := HeaderOf(Request, 'if-match', '*');
  if (Asked <> '*') and (Pos(Tag, Asked) = 0) then
    Exit(Refuse(Request, '412 Precondition Failed'));
  Asked := HeaderOf(Request, 'if-none-match');
  if (Pos(Tag, Asked) > 0) or (Asked = '*') or ((Asked = '') and (HeaderOf(Request, 'if-modified-since') = Date)) then
  begin
    Head := HeadOf(Request, '304 Not Modified', -1, Headers);
    Exit(Send(Request, PChar(Head), Length(Head)));
  end;
  Asked := HeaderOf(Request, 'if-range');
  if Request.IsGet and ((Asked = '') or (Asked = Tag) or (Asked = Date)) then
    Wanted := PartOf(HeaderOf(Request, 'range'), Inode.Size)
  else
    Wanted := PartOf('', Inode.Size);
  if not Wanted.IsPossible then
    Exit(Refuse(Request, '416 Range Not Satisfiable', 'Content-Range: bytes */' + IntToStr(Inode.Size) + CRLF));
  Headers := 'Content-Type: ' + TypeOf(PChar(Path)) + CRLF + Headers + 'Accept-Ranges: bytes' + CRLF;
  if Wanted.IsWhole then
    Head := HeadOf(Request, '200 OK', Wanted.Count, Headers)
  else
    Head := HeadOf(Request, '206 Partial Content', Wanted.Count, Headers + 'Content-Range: bytes ' +
      IntToStr(Wanted.Offset) + '-' + IntToStr(Wanted.Offset + Wanted.Count - 1) + '/' + IntToStr(Inode.Size) + CRLF);
  if Request.IsHead then
    Result := Send(Request, PChar(Head), Length(Head))
  else
    Result := SendPart(Request, Handle, Head, Wanted);
end;

{ Answers a request. False: the connection must be closed. }
function Answer(var Request: TRequest): Boolean;
var
  Inode: TInode;
  Handle: THandle;
  Path: String;
begin
  if Request.Fault <> '' then
    Exit(Refuse(Request, Request.Fault));
  if not (Request.IsGet or Request.IsHead) then
  begin
    Request.KeepAlive := False;
    Exit(Refuse(Request, '405 Method Not Allowed', 'Allow: GET, HEAD' + CRLF));
  end;
  Path := Request.Path;
  if Path[Length(Path)] = '/' then
    Path := Path + 'index.html';
  if SysStatFile(PChar(Path), @Inode) = 0 then
    Exit(Refuse(Request, StatusOf(SysFileError)));
  if Inode.Mode = INODE_DIR then
    Exit(Refuse(Request, '301 Moved Permanently', 'Location: ' + Copy(Request.Target, 1, Request.RawSize) + '/' +
      Copy(Request.Target, Request.RawSize + 1, Length(Request.Target)) + CRLF));
  if Inode.Mode <> INODE_REG then
    Exit(Refuse(Request, '404 Not Found'));
  Handle := SysOpenFile(PChar(Path), O_RDONLY);
  if Handle = 0 then
    Exit(Refuse(Request, StatusOf(SysFileError)));
  { Another file may have its name by now. }
  if SysStatOpen(Handle, @Inode) = 0 then
    Result := Refuse(Request, StatusOf(SysFileError))
  else
    Result := AnswerWith(Request, Handle, Path, Inode);
  SysCloseFile(Handle);
  WriteConsoleF('%p, %d bytes\n', [PtrUInt(PChar(Path)), Inode.Size]);
end;

function Serve(Socket: Pointer): PtrInt;
var
  Request: PRequest;
begin
  New(Request);
  Request.Socket := Socket;
  Request.Count := 0;
  while ReceiveRequest(Request^, TIMEOUT) and Answer(Request^) and Request.KeepAlive do
    DropRequest(Request^);
  Dispose(Request);
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
