{ The virtio-fs device (virtio 1.2, section 5.11): directories of the host, by their tags,
  as the file system `virtiofs`. }
unit VirtIOFS;

{$mode objfpc}

interface

implementation

uses Arch, Filesystem, Fuse, FuseNames, FuseQueue, Memory, VirtIO;

const
  VOLUMES_MAX = 8;
  CONFIG_TAG = 0;          { TAG_SIZE bytes, without a zero when it is as long }
  PARALLEL = 4;            { requests of one thread that are on their way at once }
  DIRECTORY_BUFFER = 4096;

var
  Volumes: array[0..VOLUMES_MAX - 1] of TFuseVolume;
  VolumeCount: LongInt;
  Driver: TFilesystem;

{ ---- Volumes ---- }

{ Not at the start, because each word that is read is an exit of the virtual machine. }
procedure FindVolumes;
var
  Device: PVirtIODevice;
begin
  while VolumeCount < VOLUMES_MAX do
  begin
    Device := FindDevice(ID_FS, VolumeCount);
    if Device = nil then
      Break;
    Volumes[VolumeCount].Device := Device;
    ReadConfig(Device, CONFIG_TAG, TAG_SIZE div 4, @Volumes[VolumeCount].Tag);
    Inc(VolumeCount);
  end;
end;

function FindVolume(Name: PChar): PFuseVolume;
var
  I: LongInt;
begin
  if VolumeCount = 0 then
    FindVolumes;
  for I := 0 to VolumeCount - 1 do
    if StrCmp(Volumes[I].Tag, Name, StrLen(Name) + 1) then
      Exit(@Volumes[I]);
  Result := nil;
end;

function Dedicate(Name: PChar; Core: LongInt): Boolean;
var
  Volume: PFuseVolume;
begin
  Volume := FindVolume(Name);
  Result := Volume <> nil;
  if Result and not Volume^.Device^.Claimed and (Core = GetCoreId) then
    Volume^.Running := StartVolume(Volume);
end;

function Mount(Name: PChar): Pointer;
begin
  Result := FindVolume(Name);
  if (Result <> nil) and not PFuseVolume(Result)^.Running then
    Result := nil;
end;

{ ---- What is known of a file ---- }

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

function Stat(Volume: Pointer; Path: PChar; out Inode: TInode): LongInt;
var
  Entry: TFuseEntry;
begin
  Result := FindFile(Volume, Path, Entry);
  if Result < 0 then
    Exit;
  Describe(Entry.Attributes, Inode);
  Forget(Volume, Entry.Node);
end;

function StatOpen(var F: TFile; out Inode: TInode): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, OP_GETATTR, F.Node, SizeOf(TFuseGetAttr), SizeOf(TFuseAttributesReply));
  Request.Args.GetAttr.Flags := GETATTR_HANDLE;
  Request.Args.GetAttr.Handle := F.Handle;
  Result := Call(Request);
  Describe(Request.Reply.Attributes.Attributes, Inode);
end;

{ ---- Opening and closing ---- }

{ Opens a node, which is F's from now on. }
function OpenNode(Opcode: LongWord; Node: QWord; Flags: LongInt; var F: TFile): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, Opcode, Node, SizeOf(TFuseOpen), SizeOf(TFuseOpenReply));
  Request.Args.Open.Flags := Flags;
  Result := Call(Request);
  if Result < 0 then
    Forget(F.Volume, Node);
  F.Node := Node;
  F.Handle := Request.Reply.Open.Handle;
end;

function Truncate(var F: TFile; Size: Int64): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, OP_SETATTR, F.Node, SizeOf(TFuseSetAttr), SizeOf(TFuseAttributesReply));
  Request.Args.SetAttr.Valid := SETATTR_SIZE or SETATTR_HANDLE;
  Request.Args.SetAttr.Handle := F.Handle;
  Request.Args.SetAttr.Size := Size;
  Result := Call(Request);
end;

procedure CloseAs(Opcode: LongWord; var F: TFile);
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, Opcode, F.Node, SizeOf(TFuseRelease), 0);
  Request.Args.Release.Handle := F.Handle;
  Request.Args.Release.OpenFlags := F.Flags;
  Call(Request);
  Forget(F.Volume, F.Node);
end;

procedure Close(var F: TFile);
begin
  if F.Entries <> nil then
    CloseAs(OP_RELEASEDIR, F)
  else
    CloseAs(OP_RELEASE, F);
end;

{ Opens a file that is there. }
function OpenExisting(Volume: Pointer; Path: PChar; Flags: LongInt; var F: TFile): LongInt;
var
  Entry: TFuseEntry;
