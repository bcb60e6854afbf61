{ Sessions. A session lasts from INIT until the device is reset. Nodes and handles are valid
  only in the session in which the server returned them. The device fails when the process that
  serves it dies, and a thawed machine has another such process. Then every thread leaves the
  session, and the next thread that needs the volume resets the device and starts a new session. }
unit FuseSessions;

{$mode objfpc}
{$modeswitch nestedprocvars}

interface

uses FuseNames, FuseQueue;

type
  { One attempt of an operation; returns 0 or more, or a negative errno, LOST or UNSENT. }
  TAttempt = function: LongInt is nested;

{ Starts the device of a volume on this core. }
function StartVolume(Volume: PFuseVolume): Boolean;

{ Makes an attempt within a session. Makes another one in the next session if the first session
  ended before it was complete; and one more if the server had no descriptor left, after
  ForgetAll. Returns the result of the last attempt, or EIO if there is no session or every one
  ends. }
function InSession(Volume: PFuseVolume; Attempt: TAttempt): LongInt;

{ Makes the server close all descriptors that it keeps for this guest, except those of open
  files and of directories in use. For when it has none left. }
procedure ForgetAll(Volume: PFuseVolume);

{ Makes an attempt to create something, and another one if the server had no descriptor left. Made:
  the first attempt did create it, but there was no descriptor for its node. }
function CreateOnce(Volume: PFuseVolume; Attempt: TAttempt; out Made: Boolean): LongInt;

{ Whether a result is EMFILE or ENFILE: the server, or its host, has no descriptor left. }
function IsExhausted(Result_: LongInt): Boolean;

implementation

uses Arch, Filesystem, Fuse, FuseContents, FuseForgets, Process, Thaw, VirtIODevices, VirtIOPolling, WaitQueues;

const
  QUEUE_ENTRIES = 128;
  TRIES_MAX = 8;    { attempts of an operation, in case it is what ends the sessions }
  RESTARTS = 20;    { attempts to restart the device before requests fail }
  PAUSE = 100;      { ms between these }

var
  Volumes: PFuseVolume; { those being served }
  AtThaw: TRenewal;

{ ---- Serving the device ---- }

procedure Serve(Device: PVirtIODevice);
var
  Volume: PFuseVolume;
begin
  Volume := Volumes;
  while Volume^.Device <> Device do
    Volume := Volume^.Next;
  AcquireLock(Volume^.Lock);
  TakeReplies(Volume);
  TakeForgets(Volume);
  if Device^.Queues[REQUESTS].Broken then
    Device^.Broken := True;
  if Device^.Broken then
    EndSession(Volume);
  if Volume^.Room.First <> nil then
    WakeAll(Volume^.Room);
  ReleaseLock(Volume^.Lock);
  if (Device^.Due <> 0) and (read_rdtsc >= Device^.Due) then
    ForgetDue(Volume);
end;

{ Starts serving the device, whose queues are set up, on this core. }
procedure ServeVolume(Volume: PFuseVolume);
begin
  Volume^.Next := Volumes;
  Volumes := Volume;
  Volume^.Device^.Quiet := [HIGH_PRIORITY];
  Volume^.Device^.Serve := @Serve;
  RunDevice(Volume^.Device);
end;

{ Restarts the device of a volume without users. False: it is still broken. }
function RestartVolume(Volume: PFuseVolume): Boolean;
begin
  AcquireLock(Volume^.Lock);
  DropForgets(Volume);
  Result := RestartDevice(Volume^.Device);
  ReleaseLock(Volume^.Lock);
end;

{ The server of a thawed machine is another one. }
procedure EndSessions;
var
  Volume: PFuseVolume;
begin
  Volume := Volumes;
  while Volume <> nil do
  begin
    AcquireLock(Volume^.Lock);
    Volume^.Device^.Broken := True;
    EndSession(Volume);
    ReleaseLock(Volume^.Lock);
    Volume := Volume^.Next;
  end;
end;

{ ---- Sessions ---- }

{ Sends INIT, which negotiates the protocol. False: it failed, or the server is too old. }
function Introduce(Volume: PFuseVolume): Boolean;
var
  Request: TFuseRequest;
begin
  Prepare(Request, Volume, OP_INIT, 0, SizeOf(TFuseInit), SizeOf(TFuseInitReply));
  Request.Args.Init.Major := FUSE_MAJOR;
  Request.Args.Init.Minor := FUSE_MINOR;
  Request.Args.Init.MaxReadahead := 1 shl 20;
  Request.Args.Init.Flags := INIT_ASYNC_READ or INIT_BIG_WRITES or INIT_READDIRPLUS or INIT_PARALLEL_DIROPS or
    INIT_MAX_PAGES;
  Result := (Call(Request) = 0) and (Request.Reply.Init.Major = FUSE_MAJOR) and
            (Request.Reply.Init.Minor >= 27);
  if not Result then
    Exit;
  Volume^.HasPlus := Request.Reply.Init.Flags and INIT_READDIRPLUS <> 0;
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
    BeginSession(Volume)
  else
    GiveUp(Volume^.Device, 'virtio-fs');
end;

procedure Revive(Volume: PFuseVolume);
var
  Left: LongInt;
begin
  Left := RESTARTS;
  if Volume^.GaveUp then
    Left := 1;
  { Their nodes are gone; DropForgets the messages by which they were to be forgotten. }
  DropNames(Volume);
  DropContents(Volume);
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
  if not Volume^.GaveUp then
    GiveUp(Volume^.Device, 'virtio-fs');
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

{ ---- Attempts ---- }

function CreateOnce(Volume: PFuseVolume; Attempt: TAttempt; out Made: Boolean): LongInt;
begin
  Made := False;
  Result := Attempt();
  if not IsExhausted(Result) then
    Exit;
  ForgetAll(Volume);
  Result := Attempt();
  Made := Result = -EEXIST;
end;

function IsExhausted(Result_: LongInt): Boolean;
begin
  Result := (Result_ = -EMFILE) or (Result_ = -ENFILE);
end;

procedure ForgetAll(Volume: PFuseVolume);
begin
  DropNames(Volume);
  SettleForgets(Volume);
end;

function InSession(Volume: PFuseVolume; Attempt: TAttempt): LongInt;
var
  Left: LongInt;
begin
  Left := TRIES_MAX;
  while (Left > 0) and EnterSession(Volume) do
  begin
    Result := Attempt();
    if IsExhausted(Result) then
    begin
      ForgetAll(Volume);
      Result := Attempt();
    end;
    LeaveSession(Volume);
    if (Result <> LOST) and (Result <> UNSENT) then
      Exit;
    Dec(Left);
  end;
  Result := -EIO;
end;

initialization
  AtThaw.Renew := @EndSessions;
  RegisterRenewal(AtThaw);
end.
