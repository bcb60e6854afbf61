{ Sessions: what the host knows of the guest, its nodes and open files, from INIT until the
  device is reset. When the device fails, which it does when the process that serves it
  dies, the next thread that wants something starts it anew. Nobody keeps a node from one
  session to the next: threads work in a session between EnterSession and LeaveSession, and
  there is a new one when all have left the old one.

      FirstTry(Tries, Result);
      while TryAgain(Volume, Tries, Result) do
        Result := what may be done twice;                                           }
unit FuseSessions;

{$mode objfpc}

interface

uses FuseQueue;

{ Starts the device of a volume on this core. }
function StartVolume(Volume: PFuseVolume): Boolean;

procedure FirstTry(out Tries, Result_: LongInt);

{ Whether to do something, in a session: the first time, and again when the
  last session has ended before it was done. Result_ is what it returned; when it is not to
  be done again, what it has come to, and the session is left. }
function TryAgain(Volume: PFuseVolume; var Tries: LongInt; var Result_: LongInt): Boolean;

implementation

uses Arch, Filesystem, Fuse, FuseNames, Process, VirtIO, WaitQueues;

const
  QUEUE_ENTRIES = 128;
  TRIES_MAX = 8;    { a request that ends every session is not tried for ever }
  RESTARTS = 20;    { of the device, before its requests fail }
  PAUSE = 100;      { ms between them }

{ Agrees with the host on the protocol. }
function Introduce(Volume: PFuseVolume): Boolean;
var
  Request: TFuseRequest;
begin
  Prepare(Request, Volume, OP_INIT, 0, SizeOf(TFuseInit), SizeOf(TFuseInitReply));
  Request.Args.Init.Major := FUSE_MAJOR;
  Request.Args.Init.Minor := FUSE_MINOR;
  Request.Args.Init.MaxReadahead := 1 shl 20;
  Request.Args.Init.Flags := INIT_ASYNC_READ or INIT_BIG_WRITES or INIT_PARALLEL_DIROPS or INIT_MAX_PAGES;
  Result := (Call(Request) = 0) and (Request.Reply.Init.Major = FUSE_MAJOR) and
            (Request.Reply.Init.Minor >= 27);
  if not Result then
    Exit;
  Volume^.MaxTransfer := 32 * 4096;
  if Request.Reply.Init.Flags and INIT_MAX_PAGES <> 0 then
    Volume^.MaxTransfer := Request.Reply.Init.MaxPages * 4096;
  if Volume^.MaxTransfer > Request.Reply.Init.MaxWrite then
    Volume^.MaxTransfer := Request.Reply.Init.MaxWrite;
  Result := Volume^.MaxTransfer >= 4096;
end;

procedure BeginSession(Volume: PFuseVolume);
begin
  Inc(Volume^.Session);
  Volume^.Running := True;
  Volume^.GaveUp := False;
end;

function StartVolume(Volume: PFuseVolume): Boolean;
begin
  Result := StartDevice(Volume^.Device, RING_FEATURES) and AddQueue(Volume^.Device, QUEUE_ENTRIES) and
            AddQueue(Volume^.Device, QUEUE_ENTRIES);
  if not Result then
    Exit;
  ServeVolume(Volume);
  Result := Introduce(Volume);
  if Result then
    BeginSession(Volume);
end;

procedure Revive(Volume: PFuseVolume);
var
  Left: LongInt;
begin
  Left := RESTARTS;
  if Volume^.GaveUp then
    Left := 1;
  ForgetNames(Volume);
  repeat
    if RestartVolume(Volume) and Introduce(Volume) then
    begin
      BeginSession(Volume);
      Exit;
    end;
    Dec(Left);
    if Left > 0 then
      Sleep(PAUSE);
  until Left = 0;
  Volume^.GaveUp := True;
end;

{ False: there is no session. }
function EnterSession(Volume: PFuseVolume): Boolean;
begin
  AcquireLock(Volume^.Lock);
  while not Volume^.Running and ((Volume^.Users > 0) or Volume^.Reviving) do
    WaitForChange(Volume);
  if not Volume^.Running then
  begin
    Volume^.Reviving := True;
    ReleaseLock(Volume^.Lock);
    Revive(Volume);
    AcquireLock(Volume^.Lock);
    Volume^.Reviving := False;
    WakeAll(Volume^.Room);
  end;
  Result := Volume^.Running;
  if Result then
    Inc(Volume^.Users);
  ReleaseLock(Volume^.Lock);
end;

procedure LeaveSession(Volume: PFuseVolume);
begin
  AcquireLock(Volume^.Lock);
  Dec(Volume^.Users);
  if not Volume^.Running and (Volume^.Users = 0) then
    WakeAll(Volume^.Room);
  ReleaseLock(Volume^.Lock);
end;

procedure FirstTry(out Tries, Result_: LongInt);
begin
  Tries := 0;
  Result_ := UNSENT;
end;

function TryAgain(Volume: PFuseVolume; var Tries: LongInt; var Result_: LongInt): Boolean;
begin
  if Tries > 0 then
  begin
    LeaveSession(Volume);
    if (Result_ <> LOST) and (Result_ <> UNSENT) then
      Exit(False);
  end;
  Inc(Tries);
  Result := (Tries <= TRIES_MAX) and EnterSession(Volume);
  if not Result then
    Result_ := -EIO;
end;

end.
