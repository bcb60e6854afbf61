{ From paths to nodes (see Fuse).

  FUSE leaves symbolic links, `.` and `..` to the client. Where one is met, it is replaced in the
  text of the path, and the path is followed anew from the root; the directories before it are
  remembered (see FuseNames). }
unit FusePaths;

{$mode objfpc}

interface

uses Fuse, FuseNames, FuseQueue;

{ Splits Path into a directory, which it looks up, and a last name. Returns 0 or a negative errno;
  after 0 call LeavePlace. Follow: if the last name is a symbolic link, the place is that to
  which it leads. }
function FindPlace(Volume: PFuseVolume; Path: PChar; out Place: TPlace; Follow: Boolean = False): LongInt;

{ Looks up Path, and follows symbolic links. Returns 0 or a negative errno; after 0 call
  LeaveFound. HasAttributes: those that are remembered must be valid. }
function FindFile(Volume: PFuseVolume; Path: PChar; HasAttributes: Boolean; out Found: TFound): LongInt;

implementation

uses Filesystem;

const
  LINKS_MAX = 40;  { on one path; both as on Linux }
  PATH_MAX = 4095; { bytes }

{ Moves the first name of Path to Place, and Path behind it. }
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

{ Reads the target of a symbolic link. }
function ReadLink(Volume: PFuseVolume; Node: QWord; out Target: AnsiString): LongInt;
var
  Request: TFuseRequest;
begin
  Target := '';
  SetLength(Target, PATH_MAX);
  Prepare(Request, Volume, OP_READLINK, Node, 0, 0);
  Request.Fetch := @Target[1];
  Request.FetchSize := PATH_MAX;
  Result := Call(Request);
  SetLength(Target, Request.Fetched);
end;

{ Removes the last name from the path of a directory. False: it is the root. }
function ToParent(var Directory: AnsiString): Boolean;
var
  Count: SizeInt;
begin
  Count := Length(Directory);
  while (Count > 0) and (Directory[Count] = '/') do
    Dec(Count);
  Result := Count > 0;
  while (Count > 0) and (Directory[Count] <> '/') do
    Dec(Count);
  SetLength(Directory, Count);
end;

{ The root, which has no name to look up. }
function FindRoot(Volume: PFuseVolume; out Found: TFound): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, Volume, OP_GETATTR, ROOT_NODE, SizeOf(TFuseGetAttr), SizeOf(TFuseAttributesReply));
  Result := Call(Request);
  Found := Default(TFound);
  Found.Entry.Node := ROOT_NODE;
  Found.Entry.Attributes := Request.Reply.Attributes.Attributes;
end;

{ Follows Path to the place of its last name, which the caller must leave in any case. Follow:
  looks the last name up too, and follows it if it is a symbolic link. AtLast: the result is that
  of the last name. }
function Walk(Volume: PFuseVolume; Path: PChar; Follow, HasAttributes: Boolean; out Place: TPlace; out Found: TFound;
  out AtLast: Boolean): LongInt;
var
  Text, Directory, Target: AnsiString;
  Start, Name: PChar; { of the path, and of the name that is looked at }
  Links: LongInt;

  { Goes on from the root, to Directory, Target and the rest of the path. }
  procedure Restart;
  begin
    Text := Directory + Target + '/' + AnsiString(Path);
    Start := PChar(Text);
    Path := Start;
    EnterRoot(Place);
  end;

  { Replaces `.` or `..`. }
  function SkipDots: LongInt;
  begin
    Target := '';
    if (Place.NameSize = 3) and not ToParent(Directory) and (Links > 0) then
      Exit(-EXDEV);
    Restart;
    Result := 0;
  end;

  { Replaces a symbolic link by its target. }
  function FollowLink: LongInt;
  begin
    Inc(Links);
    if Links > LINKS_MAX then
      Exit(-ELOOP);
    Result := ReadLink(Volume, Found.Entry.Node, Target);
    if Result < 0 then
      Exit;
    if (Target <> '') and (Target[1] = '/') then
      Directory := '';
    if Length(Directory) + Length(Target) + StrLen(Path) >= PATH_MAX then
      Exit(-ENAMETOOLONG);
    Restart;
  end;

begin
  Place.Volume := Volume;
  Place.Node := ROOT_NODE;
  Place.Directory := nil;
  Start := Path;
  Links := 0;
  repeat
    Name := Path;
    Result := NextName(Path, Place);
    AtLast := Path^ = #0;
    if (Result < 0) or (AtLast and (Place.NameSize = 1)) then
      Break;
    if (Place.Name[0] = '.') and ((Place.NameSize = 2) or ((Place.NameSize = 3) and (Place.Name[1] = '.'))) then
    begin
      if AtLast and not Follow then
        Exit(-EINVAL);
      SetString(Directory, Start, Name - Start);
      Result := SkipDots;
      Continue;
    end;
    if AtLast and not Follow then
      Exit;
    Result := FindName(Place, AtLast and HasAttributes, Found);
    if Result < 0 then
      Exit;
    if Found.Entry.Attributes.Mode and MODE_KIND = MODE_LINK then
    begin
      SetString(Directory, Start, Name - Start);
      Result := FollowLink;
      LeaveFound(Volume, Found);
    end
    else if AtLast then
      Exit
    else
      Enter(Place, Found);
  until Result < 0;
  if (Result = 0) and Follow then
    Result := FindRoot(Volume, Found);
end;

function FindPlace(Volume: PFuseVolume; Path: PChar; out Place: TPlace; Follow: Boolean): LongInt;
var
  Found: TFound;
  AtLast: Boolean;
begin
  Result := Walk(Volume, Path, Follow, False, Place, Found, AtLast);
  if Follow and (Result = 0) then
    LeaveFound(Volume, Found)
  else if Follow and AtLast and (Result = -ENOENT) then
    Result := 0;
  if Result < 0 then
    LeavePlace(Place);
end;

function FindFile(Volume: PFuseVolume; Path: PChar; HasAttributes: Boolean; out Found: TFound): LongInt;
var
  Place: TPlace;
  AtLast: Boolean;
begin
  Result := Walk(Volume, Path, True, HasAttributes, Place, Found, AtLast);
  LeavePlace(Place);
end;

end.
