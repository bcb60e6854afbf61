{ The virtio-fs device (virtio 1.2, section 5.11): directories of the host, by their tags, as
  the file system `virtiofs`. The FUSE client is in fuse/. }
unit VirtIOFS;

{$mode objfpc}
{$modeswitch nestedprocvars}

interface

implementation

uses Arch, Filesystem, Fuse, FuseContents, FuseFiles, FuseForgets, FuseListing, FuseNames, FusePaths, FuseQueue,
  FuseReading, FuseSessions, Memory, VirtIODevices;

const
  VOLUMES_MAX = 8;
  CONFIG_TAG = 0;          { TAG_SIZE bytes, zero-terminated if shorter }

var
  Volumes: array[0..VOLUMES_MAX - 1] of TFuseVolume;
  VolumeCount: LongInt;
  Driver: TFilesystem;

{ ---- Volumes ---- }

{ Reads the tags. Not done at start-up, because each word is an exit. }
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
    StartVolume(Volume);
end;

function Mount(Name: PChar): Pointer;
begin
  Result := FindVolume(Name);
  if (Result <> nil) and (PFuseVolume(Result)^.Session = 0) then
    Result := nil;
end;

function VolumeName(Index: LongInt): PChar;
begin
  if VolumeCount = 0 then
    FindVolumes;
  Result := nil;
  if Index < VolumeCount then
    Result := Volumes[Index].Tag;
end;

{ ---- Files ---- }

{ Makes an attempt in a session in which the file is open. }
function WithFile(var F: TFile; Attempt: TAttempt): LongInt;

  function ReopenFirst: LongInt;
  begin
    Result := Reopen(F);
    if Result = 0 then
      Result := Attempt();
  end;

begin
  Result := InSession(F.Volume, @ReopenFirst);
end;

function Open(Volume: Pointer; Path: PChar; Flags, Rights: LongInt; var F: TFile): LongInt;

  function Attempt: LongInt;
  begin
    if Flags and O_CREAT = 0 then
      Exit(OpenExisting(Volume, Path, Flags, F));
    Result := CreateNew(Volume, Path, Flags, Rights, False, F);
    if (Result <> -EEXIST) or (Flags and O_EXCL <> 0) then
      Exit;
    Result := OpenExisting(Volume, Path, Flags, F);
    if Result = -ENOENT then { a symbolic link to a file that does not exist }
      Result := CreateNew(Volume, Path, Flags, Rights, True, F);
  end;

begin
  Result := InSession(Volume, @Attempt);
end;

procedure Close(var F: TFile);

  function Attempt: LongInt;
  begin
    Result := CloseOpen(F);
  end;

begin
  InSession(F.Volume, @Attempt);
end;

{ Reads or writes; a retry continues where the attempt before stopped. }
function TransferAll(var F: TFile; Opcode: LongWord; Offset: Int64; Data: PByte; Count: Int64): Int64;
var
  Moved: Int64;
  Error: LongInt;

  function Attempt: LongInt;
  begin
    if Opcode = OP_READ then
      Inc(Moved, ReadFile(F, Offset + Moved, Data + Moved, Count - Moved, Result))
    else
      Inc(Moved, Transfer(F, Opcode, Offset + Moved, Data + Moved, Count - Moved, Result));
    { Data that may have been appended must not be appended again. }
    if (Result = LOST) and (Opcode = OP_WRITE) and (F.Flags and O_APPEND <> 0) then
      Result := -EIO;
  end;

begin
  Moved := 0;
  Error := WithFile(F, @Attempt);
  if (Moved = 0) and (Error < 0) then
    Result := Error
  else
    Result := Moved;
end;