begin
  Result := FindFile(Volume, Path, Entry);
  if Result < 0 then
    Exit;
  if KindOf(Entry.Attributes.Mode) = INODE_DIR then
  begin
    Forget(Volume, Entry.Node);
    Exit(-EISDIR);
  end;
  Result := OpenNode(OP_OPEN, Entry.Node, Flags and not (O_CREAT or O_EXCL or O_TRUNC), F);
  if (Result = 0) and (Flags and O_TRUNC <> 0) and (Entry.Attributes.Size > 0) then
  begin
    Result := Truncate(F, 0);
    if Result < 0 then
      CloseAs(OP_RELEASE, F);
  end;
end;

function CreateNew(Volume: Pointer; Path: PChar; Flags, Rights: LongInt; var F: TFile): LongInt;
var
  Place: TPlace;
  Request: TFuseRequest;
begin
  Result := FindPlace(Volume, Path, Place);
  if Result < 0 then
    Exit;
  Prepare(Request, Volume, OP_CREATE, Place.Node, SizeOf(TFuseCreate), SizeOf(TFuseCreateReply));
  Request.Args.Create.Flags := Flags or O_EXCL;
  Request.Args.Create.Mode := MODE_REGULAR or LongWord(Rights);
  Request.Args.Create.Umask := &022;
  Request.Send := @Place.Name;
  Request.SendSize := Place.NameSize;
  Result := Call(Request);
  F.Node := Request.Reply.Create.Entry.Node;
  F.Handle := Request.Reply.Create.Open.Handle;
  LeavePlace(Place);
end;

function Open(Volume: Pointer; Path: PChar; Flags, Rights: LongInt; var F: TFile): LongInt;
begin
  if Flags and O_CREAT = 0 then
    Exit(OpenExisting(Volume, Path, Flags, F));
  Result := CreateNew(Volume, Path, Flags, Rights, F);
  if (Result = -EEXIST) and (Flags and O_EXCL = 0) then
    Result := OpenExisting(Volume, Path, Flags, F);
end;

{ ---- Reading and writing ---- }

{ Starts a READ or WRITE of a part of a file. }
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

{ How many bytes it was, or a negative errno. }
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

{ Moves up to Count bytes between a file and Data, by as many requests as that takes, of
  which some are on their way at once. Returns how many it was up to the first request that
  moved less than it should. }
function Transfer(var F: TFile; Opcode: LongWord; Offset: Int64; Data: PByte; Count: Int64): Int64;
var
  Requests: array[0..PARALLEL - 1] of TFuseRequest;
  First, Running: LongInt; { the oldest one, and how many there are }
  Part, Asked, Moved: Int64;
  Over: Boolean;
begin
  First := 0;
  Running := 0;
  Asked := 0;
  Result := 0;
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
      else if Result = 0 then
        Result := Moved;
    end;
    First := (First + 1) mod PARALLEL;
    Dec(Running);
  until (Running = 0) and (Over or (Asked = Count));
end;

