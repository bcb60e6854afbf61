{ The entries of a directory. READDIRPLUS returns each with what LOOKUP would return for it, so that a
  program that lists a directory and looks at each file makes no request for each. }
unit FuseListing;

{$mode objfpc}

interface

uses Filesystem;

const
  DIRECTORY_BUFFER = 32 shl 10; { bytes of F.Entries }

{ Reads the next entries of a directory. Returns 0 at its end, or a negative errno, LOST or UNSENT. }
function ReadEntries(var F: TFile): LongInt;

{ Takes an entry that was read. Returns 1 or a negative errno. }
function TakeEntry(var F: TFile; out Entry: TDirEntry): LongInt;

implementation

uses Fuse, FuseFiles, FuseNames, FuseQueue, FuseSessions;

{ The head of an entry, which is read once. Returns the entry's bytes, with the zeroes at its end; 0: it
  is not whole. }
function HeadOf(From: PChar; Left: Int64; out Head: TFuseDirent): LongWord;
begin
  if Left < SizeOf(Head) then
    Exit(0);
  Head := PFuseDirent(From)^;
  if (Head.NameLength > NAME_MAX) or (Head.NameLength > Left - SizeOf(Head)) then
    Exit(0);
  Result := (SizeOf(Head) + Head.NameLength + 7) and not 7;
end;

{ Remembers what READDIRPLUS has told of a name. Seen: see Learn. }
procedure LearnName(const F: TFile; Seen: LongWord; const Entry: TFuseEntry; Name: PChar; Length: LongWord);
var
  Place: TPlace;
begin
  if Entry.Node = 0 then
    Exit;
  Place.Volume := F.Volume;
  Place.Node := F.Node;
  Place.Directory := F.Known;
  Move(Name^, Place.Name, Length);
  Place.Name[Length] := #0;
  Place.NameSize := Length + 1;
  Learn(Place, Seen, Entry);
  if ExpiryOf(Entry.EntryValid, Entry.EntryValidNs) = 0 then
    PFuseVolume(F.Volume)^.HasPlus := False;
end;

{ Leaves of a reply to READDIRPLUS what READDIR would have returned, and remembers the rest. }
function TakeKnowledge(var F: TFile; Seen: LongWord): LongInt;
var
  From, Target, Size: LongWord;
  Entry: TFuseEntry;
  Head: TFuseDirent;
begin
  From := 0;
  Target := 0;
  while From < F.EntryEnd do
  begin
    Size := HeadOf(F.Entries + From + SizeOf(Entry), Int64(F.EntryEnd) - From - SizeOf(Entry), Head);
    if Size = 0 then
    begin
      F.EntryEnd := 0;
      Exit(-EIO);
    end;
    Entry := PFuseEntry(F.Entries + From)^;
    Inc(From, SizeOf(Entry));
    Move(F.Entries[From], F.Entries[Target], SizeOf(Head) + Head.NameLength);
    PFuseDirent(F.Entries + Target)^ := Head;
    LearnName(F, Seen, Entry, F.Entries + Target + SizeOf(Head), Head.NameLength);
    Inc(From, Size);
    Inc(Target, Size);
  end;
  F.EntryEnd := Target;
  Result := Target;
end;

{ Fills F.Entries by READDIR or READDIRPLUS. }
function FillEntries(var F: TFile; Opcode: LongWord): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, Opcode, F.Node, SizeOf(TFuseTransfer), 0);
  Request.Args.Transfer.Handle := F.Handle;
  Request.Args.Transfer.Offset := F.Position;
  Request.Args.Transfer.Size := DIRECTORY_BUFFER;
  Request.Fetch := F.Entries;
  Request.FetchSize := DIRECTORY_BUFFER;
  Result := Call(Request);
  F.EntryAt := 0;
  F.EntryEnd := Request.Fetched;
  if Result = 0 then
    Result := Request.Fetched;
end;

function ReadEntries(var F: TFile): LongInt;
var
  Seen: LongWord;
begin
  Seen := PFuseVolume(F.Volume)^.Changes;
  { A listing that goes on is of a directory so large that it would drop what else is remembered. }
  if PFuseVolume(F.Volume)^.HasPlus and (F.Position = 0) then
  begin
    Result := FillEntries(F, OP_READDIRPLUS);
    if Result > 0 then
      Result := TakeKnowledge(F, Seen);
    if not IsExhausted(Result) then
      Exit;
  end;
  Result := FillEntries(F, OP_READDIR);
end;

function TakeEntry(var F: TFile; out Entry: TDirEntry): LongInt;
var
  Head: TFuseDirent;
  Size: LongWord;
begin
  Size := HeadOf(F.Entries + F.EntryAt, Int64(F.EntryEnd) - F.EntryAt, Head);
  if Size = 0 then
  begin
    F.EntryEnd := F.EntryAt;
    Exit(-EIO);
  end;
  Entry := Default(TDirEntry);
  SetLength(Entry.Name, Head.NameLength);
  Move(F.Entries[F.EntryAt + SizeOf(Head)], Entry.Name[1], Head.NameLength);
  Entry.Ino := Head.Ino;
  Entry.Mode := KindOf(Head.Kind shl 12);
  F.Position := Head.Offset;
  Inc(F.EntryAt, Size);
  if F.EntryAt > F.EntryEnd then
    F.EntryAt := F.EntryEnd;
  Result := 1;
end;

end.
