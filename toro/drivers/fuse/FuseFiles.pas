{ Open files and directories of a volume, within a session. Functions return 0 or more, or a
  negative errno, or LOST or UNSENT. }
unit FuseFiles;

{$mode objfpc}
{$modeswitch nestedprocvars}

interface

uses Filesystem, Fuse, FuseQueue;

procedure Describe(const Attributes: TFuseAttributes; out Inode: TInode);
function KindOf(Mode: LongWord): LongInt;

{ Open an existing file, create a new one (Follow: or that to which a symbolic link leads), and
  open a directory, for which F.Entries is a buffer. }
function OpenExisting(Volume: PFuseVolume; Path: PChar; Flags: LongInt; var F: TFile): LongInt;
function CreateNew(Volume: PFuseVolume; Path: PChar; Flags, Rights: LongInt; Follow: Boolean; var F: TFile): LongInt;
function OpenDirectory(Volume: PFuseVolume; Path: PChar; var F: TFile): LongInt;

{ Opens a file again by its path if it was opened in an earlier session. CloseOpen closes it. }
function Reopen(var F: TFile): LongInt;
function CloseOpen(var F: TFile): LongInt;

function StatFile(var F: TFile; out Inode: TInode): LongInt;
function TruncateFile(var F: TFile; Size: Int64): LongInt;
function SyncFile(var F: TFile): LongInt;

{ Changes rights or times. }
function ChangeFile(Volume: PFuseVolume; const Entry: TFuseEntry; const Change: TChange): LongInt;

{ Moves up to Count bytes between a file and Data, with several requests under way at a time.
  Returns the bytes before the first request that failed or was short; Error is its result. }
function Transfer(var F: TFile; Opcode: LongWord; Offset: Int64; Data: PByte; Count: Int64; out Error: LongInt): Int64;

implementation

uses FuseContents, FuseForgets, FuseNames, FusePaths, FuseSessions;

const
  PARALLEL = 4; { requests that one thread has under way }
  FLAGS_ONCE = O_CREAT or O_EXCL or O_TRUNC;
  FLAGS_WRITING = O_WRONLY or O_RDWR;

function KindOf(Mode: LongWord): LongInt;
begin
  case Mode and MODE_KIND of
    MODE_DIRECTORY: Result := INODE_DIR;
    MODE_REGULAR: Result := INODE_REG;
  else
    Result := INODE_OTHER;
  end;
end;

procedure Describe(const Attributes: TFuseAttributes; out Inode: TInode);
begin
  Inode.Ino := Attributes.Ino;
  Inode.Size := Attributes.Size;
  Inode.Rights := Attributes.Mode and &7777;
  Inode.ATime := Attributes.ATime;
  Inode.CTime := Attributes.CTime;
  Inode.MTime := Attributes.MTime;
  Inode.Mode := KindOf(Attributes.Mode);
end;

function StatFile(var F: TFile; out Inode: TInode): LongInt;
var
  Request: TFuseRequest;
begin
  if HasAttributes(F.Known) then
  begin
    Describe(PKnown(F.Known)^.Entry.Attributes, Inode);
    Exit(0);
  end;
  Prepare(Request, F.Volume, OP_GETATTR, F.Node, SizeOf(TFuseGetAttr), SizeOf(TFuseAttributesReply));
  if F.IsOpen then
    Request.Args.GetAttr.Flags := GETATTR_HANDLE;
  Request.Args.GetAttr.Handle := F.Handle;
  Result := Call(Request);
  Describe(Request.Reply.Attributes.Attributes, Inode);
end;

{ ---- Opening and closing ---- }

{ What is kept of a file that the guest has changed is not valid any more. }
procedure NoteChange(Volume: PFuseVolume; Node, Ino: QWord);
begin
  ExpireAttributes(Volume, Node);
  DropFile(Volume, Ino);
end;

{ Opens the node of F. }
function OpenNode(Opcode: LongWord; Flags: LongInt; var F: TFile): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, Opcode, F.Node, SizeOf(TFuseOpen), SizeOf(TFuseOpenReply));
  Request.Args.Open.Flags := Flags and not FLAGS_ONCE;
  Result := Call(Request);
  if Result < 0 then
    Exit;
  F.Handle := Request.Reply.Open.Handle;
  F.IsOpen := True;
end;

{ The server needs to have the file open. }
function OpenLate(var F: TFile): LongInt;
begin
  Result := 0;
  if not F.IsOpen then
    Result := OpenNode(OP_OPEN, F.Flags, F);
end;

{ Makes F the file that was found. }
procedure Take(const Found: TFound; var F: TFile);
begin
  F.Node := Found.Entry.Node;
  F.Known := Found.Known;
  F.Ino := Found.Entry.Attributes.Ino;
  F.Session := PFuseVolume(F.Volume)^.Session;