function Read(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
begin
  Result := Transfer(F, OP_READ, Offset, Data, Count);
end;

function Write(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
begin
  Result := Transfer(F, OP_WRITE, Offset, Data, Count);
end;

function Sync(var F: TFile): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, OP_FSYNC, F.Node, SizeOf(TFuseSync), 0);
  Request.Args.Sync.Handle := F.Handle;
  Result := Call(Request);
end;

{ ---- Names ---- }

function MakeDir(Volume: Pointer; Path: PChar; Rights: LongInt): LongInt;
var
  Place: TPlace;
  Request: TFuseRequest;
begin
  Result := FindPlace(Volume, Path, Place);
  if Result < 0 then
    Exit;
  Prepare(Request, Volume, OP_MKDIR, Place.Node, SizeOf(TFuseMkDir), SizeOf(TFuseEntry));
  Request.Args.MkDir.Mode := Rights;
  Request.Args.MkDir.Umask := &022;
  Request.Send := @Place.Name;
  Request.SendSize := Place.NameSize;
  Result := Call(Request);
  if Result = 0 then
    Forget(Volume, Request.Reply.Entry.Node);
  LeavePlace(Place);
end;

{ Removes or moves what Place names. virtiofsd does so only with a file that it was asked
  for and that was not forgotten yet. }
function CallKnown(var Request: TFuseRequest; const Place: TPlace): LongInt;
var
  Entry: TFuseEntry;
begin
  Result := Lookup(Place, Entry);
  if Result < 0 then
    Exit;
  Result := Call(Request);
  Forget(Place.Volume, Entry.Node);
end;

function Remove(Volume: Pointer; Path: PChar; Directory: Boolean): LongInt;
var
  Place: TPlace;
  Request: TFuseRequest;
begin
  Result := FindPlace(Volume, Path, Place);
  if Result < 0 then
    Exit;
  if Directory then
    Prepare(Request, Volume, OP_RMDIR, Place.Node, 0, 0)
  else
    Prepare(Request, Volume, OP_UNLINK, Place.Node, 0, 0);
  Request.Send := @Place.Name;
  Request.SendSize := Place.NameSize;
  Result := CallKnown(Request, Place);
  LeavePlace(Place);
  if Directory then
    DistrustNames;
end;

function Rename(Volume: Pointer; OldPath, NewPath: PChar): LongInt;
var
  OldPlace, NewPlace: TPlace;
  Names: array[0..2 * NAME_MAX + 1] of Char;
  Request: TFuseRequest;
begin
  Result := FindPlace(Volume, OldPath, OldPlace);
  if Result < 0 then
    Exit;
  Result := FindPlace(Volume, NewPath, NewPlace);
  if Result = 0 then
  begin
    Move(OldPlace.Name, PChar(@Names)^, OldPlace.NameSize);
    Move(NewPlace.Name, PChar(@Names)[OldPlace.NameSize], NewPlace.NameSize);
    Prepare(Request, Volume, OP_RENAME, OldPlace.Node, SizeOf(TFuseRename), 0);
    Request.Args.Rename.NewDirectory := NewPlace.Node;
    Request.Send := @Names;
    Request.SendSize := OldPlace.NameSize + NewPlace.NameSize;
    Result := CallKnown(Request, OldPlace);
    LeavePlace(NewPlace);
    DistrustNames;
  end;
  LeavePlace(OldPlace);
end;

{ ---- Directories ---- }

function OpenDir(Volume: Pointer; Path: PChar; var F: TFile): LongInt;
var
  Entry: TFuseEntry;
begin
  F.Entries := ToroGetMem(DIRECTORY_BUFFER);
  if F.Entries = nil then
    Exit(-ENOMEM);
  Result := FindFile(Volume, Path, Entry);
  if Result = 0 then
    Result := OpenNode(OP_OPENDIR, Entry.Node, O_RDONLY, F);
  if Result < 0 then
    ToroFreeMem(F.Entries);
end;

{ Reads the entries that come next: 0 when there are none. }
function ReadEntries(var F: TFile): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, OP_READDIR, F.Node, SizeOf(TFuseTransfer), 0);
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

function ReadDir(var F: TFile; out Entry: TDirEntry): LongInt;
var
  Dirent: PFuseDirent;
  Left: LongWord;
begin
  if F.Entries = nil then
    Exit(-ENOTDIR);
  if F.EntryAt = F.EntryEnd then
  begin
    Result := ReadEntries(F);
    if Result <= 0 then
      Exit;
  end;
  Left := F.EntryEnd - F.EntryAt;
  Dirent := PFuseDirent(F.Entries + F.EntryAt);
  if (Left < SizeOf(TFuseDirent)) or (Dirent^.NameLength > NAME_MAX) or
     (Dirent^.NameLength > Left - SizeOf(TFuseDirent)) then
  begin
    F.EntryEnd := F.EntryAt;
    Exit(-EIO);
  end;
  Entry := Default(TDirEntry);
  SetLength(Entry.Name, Dirent^.NameLength);
  Move(PChar(Dirent + 1)^, Entry.Name[1], Dirent^.NameLength);
  Entry.Ino := Dirent^.Ino;
  Entry.Mode := KindOf(Dirent^.Kind shl 12);
  F.Position := Dirent^.Offset;
  Inc(F.EntryAt, (SizeOf(TFuseDirent) + Dirent^.NameLength + 7) and not 7);
  if F.EntryAt > F.EntryEnd then
    F.EntryAt := F.EntryEnd;
  Result := 1;
end;

initialization
  Driver.Name := 'virtiofs';
  Driver.Dedicate := @Dedicate;
  Driver.Mount := @Mount;
  Driver.Open := @Open;
  Driver.Close := @Close;
  Driver.Read := @Read;
  Driver.Write := @Write;
  Driver.Stat := @Stat;
  Driver.StatOpen := @StatOpen;
  Driver.Truncate := @Truncate;
  Driver.Sync := @Sync;
  Driver.MakeDir := @MakeDir;
  Driver.Remove := @Remove;
  Driver.Rename := @Rename;
  Driver.OpenDir := @OpenDir;
  Driver.ReadDir := @ReadDir;
  RegisterFilesystem(@Driver);
end.
