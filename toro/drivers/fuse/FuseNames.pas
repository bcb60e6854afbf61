{ From names to nodes (see Fuse). What the server has replied to LOOKUP is remembered for as long as
  the reply is valid, so that a path that was followed a moment ago costs no request. A remembered
  name keeps its node from being forgotten (see FuseForgets) until it expires. }
unit FuseNames;

{$mode objfpc}
{$modeswitch nestedprocvars}

interface

uses Fuse, FuseQueue;

const
  NAME_MAX = 255;

type
  { A remembered name, and the file to which it leads. Its zero-terminated text follows. }
  PKnown = ^TKnown;
  TKnown = record
    Volume: PFuseVolume;
    Session: LongWord;     { of the volume, within which the nodes are valid }
    Parent: QWord;         { node of the directory }
    NameSize: LongWord;    { including the zero }
    Entry: TFuseEntry;
    NameExpires, AttributesExpire: QWord; { TSC until which the server's reply is valid }
    Users: LongInt;        { places and files that use the node }
    IsListed: Boolean;     { else it is freed by its last user }
    Next: PKnown;          { in its bucket }
  end;

  { A name in a directory, whether a file of that name exists or not }
  TPlace = record
    Volume: PFuseVolume;
    Node: QWord;           { of the directory }
    Directory: PKnown;     { what keeps that node; nil: it is to be forgotten, or the root }
    Name: array[0..NAME_MAX] of Char; { zero-terminated; empty for the root }
    NameSize: LongWord;    { including the zero }
  end;

  { A file that was looked up }
  TFound = record
    Entry: TFuseEntry;
    Expires: QWord;        { TSC until which its attributes are valid }
    Known: PKnown;         { what keeps its node; nil: as above }
  end;

{ The TSC until which a reply is valid; 0: it must not be remembered. }
function ExpiryOf(Seconds: QWord; Ns: LongWord): QWord;

{ Finds a file by the name of a place: remembered, or by LOOKUP. Returns 0 or a negative errno;
  after 0 call LeaveFound. HasAttributes: those that are remembered must be valid. }
function FindName(const Place: TPlace; HasAttributes: Boolean; out Found: TFound): LongInt;

{ Remembers what a directory's listing has told of a name, or lets the node be forgotten. Seen: the
  volume's Changes when it was asked for. }
procedure Learn(const Place: TPlace; Seen: LongWord; const Entry: TFuseEntry);

{ Whether what is remembered of a file's attributes is valid; Known may be nil. }
function HasAttributes(Known: PKnown): Boolean;

{ Lets the node be forgotten. }
procedure LeaveFound(Volume: PFuseVolume; const Found: TFound);
procedure LeaveKnown(Known: PKnown);

{ Changes Place from a name in a directory to the directory that was found by it. }
procedure Enter(var Place: TPlace; const Found: TFound);

{ Changes Place to the root, which has no name to look up. }
procedure EnterRoot(var Place: TPlace);

{ Lets the directory of a place be forgotten. }
procedure LeavePlace(var Place: TPlace);

{ Initializes a request about the name of a place, which must outlive the request. }
procedure PrepareNamed(out Request: TFuseRequest; constref Place: TPlace; Opcode, ArgSize, ReplySize: LongWord);

{ The guest has changed a file: what is remembered of its attributes is not valid any more. }
procedure ExpireAttributes(Volume: PFuseVolume; Node: QWord);

{ Drops the name of a place, or all names of a volume, because they lead elsewhere now, or to free
  their nodes. Nodes in use are forgotten when they are left. }
procedure DropName(const Place: TPlace);
procedure DropNames(Volume: PFuseVolume);

implementation

uses Arch, Filesystem, FuseForgets, Memory;

const
  BUCKETS = 256;
  BUCKET_MAX = 4; { names in one }
  LONGEST = 60;   { seconds for which a name is valid at most }

var
  Names: array[0..BUCKETS - 1] of PKnown; { the last used first }
  Lock: LongInt;

function ExpiryOf(Seconds: QWord; Ns: LongWord): QWord;
begin
  if (Seconds = 0) and (Ns < 1000000) then
    Exit(0);
  if Seconds >= LONGEST then
  begin
    Seconds := LONGEST;
    Ns := 0;
  end;
  Result := read_rdtsc + TicksOf(Seconds * 1000 + Ns div 1000000);
end;

{ ---- The table ---- }

function BucketOf(const Place: TPlace): LongInt;
var
  I: LongInt;
  Hash: LongWord;
begin
  Hash := LongWord(Place.Node);
  for I := 0 to LongInt(Place.NameSize) - 2 do
    Hash := Hash * 31 + Ord(Place.Name[I]);
  Result := (Hash xor Hash shr 8 xor Hash shr 16) mod BUCKETS;
end;

function IsNameOf(Known: PKnown; const Place: TPlace): Boolean;
begin
  Result := (Known^.Volume = Place.Volume) and (Known^.Parent = Place.Node) and
            (Known^.NameSize = Place.NameSize) and (CompareByte(Known[1], Place.Name, Place.NameSize) = 0);
end;

{ Takes what follows Link out of the table. Returns whether nobody uses it. }
function Unlist(var Link: PKnown): Boolean;
var
  Known: PKnown;
begin
  Known := Link;
  Link := Known^.Next;
  Known^.IsListed := False;
  Result := Known^.Users = 0;
end;

{ A node may be given to another directory once it is forgotten: the names in it are not valid
  then. }
procedure ExpireNamesIn(Volume: PFuseVolume; Parent: QWord);
var
  I: LongInt;
  Known: PKnown;
begin
  for I := 0 to BUCKETS - 1 do
  begin
    Known := Names[I];
    while Known <> nil do
    begin
      if (Known^.Volume = Volume) and (Known^.Parent = Parent) then
        Known^.NameExpires := 0;
      Known := Known^.Next;
    end;
  end;
end;

{ Frees a name that is not listed and has no users. }
procedure Discard(Known: PKnown);
begin
  if Known = nil then
    Exit;
  if Known^.Session = Known^.Volume^.Session then
  begin
    if Known^.Entry.Attributes.Mode and MODE_KIND = MODE_DIRECTORY then
    begin
      AcquireLock(Lock);
      ExpireNamesIn(Known^.Volume, Known^.Entry.Node);
      ReleaseLock(Lock);
    end;
    Forget(Known^.Volume, Known^.Entry.Node);
  end;
  ToroFreeMem(Known);
end;

type
  TTest = function(Known: PKnown): Boolean is nested;

{ Takes all names that pass a test out of the table, and frees those that nobody uses. }
procedure DropIf(Test: TTest);
var
  I: LongInt;
  Link: ^PKnown;
  Known: PKnown;
begin
  I := 0;
  while I < BUCKETS do
  begin
    AcquireLock(Lock);
    Link := @Names[I];
    while (Link^ <> nil) and not Test(Link^) do
      Link := @Link^^.Next;
    Known := Link^;
    if Known = nil then
      Inc(I)
    else if not Unlist(Link^) then
      Known := nil;
    ReleaseLock(Lock);
    Discard(Known);
  end;
end;

{ ---- Looking up ---- }

procedure PrepareNamed(out Request: TFuseRequest; constref Place: TPlace; Opcode, ArgSize, ReplySize: LongWord);
begin
  Prepare(Request, Place.Volume, Opcode, Place.Node, ArgSize, ReplySize);
  Request.Send := @Place.Name;
  Request.SendSize := Place.NameSize;
end;

{ The remembered name of a place, which is used now; nil: there is none. }
function Recall(const Place: TPlace; HasAttributes: Boolean): PKnown;
var
  First, Link: ^PKnown;
  Now: QWord;
begin
  Now := read_rdtsc;
  AcquireLock(Lock);
  First := @Names[BucketOf(Place)];
  Link := First;
  while (Link^ <> nil) and not IsNameOf(Link^, Place) do
    Link := @Link^^.Next;
  Result := Link^;
  if (Result <> nil) and ((Now >= Result^.NameExpires) or (HasAttributes and (Now >= Result^.AttributesExpire))) then
    Result := nil;
  if Result <> nil then
  begin
    Inc(Result^.Users);
    Link^ := Result^.Next;
    Result^.Next := First^;
    First^ := Result;
  end;
  ReleaseLock(Lock);
end;

{ Puts a name into the table, in place of an older one, or of the last one of a full bucket; unless
  this guest has changed something since the reply was asked for, which may be older then. }
procedure List(Known: PKnown; const Place: TPlace; Seen: LongWord);
var
  First, Link: ^PKnown;
  Count: LongInt;
  Old: PKnown;
begin
  AcquireLock(Lock);
  if Known^.Volume^.Changes <> Seen then
  begin
    Known^.AttributesExpire := 0;
    ReleaseLock(Lock);
    Exit;
  end;
  First := @Names[BucketOf(Place)];
  Link := First;
  Count := 1;
  while (Link^ <> nil) and not IsNameOf(Link^, Place) and (Count < BUCKET_MAX) do
  begin
    Link := @Link^^.Next;
    Inc(Count);
  end;
  Old := Link^;
  if (Old <> nil) and not Unlist(Link^) then
    Old := nil;
  Known^.Next := First^;
  First^ := Known;
  Known^.IsListed := True;
  ReleaseLock(Lock);
  Discard(Old);
end;

{ Remembers what was found, with its node; nothing of symbolic links, which are read anew
  each time, and of directories whose node is not kept. }
procedure Remember(const Place: TPlace; Seen: LongWord; var Found: TFound);
var
  Expires: QWord;
begin
  Expires := ExpiryOf(Found.Entry.EntryValid, Found.Entry.EntryValidNs);
  if (Expires = 0) or (Found.Entry.Attributes.Mode and MODE_KIND = MODE_LINK) or
     ((Place.Directory = nil) and (Place.Node <> ROOT_NODE)) then
    Exit;
  Found.Known := ToroAllocMem(SizeOf(TKnown) + Place.NameSize);
  if Found.Known = nil then
    Exit;
  with Found.Known^ do
  begin
    Volume := Place.Volume;
    Session := Place.Volume^.Session;
    Parent := Place.Node;
    NameSize := Place.NameSize;
    Entry := Found.Entry;
    NameExpires := Expires;
    AttributesExpire := Found.Expires;
    Users := 1;
  end;
  Move(Place.Name, Found.Known[1], Place.NameSize);
  List(Found.Known, Place, Seen);
  Found.Expires := Found.Known^.AttributesExpire;
  SweepBy(Place.Volume, Expires);
end;

function FindName(const Place: TPlace; HasAttributes: Boolean; out Found: TFound): LongInt;
var
  Request: TFuseRequest;
  Seen: LongWord;
begin
  Found := Default(TFound);
  Found.Known := Recall(Place, HasAttributes);
  if Found.Known <> nil then
  begin
    Found.Entry := Found.Known^.Entry;
    Found.Expires := Found.Known^.AttributesExpire;
    Exit(0);
  end;
  Seen := Place.Volume^.Changes;
  PrepareNamed(Request, Place, OP_LOOKUP, 0, SizeOf(TFuseEntry));
  Result := Call(Request);
  Found.Entry := Request.Reply.Entry;
  if (Result = 0) and (Found.Entry.Node = 0) then
    Result := -ENOENT; { a negative reply that could be remembered }
  if Result < 0 then
    Exit;
  Found.Expires := ExpiryOf(Found.Entry.AttributesValid, Found.Entry.AttributesValidNs);
  Remember(Place, Seen, Found);
end;

function HasAttributes(Known: PKnown): Boolean;
begin
  { Of a name that is not listed any more the guest's own changes would not be noticed. }
  Result := (Known <> nil) and Known^.IsListed and (read_rdtsc < Known^.AttributesExpire);
end;

procedure LeaveKnown(Known: PKnown);
var
  IsLast: Boolean;
begin
  AcquireLock(Lock);
  Dec(Known^.Users);
  IsLast := (Known^.Users = 0) and not Known^.IsListed;
  ReleaseLock(Lock);
  if IsLast then
    Discard(Known);
end;

procedure LeaveFound(Volume: PFuseVolume; const Found: TFound);
begin
  if Found.Known <> nil then
    LeaveKnown(Found.Known)
  else
    Forget(Volume, Found.Entry.Node);
end;

procedure LeavePlace(var Place: TPlace);
begin
  if Place.Directory <> nil then
    LeaveKnown(Place.Directory)
  else
    Forget(Place.Volume, Place.Node);
end;

procedure Enter(var Place: TPlace; const Found: TFound);
begin
  LeavePlace(Place);
  Place.Node := Found.Entry.Node;
  Place.Directory := Found.Known;
end;

procedure EnterRoot(var Place: TPlace);
begin
  LeavePlace(Place);
  Place.Node := ROOT_NODE;
  Place.Directory := nil;
end;

procedure Learn(const Place: TPlace; Seen: LongWord; const Entry: TFuseEntry);
var
  Found: TFound;
begin
  Found := Default(TFound);
  Found.Entry := Entry;
  Found.Expires := ExpiryOf(Entry.AttributesValid, Entry.AttributesValidNs);
  Remember(Place, Seen, Found);
  LeaveFound(Place.Volume, Found);
end;

{ ---- Dropping ---- }

{ What is asked for from now on is newer than this guest's last change. }
procedure CountChange(Volume: PFuseVolume);
begin
  AcquireLock(Lock);
  Inc(Volume^.Changes);
  ReleaseLock(Lock);
end;

procedure ExpireAttributes(Volume: PFuseVolume; Node: QWord);
var
  I: LongInt;
  Known: PKnown;
begin
  AcquireLock(Lock);
  Inc(Volume^.Changes);
  for I := 0 to BUCKETS - 1 do
  begin
    Known := Names[I];
    while Known <> nil do
    begin
      if (Known^.Volume = Volume) and (Known^.Entry.Node = Node) then
        Known^.AttributesExpire := 0;
      Known := Known^.Next;
    end;
  end;
  ReleaseLock(Lock);
end;

procedure DropName(const Place: TPlace);

  function IsIt(Known: PKnown): Boolean;
  begin
    Result := IsNameOf(Known, Place);
  end;

begin
  CountChange(Place.Volume);
  DropIf(@IsIt);
end;

procedure DropNames(Volume: PFuseVolume);

  function IsOfVolume(Known: PKnown): Boolean;
  begin
    Result := Known^.Volume = Volume;
  end;

begin
  CountChange(Volume);
  DropIf(@IsOfVolume);
end;

{ Drops the names that have expired. Returns when the next one will; 0: there is none. }
function Sweep(Volume: PFuseVolume): QWord;
var
  Now, Next: QWord;

  function HasExpired(Known: PKnown): Boolean;
  begin
    Result := (Known^.Volume = Volume) and (Known^.NameExpires <= Now);
    if (Known^.Volume = Volume) and not Result and ((Next = 0) or (Known^.NameExpires < Next)) then
      Next := Known^.NameExpires;
  end;

begin
  Now := read_rdtsc;
  Next := 0;
  DropIf(@HasExpired);
  Result := Next;
end;

initialization
  SweepNames := @Sweep;
end.
