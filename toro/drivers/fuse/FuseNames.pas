{ From names to nodes (see Fuse). The directories on a path are remembered for as long as the
  server's reply is valid, so that a path mostly costs one request. Each remembered directory
  keeps its node from being forgotten (see FuseQueue). }
unit FuseNames;

{$mode objfpc}
{$modeswitch nestedprocvars}

interface

uses Fuse, FuseQueue;

const
  NAME_MAX = 255;

type
  { A slot for a remembered directory }
  PDirectory = ^TDirectory;
  TDirectory = record
    Volume: PFuseVolume;   { nil: the slot is empty }
    Parent, Node: QWord;
    Expires: QWord;        { TSC until which the name is valid; 0: dropped }
    Users: LongInt;        { threads that use the node; the slot keeps it meanwhile }
    Name: String[39];
  end;

  { A name in a directory, whether a file of that name exists or not }
  TPlace = record
    Volume: PFuseVolume;
    Node: QWord;           { of the directory }
    Directory: PDirectory; { its slot; nil: it has none }
    Name: array[0..NAME_MAX] of Char; { zero-terminated; empty for the root }
    NameSize: LongWord;    { including the zero }
  end;

type
  { One attempt of an operation; returns 0 or more, or a negative errno, LOST or UNSENT. }
  TAttempt = function: LongInt is nested;

{ The slot for the name of a place. }
function SlotOf(const Place: TPlace): PDirectory;

{ Takes the node that is remembered for the name of Place. False: there is none. }
function EnterRemembered(var Place: TPlace; Slot: PDirectory): Boolean;

{ Stores a directory that was looked up in a slot. False: it must not be remembered, or the slot
  is in use. }
function Remember(const Place: TPlace; Slot: PDirectory; const Entry: TFuseEntry): Boolean;

{ Changes Place from a name in a directory to the directory with this node, whose slot was entered
  or has just remembered it. }
procedure Enter(var Place: TPlace; Node: QWord; Slot: PDirectory);

{ Lets the directory of a place be forgotten. }
procedure LeavePlace(var Place: TPlace);

{ Initializes a request about the name of a place, which must outlive the request. }
procedure PrepareNamed(out Request: TFuseRequest; constref Place: TPlace; Opcode, ArgSize, ReplySize: LongWord);

{ Looks up the name of a place. Returns 0 or a negative errno; after 0 forget Entry.Node. }
function Lookup(const Place: TPlace; out Entry: TFuseEntry): LongInt;

{ Drops the directories that are remembered of a volume, because they have moved or gone, or to
  free their nodes. Those in use are dropped when they are left. }
procedure DropNames(Volume: PFuseVolume);

{ Empties the slots after the end of a session, which has made their nodes invalid. None is in
  use. }
procedure ForgetNames(Volume: PFuseVolume);

{ Makes the server close all descriptors that it keeps for this guest, except those of open
  files and of directories in use. For when it has none left. }
procedure ForgetAll(Volume: PFuseVolume);

{ Makes an attempt to create something, and another one if the server had no descriptor left. Made:
  the first attempt did create it, but there was no descriptor for its node. }
function CreateOnce(Volume: PFuseVolume; Attempt: TAttempt; out Made: Boolean): LongInt;

{ Whether a result is EMFILE or ENFILE: the server, or its host, has no descriptor left. }
function IsExhausted(Result_: LongInt): Boolean;

implementation

uses Arch, Filesystem;

const
  DIRECTORIES = 64;
  LONGEST = 60; { seconds for which a name is valid at most }

var
  Remembered: array[0..DIRECTORIES - 1] of TDirectory;
  Lock: LongInt;

procedure PrepareNamed(out Request: TFuseRequest; constref Place: TPlace; Opcode, ArgSize, ReplySize: LongWord);
begin
  Prepare(Request, Place.Volume, Opcode, Place.Node, ArgSize, ReplySize);
  Request.Send := @Place.Name;
  Request.SendSize := Place.NameSize;
