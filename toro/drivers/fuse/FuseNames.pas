{ From paths to nodes, the numbers by which FUSE calls files. The host keeps a node for a
  guest that has asked for it until the guest forgets it, as often as it has asked.

  Directories on the way are remembered for as long as the host says that their names may
  be believed, so a path costs one question as a rule. }
unit FuseNames;

{$mode objfpc}

interface

uses Fuse, FuseQueue;

const
  NAME_MAX = 255;

type
  { A directory that is remembered, or was. }
  PDirectory = ^TDirectory;
  TDirectory = record
    Volume: PFuseVolume;   { nil: nothing is remembered here }
    Parent, Node: QWord;
    Expires: QWord;        { TSC }
    Users: LongInt;        { threads that are in it just now; it stays meanwhile }
    Name: String[39];
  end;

  { Where a file is, or will be. }
  TPlace = record
    Volume: PFuseVolume;
    Node: QWord;           { of its directory }
    Directory: PDirectory; { nil: it is not remembered }
    Name: array[0..NAME_MAX] of Char; { in it, with a zero behind; empty for the root }
    NameSize: LongWord;    { with the zero }
  end;

{ Finds the directory of Path and the last name in it. Returns 0 or a negative errno; after
  0 the place must be left. }
function FindPlace(Volume: PFuseVolume; Path: PChar; out Place: TPlace): LongInt;
procedure LeavePlace(var Place: TPlace);

{ Begins a request about the name of a place, which must outlive the request: its node is the
  directory, and the name follows the arguments. }
procedure PrepareNamed(out Request: TFuseRequest; constref Place: TPlace; Opcode, ArgSize, ReplySize: LongWord);

{ Asks for the name of a place. What is known of the file goes to Entry, whose node must be
  forgotten. Returns 0 or a negative errno. }
function Lookup(const Place: TPlace; out Entry: TFuseEntry): LongInt;

{ Asks for the file at Path. What is known of it goes to Entry, whose node must be
  forgotten. Returns 0 or a negative errno. }
function FindFile(Volume: PFuseVolume; Path: PChar; out Entry: TFuseEntry): LongInt;

{ Remembers no more what is remembered: directories have moved, or gone. }
procedure DistrustNames;

{ The same of one volume, whose nodes nobody knows any more. Nobody is in its directories. }
procedure ForgetNames(Volume: PFuseVolume);

implementation

uses Arch, Filesystem;

const
  DIRECTORIES = 64;
  LONGEST = 60; { seconds that a name is believed at most }

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
    Result := -ENOENT; { and that may be believed }
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

{ Goes into the directory that Place names, if it is remembered. }
function EnterRemembered(var Place: TPlace; Slot: PDirectory): Boolean;
begin
  AcquireLock(Lock);
  Result := (Slot^.Volume = Place.Volume) and (Slot^.Parent = Place.Node) and (read_rdtsc < Slot^.Expires) and
            (Slot^.Name = StrPas(@Place.Name));
  if Result then
    Inc(Slot^.Users);
  ReleaseLock(Lock);
end;

{ Remembers what the host has said, if nobody is using the slot. }
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
begin
  if Place.Directory = nil then
    Forget(Place.Volume, Place.Node)
  else
    InterlockedDecrement(Place.Directory^.Users);
end;

{ Goes into the directory that Place names. }
function Enter(var Place: TPlace): LongInt;
var
  Slot: PDirectory;
  Entry: TFuseEntry;
begin
  Slot := SlotOf(Place);
  if EnterRemembered(Place, Slot) then
    Entry.Node := Slot^.Node
  else
  begin
    Result := Lookup(Place, Entry);
    if Result < 0 then
      Exit;
    if not Remember(Place, Slot, Entry) then
      Slot := nil;
  end;
  LeavePlace(Place);
  Place.Node := Entry.Node;
  Place.Directory := Slot;
  Result := 0;
end;

{ Takes the next name off Path: empty when there is none. }
function NextName(var Path: PChar; var Place: TPlace): LongInt;
var
  Count: LongInt;
begin
  while Path^ = '/' do
    Inc(Path);
  Count := 0;
  while not (Path[Count] in ['/', #0]) do
    Inc(Count);
  if Count > NAME_MAX then
    Exit(-ENAMETOOLONG);
  Move(Path^, Place.Name, Count);
  Place.Name[Count] := #0;
  Place.NameSize := Count + 1;
  Inc(Path, Count);
  while Path^ = '/' do
    Inc(Path);
  Result := 0;
end;

function FindPlace(Volume: PFuseVolume; Path: PChar; out Place: TPlace): LongInt;
begin
  Place.Volume := Volume;
  Place.Node := ROOT_NODE;
  Place.Directory := nil;
  Result := NextName(Path, Place);
  while (Result = 0) and (Path^ <> #0) do
  begin
    Result := Enter(Place);
    if Result = 0 then
      Result := NextName(Path, Place);
  end;
  if Result < 0 then
    LeavePlace(Place);
end;

{ What is known of the root, which is asked for by no name. }
function FindRoot(Volume: PFuseVolume; out Entry: TFuseEntry): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, Volume, OP_GETATTR, ROOT_NODE, SizeOf(TFuseGetAttr), SizeOf(TFuseAttributesReply));
  Result := Call(Request);
  Entry := Default(TFuseEntry);
  Entry.Node := ROOT_NODE;
  Entry.Attributes := Request.Reply.Attributes.Attributes;
end;

function FindFile(Volume: PFuseVolume; Path: PChar; out Entry: TFuseEntry): LongInt;
var
  Place: TPlace;
begin
  Result := FindPlace(Volume, Path, Place);
  if Result < 0 then
    Exit;
  if Place.NameSize = 1 then
    Result := FindRoot(Volume, Entry)
  else
    Result := Lookup(Place, Entry);
  LeavePlace(Place);
end;

procedure DistrustNames;
var
  I: LongInt;
begin
  AcquireLock(Lock);
  for I := 0 to DIRECTORIES - 1 do
    Remembered[I].Expires := 0;
  ReleaseLock(Lock);
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