function Read(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
begin
  Result := TransferAll(F, OP_READ, Offset, Data, Count);
end;

function Write(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
begin
  Result := TransferAll(F, OP_WRITE, Offset, Data, Count);
end;

function Hold(var F: TFile; Offset, Count: Int64; out Data: PByte; out Holder: Pointer): Int64;

  function Attempt: LongInt;
  begin
    Hold := HoldPart(F, Offset, Count, Data, Holder, Result);
  end;

var
  Error: LongInt;
begin
  Result := 0;
  Error := WithFile(F, @Attempt);
  if Error < 0 then
    Result := Error;
end;

procedure Release(Holder: Pointer);
begin
  LeaveContents(Holder);
end;

function StatOpen(var F: TFile; out Inode: TInode): LongInt;

  function Attempt: LongInt;
  begin
    Result := StatFile(F, Inode);
  end;

begin
  Result := WithFile(F, @Attempt);
end;

function Truncate(var F: TFile; Size: Int64): LongInt;

  function Attempt: LongInt;
  begin
    Result := TruncateFile(F, Size);
  end;

begin
  Result := WithFile(F, @Attempt);
end;

function Sync(var F: TFile): LongInt;

  function Attempt: LongInt;
  begin
    Result := SyncFile(F);
  end;

begin
  Result := WithFile(F, @Attempt);
end;

{ ---- Names ---- }

function Stat(Volume: Pointer; Path: PChar; out Inode: TInode): LongInt;

  function Attempt: LongInt;
  var
    Found: TFound;
  begin
    Result := FindFile(Volume, Path, True, Found);
    if Result < 0 then
      Exit;
    Describe(Found.Entry.Attributes, Inode);
    LeaveFound(Volume, Found);
  end;

begin
  Result := InSession(Volume, @Attempt);
end;

function MakeDir(Volume: Pointer; Path: PChar; Rights: LongInt): LongInt;

  function Attempt: LongInt;
  var
    Place: TPlace;
    Made: Boolean;

    function Make: LongInt;
    var
      Request: TFuseRequest;
    begin
      PrepareNamed(Request, Place, OP_MKDIR, SizeOf(TFuseMkDir), SizeOf(TFuseEntry));
      Request.Args.MkDir.Mode := Rights and not UMASK;
      Request.Args.MkDir.Umask := UMASK;
      Result := CallOnce(Request);
      if Result = 0 then
        Forget(Volume, Request.Reply.Entry.Node);
    end;

  begin
    Result := FindPlace(Volume, Path, Place);
    if Result < 0 then
      Exit;
    Result := CreateOnce(Volume, @Make, Made);
    if Made then
      Result := 0;
    ExpireAttributes(Volume, Place.Node);
    LeavePlace(Place);
  end;

begin
  Result := InSession(Volume, @Attempt);
end;

{ Removes or renames the file that Place names, after a LOOKUP: virtiofsd accepts only files that
  it knows. The caller then drops names and flushes the forgets, so that a removed or replaced
  file's space is freed at once. }
function CallKnown(var Request: TFuseRequest; const Place: TPlace): LongInt;
var
  Found: TFound;
begin
  DropName(Place);
  Result := FindName(Place, False, Found);
  if Result < 0 then
    Exit;
  Result := CallOnce(Request);
  DropFile(Place.Volume, Found.Entry.Attributes.Ino);
  ExpireAttributes(Place.Volume, Found.Entry.Node);
  ExpireAttributes(Place.Volume, Place.Node);
  LeaveFound(Place.Volume, Found);
  DropName(Place);
end;

function Remove(Volume: Pointer; Path: PChar; Directory: Boolean): LongInt;

  function Attempt: LongInt;
  var
    Place: TPlace;
    Request: TFuseRequest;
    Opcode: LongWord;
  begin
    Result := FindPlace(Volume, Path, Place);
    if Result < 0 then
      Exit;
    Opcode := OP_UNLINK;
    if Directory then
      Opcode := OP_RMDIR;
    PrepareNamed(Request, Place, Opcode, 0, 0);
    Result := CallKnown(Request, Place);
    LeavePlace(Place);
    if Directory then
      DropNames(Volume);
    FlushForgets(Volume);
  end;

begin
  Result := InSession(Volume, @Attempt);
end;

function RenameIn(const OldPlace, NewPlace: TPlace): LongInt;
var
  Names: array[0..2 * NAME_MAX + 1] of Char;
  Request: TFuseRequest;
begin
  PrepareNamed(Request, OldPlace, OP_RENAME, SizeOf(TFuseRename), 0);
  Request.Args.Rename.NewDirectory := NewPlace.Node;
  Move(OldPlace.Name, PChar(@Names)^, OldPlace.NameSize);
  Move(NewPlace.Name, PChar(@Names)[OldPlace.NameSize], NewPlace.NameSize);
  Request.Send := @Names;
  Request.SendSize := OldPlace.NameSize + NewPlace.NameSize;
  Result := CallKnown(Request, OldPlace);
end;

function Rename(Volume: Pointer; OldPath, NewPath: PChar): LongInt;

  function Attempt: LongInt;
  var
    OldPlace, NewPlace: TPlace;
  begin
    Result := FindPlace(Volume, OldPath, OldPlace);
    if Result < 0 then
      Exit;
    Result := FindPlace(Volume, NewPath, NewPlace);
    if Result = 0 then
    begin
      Result := RenameIn(OldPlace, NewPlace);
      LeavePlace(NewPlace);
      DropNames(Volume);
    end;
    LeavePlace(OldPlace);
    FlushForgets(Volume);
  end;

begin
  Result := InSession(Volume, @Attempt);
end;

function ChangeNamed(Volume: Pointer; Path: PChar; const Change: TChange): LongInt;

  function Attempt: LongInt;
  var
    Found: TFound;
  begin
    Result := FindFile(Volume, Path, False, Found);
    if Result < 0 then
      Exit;
    Result := ChangeFile(Volume, Found.Entry, Change);
    LeaveFound(Volume, Found);
  end;

begin
  Result := InSession(Volume, @Attempt);
end;

{ ---- Directories ---- }

function OpenDir(Volume: Pointer; Path: PChar; var F: TFile): LongInt;

  function Attempt: LongInt;
  begin
    Result := OpenDirectory(Volume, Path, F);
  end;

begin
  F.Entries := ToroGetMem(DIRECTORY_BUFFER);
  if F.Entries = nil then
    Exit(-ENOMEM);
  Result := InSession(Volume, @Attempt);
  if Result < 0 then
    ToroFreeMem(F.Entries);
end;

function ReadDir(var F: TFile; out Entry: TDirEntry): LongInt;

  function Attempt: LongInt;
  begin
    Result := ReadEntries(F);
  end;

begin
  if F.Entries = nil then
    Exit(-ENOTDIR);
  Result := 1;
  if F.EntryAt = F.EntryEnd then
    Result := WithFile(F, @Attempt);
  if Result > 0 then
    Result := TakeEntry(F, Entry);
end;

initialization
  Driver.Name := 'virtiofs';
  Driver.Dedicate := @Dedicate;
  Driver.Mount := @Mount;
  Driver.VolumeName := @VolumeName;
  Driver.Open := @Open;
  Driver.Close := @Close;
  Driver.Read := @Read;
  Driver.Hold := @Hold;
  Driver.Release := @Release;
  Driver.Write := @Write;
  Driver.Stat := @Stat;
  Driver.StatOpen := @StatOpen;
  Driver.Truncate := @Truncate;
  Driver.Sync := @Sync;
  Driver.MakeDir := @MakeDir;
  Driver.Remove := @Remove;
  Driver.Rename := @Rename;
  Driver.Change := @ChangeNamed;
  Driver.OpenDir := @OpenDir;
  Driver.ReadDir := @ReadDir;
  RegisterPathDriver(@Driver);
end.