end;

{ Lets go of that file. }
procedure Leave(var F: TFile);
begin
  ReplaceContents(F.Contents, nil);
  if F.Known <> nil then
    LeaveKnown(F.Known)
  else if F.Session = PFuseVolume(F.Volume)^.Session then
    Forget(F.Volume, F.Node);
  F.Known := nil;
  F.Session := 0;
end;

function TruncateFile(var F: TFile; Size: Int64): LongInt;
var
  Request: TFuseRequest;
begin
  Result := OpenLate(F);
  if Result < 0 then
    Exit;
  Prepare(Request, F.Volume, OP_SETATTR, F.Node, SizeOf(TFuseSetAttr), SizeOf(TFuseAttributesReply));
  Request.Args.SetAttr.Valid := SETATTR_SIZE or SETATTR_HANDLE;
  Request.Args.SetAttr.Handle := F.Handle;
  Request.Args.SetAttr.Size := Size;
  Result := Call(Request);
  NoteChange(F.Volume, F.Node, F.Ino);
end;

function CloseAs(Opcode: LongWord; var F: TFile): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, Opcode, F.Node, SizeOf(TFuseRelease), 0);
  Request.Args.Release.Handle := F.Handle;
  Request.Args.Release.OpenFlags := F.Flags;
  F.IsOpen := False;
  Result := Call(Request);
end;

function CloseOpen(var F: TFile): LongInt;
begin
  Result := 0;
  if F.Session <> PFuseVolume(F.Volume)^.Session then
    F.IsOpen := False; { the end of its session has closed it }
  if F.IsOpen and (F.Entries <> nil) then
    Result := CloseAs(OP_RELEASEDIR, F)
  else if F.IsOpen then
    Result := CloseAs(OP_RELEASE, F);
  Leave(F);
end;

function OpenExisting(Volume: PFuseVolume; Path: PChar; Flags: LongInt; var F: TFile): LongInt;
var
  Found: TFound;
begin
  Result := FindFile(Volume, Path, True, Found);
  if Result < 0 then
    Exit;
  Take(Found, F);
  case KindOf(Found.Entry.Attributes.Mode) of
    INODE_DIR: Result := -EISDIR;
    INODE_OTHER: Result := -ENXIO; { the server would wait for the other end of a pipe }
  end;
  if Result < 0 then
  begin
    Leave(F);
    Exit;
  end;
  if Flags and (FLAGS_WRITING or O_TRUNC) = 0 then
    F.Contents := UseContents(Volume, Found.Entry.Attributes, Found.Expires);
  if (F.Contents = nil) or not PContents(F.Contents)^.WasOpened then
    Result := OpenNode(OP_OPEN, Flags, F);
  if (Result = 0) and (F.Contents <> nil) then
    PContents(F.Contents)^.WasOpened := True;
  if (Result = 0) and (Flags and O_TRUNC <> 0) and (Found.Entry.Attributes.Size > 0) then
    Result := TruncateFile(F, 0);
  if Result < 0 then
    CloseOpen(F);
end;

function CreateNew(Volume: PFuseVolume; Path: PChar; Flags, Rights: LongInt; Follow: Boolean; var F: TFile): LongInt;
var
  Place: TPlace;
  Request: TFuseRequest;
  Made: Boolean;

  function Create: LongInt;
  begin
    PrepareNamed(Request, Place, OP_CREATE, SizeOf(TFuseCreate), SizeOf(TFuseCreateReply));
    Request.Args.Create.Flags := Flags or O_EXCL;
    { The server does not apply the umask: it expects the client to (as Linux does). }
    Request.Args.Create.Mode := MODE_REGULAR or LongWord(Rights and not UMASK);
    Request.Args.Create.Umask := UMASK;
    { Without O_EXCL it is no error that an earlier attempt has created the file. }
    if Flags and O_EXCL <> 0 then
      Result := CallOnce(Request)
    else
      Result := Call(Request);
  end;

begin
  Result := FindPlace(Volume, Path, Place, Follow);
  if Result < 0 then
    Exit;
  Result := CreateOnce(Volume, @Create, Made);
  F.Node := Request.Reply.Create.Entry.Node;
  F.Ino := Request.Reply.Create.Entry.Attributes.Ino;
  F.Handle := Request.Reply.Create.Open.Handle;
  F.IsOpen := Result = 0;
  F.Session := Volume^.Session;
  ExpireAttributes(Volume, Place.Node);
  LeavePlace(Place);
  if Made then
    Result := OpenExisting(Volume, Path, Flags, F);
end;

function OpenDirectory(Volume: PFuseVolume; Path: PChar; var F: TFile): LongInt;
var
  Found: TFound;
