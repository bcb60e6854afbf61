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
    ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, EXDEV, ENXIO: Result := '404 Not Found';
    EACCES: Result := '403 Forbidden';
  else
    Result := '503 Service Unavailable';
  end;
end;

{ Sends a part of a file behind the reply's head. False: the connection must be closed, because the
  file could not be read to its end. }
function SendPart(var Request: TRequest; Handle: THandle; const Wanted: TPart): Boolean;
var
  Sent: Int64;
begin
  Sent := SysSocketSendFile(Request.Socket, Handle, Wanted.Offset, Wanted.Count, @Request.Reply.Chars,
    Request.Reply.Count);
  if Sent < 0 then
    Result := Refuse(Request, '503 Service Unavailable')
  else
    Result := Sent = Wanted.Count;
end;

{ Answers with what is wanted of a file. }
function AnswerWith(var Request: TRequest; Handle: THandle; const Inode: TInode): Boolean;
var
  Date: String[29];
  Tag: String[27];
  Wanted: TPart;

  procedure AddValidators;
  begin
    AddHeader(Request, 'Last-Modified', Date);
    AddHeader(Request, 'ETag', Tag);
  end;

begin
  Tag := '"' + HexStr(Inode.MTime, 8) + '-' + HexStr(Inode.Size, 16) + '"';
  Date := DateOf(Request.Modified, Inode.MTime);
  if (hdIfMatch in Request.Has) and not HeaderIs(Request, hdIfMatch, '*') and not HeaderHas(Request, hdIfMatch, Tag) then
    Exit(Refuse(Request, '412 Precondition Failed'));
  if HeaderHas(Request, hdIfNoneMatch, Tag) or HeaderIs(Request, hdIfNoneMatch, '*') or
     ((Request.Headers[hdIfNoneMatch] = '') and HeaderIs(Request, hdIfModifiedSince, Date)) then
  begin
    StartHead(Request, '304 Not Modified');
    AddValidators;
    EndHead(Request, NO_SIZE);
    Exit(SendReply(Request));
  end;
  Wanted := WholeOf(Inode.Size);
  if Request.IsGet and (hdRange in Request.Has) and ((Request.Headers[hdIfRange] = '') or
     HeaderIs(Request, hdIfRange, Tag) or HeaderIs(Request, hdIfRange, Date)) then
    Wanted := PartOf(Request.Headers[hdRange], Inode.Size);
  if not Wanted.IsPossible then
    Exit(Refuse(Request, '416 Range Not Satisfiable', 'Content-Range', RangeOf(Wanted, Inode.Size)));
  if Wanted.IsWhole then
    StartHead(Request, '200 OK')
  else
    StartHead(Request, '206 Partial Content');
  AddHeader(Request, 'Content-Type', TypeOf(Request.Path));
  AddValidators;
  AddHeader(Request, 'Accept-Ranges', 'bytes');
  if not Wanted.IsWhole then
    AddHeader(Request, 'Content-Range', RangeOf(Wanted, Inode.Size));
  EndHead(Request, Wanted.Count);
  if Request.IsHead then
    Result := SendReply(Request)
  else
    Result := SendPart(Request, Handle, Wanted);
end;

{ Answers a request. False: the connection must be closed. }
function Answer(var Request: TRequest): Boolean;
const
  INDEX = 'index.html';
var
  Inode: TInode;
  Handle: THandle;
  Size: LongInt;
begin
  if Request.Fault <> '' then
    Exit(Refuse(Request, Request.Fault));
  if not (Request.IsGet or Request.IsHead) then
  begin
    Request.KeepAlive := False;
    Exit(Refuse(Request, '405 Method Not Allowed', 'Allow', 'GET, HEAD'));
  end;
  Size := StrLen(Request.Path);
  if Request.Path[Size - 1] = '/' then
    StrPCopy(@Request.Path[Size], INDEX);
  Handle := SysOpenFile(Request.Path, O_RDONLY);
  if Handle = 0 then
    Exit(Refuse(Request, StatusOf(SysFileError)));
  Inode.Size := 0;
  if SysStatOpen(Handle, @Inode) = 0 then
    Result := Refuse(Request, StatusOf(SysFileError))
  else if Inode.Mode = INODE_DIR then
    Result := Redirect(Request)
  else
    Result := AnswerWith(Request, Handle, Inode);
  SysCloseFile(Handle);
  WriteConsoleF('%p, %d bytes\n', [PtrUInt(@Request.Path), Inode.Size]);
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