end;

function Lookup(const Place: TPlace; out Entry: TFuseEntry): LongInt;
var
  Request: TFuseRequest;
begin
  PrepareNamed(Request, Place, OP_LOOKUP, 0, SizeOf(TFuseEntry));
  Result := Call(Request);
  Entry := Request.Reply.Entry;
  if (Result = 0) and (Entry.Node = 0) then
    Result := -ENOENT; { a negative reply that could be remembered }
end;

function SlotOf(const Place: TPlace): PDirectory;
var
  I: LongInt;
  Hash: LongWord;
begin
  Hash := LongWord(Place.Node);
  for I := 0 to LongInt(Place.NameSize) - 2 do
    Hash := Hash * 31 + Ord(Place.Name[I]);
  Result := @Remembered[(Hash xor Hash shr 8) mod DIRECTORIES];
end;

function EnterRemembered(var Place: TPlace; Slot: PDirectory): Boolean;
begin
  AcquireLock(Lock);
  Result := (Slot^.Volume = Place.Volume) and (Slot^.Parent = Place.Node) and (read_rdtsc < Slot^.Expires) and
            (Slot^.Name = StrPas(@Place.Name));
  if Result then
    Inc(Slot^.Users);
  ReleaseLock(Lock);
end;

function Remember(const Place: TPlace; Slot: PDirectory; const Entry: TFuseEntry): Boolean;
var
  Old: TDirectory;
  Seconds: QWord;
begin
  Seconds := Entry.EntryValid;
  if Seconds > LONGEST then
    Seconds := LONGEST;
  AcquireLock(Lock);
  Old := Slot^;
  Result := (Old.Users = 0) and (Seconds > 0) and (Place.NameSize - 1 <= High(Slot^.Name)) and
            (Entry.Attributes.Mode and MODE_KIND = MODE_DIRECTORY);
  if Result then
  begin
    Slot^.Volume := Place.Volume;
    Slot^.Parent := Place.Node;
    Slot^.Node := Entry.Node;
    Slot^.Expires := read_rdtsc + TicksOf(Seconds * 1000);
    Slot^.Users := 1;
    Slot^.Name := StrPas(@Place.Name);
  end;
  ReleaseLock(Lock);
  if Result and (Old.Volume <> nil) then
    Forget(Old.Volume, Old.Node);
end;

procedure LeavePlace(var Place: TPlace);
var
  Dropped: Boolean;
begin
  Dropped := Place.Directory = nil;
  if not Dropped then
  begin
    AcquireLock(Lock);
    Dec(Place.Directory^.Users);
    Dropped := (Place.Directory^.Users = 0) and (Place.Directory^.Expires = 0);
    if Dropped then
      Place.Directory^ := Default(TDirectory);
    ReleaseLock(Lock);
  end;
  if Dropped then
    Forget(Place.Volume, Place.Node);
end;

procedure Enter(var Place: TPlace; Node: QWord; Slot: PDirectory);
begin
  LeavePlace(Place);
  Place.Node := Node;
  Place.Directory := Slot;
end;

procedure DropNames(Volume: PFuseVolume);
var
  I: LongInt;
  Old: TDirectory;
begin
  for I := 0 to DIRECTORIES - 1 do
  begin
    AcquireLock(Lock);
    Old := Remembered[I];
    if Old.Volume = Volume then
      if Old.Users = 0 then
        Remembered[I] := Default(TDirectory)
      else
        Remembered[I].Expires := 0;
    ReleaseLock(Lock);
    if (Old.Volume = Volume) and (Old.Users = 0) then
      Forget(Volume, Old.Node);
  end;
end;

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

procedure ForgetNames(Volume: PFuseVolume);
var
  I: LongInt;
begin
  AcquireLock(Lock);
  for I := 0 to DIRECTORIES - 1 do
    if Remembered[I].Volume = Volume then
      Remembered[I] := Default(TDirectory);
  ReleaseLock(Lock);
end;

end.