begin
  Result := FindFile(Volume, Path, False, Found);
  if Result < 0 then
    Exit;
  Take(Found, F);
  Result := OpenNode(OP_OPENDIR, O_RDONLY, F);
  if Result < 0 then
    Leave(F);
end;

function Reopen(var F: TFile): LongInt;
var
  Ino: QWord;
begin
  if F.Session = PFuseVolume(F.Volume)^.Session then
    Exit(0);
  Ino := F.Ino;
  CloseOpen(F);
  if F.Entries <> nil then
    Result := OpenDirectory(F.Volume, F.Path, F)
  else
    Result := OpenExisting(F.Volume, F.Path, F.Flags and not FLAGS_ONCE, F);
  if (Result = -ENOENT) or (Result = -EISDIR) then
    Result := -ESTALE;
  if (Result < 0) or (F.Ino = Ino) then
    Exit;
  { The name now belongs to another file. }
  CloseOpen(F);
  F.Ino := Ino;
  Result := -ESTALE;
end;

{ ---- Reading and writing ---- }

{ Starts a READ or WRITE request. }
procedure StartTransfer(out Request: TFuseRequest; var F: TFile; Opcode: LongWord; Offset: Int64; Data: Pointer;
  Count: LongWord);
begin
  Prepare(Request, F.Volume, Opcode, F.Node, SizeOf(TFuseTransfer), 0);
  Request.Args.Transfer.Handle := F.Handle;
  Request.Args.Transfer.Offset := Offset;
  Request.Args.Transfer.Size := Count;
  Request.Args.Transfer.OpenFlags := F.Flags;
  if Opcode = OP_READ then
  begin
    Request.Fetch := Data;
    Request.FetchSize := Count;
  end
  else
  begin
    Request.Send := Data;
    Request.SendSize := Count;
    Request.ReplySize := SizeOf(TFuseWriteReply);
  end;
  Start(Request);
end;

{ Waits for its reply. Returns the bytes moved, or a negative errno. }
function FinishTransfer(var Request: TFuseRequest): Int64;
begin
  Result := Finish(Request);
  if Result < 0 then
    Exit;
  if Request.Header.Opcode = OP_READ then
    Result := Request.Fetched
  else
    Result := Request.Reply.Write.Size;
  if Result > Request.Args.Transfer.Size then
    Result := -EIO;
end;

function Transfer(var F: TFile; Opcode: LongWord; Offset: Int64; Data: PByte; Count: Int64; out Error: LongInt): Int64;
var
  Requests: array[0..PARALLEL - 1] of TFuseRequest;
  First, Running: LongInt; { index of the oldest one, and their number }
  Part, Asked, Moved: Int64;
  Over: Boolean;
begin
  First := 0;
  Running := 0;
  Asked := 0;
  Result := 0;
  Error := OpenLate(F);
  if Error < 0 then
    Exit;
  Over := False;
  repeat
    while (Running < PARALLEL) and (Asked < Count) and not Over do
    begin
      Part := PFuseVolume(F.Volume)^.MaxTransfer;
      if Part > Count - Asked then
        Part := Count - Asked;
      StartTransfer(Requests[(First + Running) mod PARALLEL], F, Opcode, Offset + Asked, Data + Asked, Part);
      Inc(Asked, Part);
      Inc(Running);
    end;
    Moved := FinishTransfer(Requests[First]);
    if not Over then
    begin
      Over := Moved <> Requests[First].Args.Transfer.Size;
      if Moved >= 0 then
        Inc(Result, Moved)
      else
        Error := Moved;
    end;
    First := (First + 1) mod PARALLEL;
    Dec(Running);
  until (Running = 0) and (Over or (Asked = Count));
  if Opcode = OP_WRITE then
    NoteChange(F.Volume, F.Node, F.Ino);
end;

function ChangeFile(Volume: PFuseVolume; const Entry: TFuseEntry; const Change: TChange): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, Volume, OP_SETATTR, Entry.Node, SizeOf(TFuseSetAttr), SizeOf(TFuseAttributesReply));
  with Request.Args.SetAttr do
  begin
    if Change.SetRights then
      Valid := Valid or SETATTR_MODE;
    if Change.SetTimes then
      Valid := Valid or SETATTR_ATIME or SETATTR_MTIME;
    Mode := Change.Rights;
    ATime := Change.ATime;
    MTime := Change.MTime;
  end;
  Result := Call(Request);
  NoteChange(Volume, Entry.Node, Entry.Attributes.Ino);
end;

function SyncFile(var F: TFile): LongInt;
var
  Request: TFuseRequest;
begin
  Result := OpenLate(F);
  if Result < 0 then
    Exit;
  Prepare(Request, F.Volume, OP_FSYNC, F.Node, SizeOf(TFuseSync), 0);
  Request.Args.Sync.Handle := F.Handle;
  Result := Call(Request);
end;

end.
