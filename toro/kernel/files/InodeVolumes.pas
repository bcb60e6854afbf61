{ Volumes of drivers that know inodes (TFileSystemDriver), and the block devices below them, made
  into a driver that takes paths. A volume belongs to the core that
  has mounted it, and only that core uses it. }
unit InodeVolumes;

{$mode objfpc}

interface

uses FileDrivers;

var
  { The driver that takes paths; a Volume is a PSuperBlock. }
  InodeFilesystem: TFilesystem;

procedure AddBlockDriver(Driver: PBlockDriver);

{ Has a block driver give its devices to a core; False: there is no such driver. }
function DedicateDriver(Name: PChar; Core: LongInt): Boolean;

{ Mounts a device of this core. False: there is no such driver or device, or no such volume on
  it. }
function MountVolume(FileSystemName, BlockName: PChar; Minor: LongInt): Boolean;

{ An inode of a volume, with one user more, or fewer. nil: no memory. }
function UseInode(Super: PSuperBlock; Number: QWord): PInode;
procedure ReleaseInode(Inode: PInode);

implementation

uses Arch, Filesystem, Memory;

const
  NAME_MOST = 255;

var
  BlockDrivers: PBlockDriver;

procedure AddBlockDriver(Driver: PBlockDriver);
begin
  Driver^.Next := BlockDrivers;
  BlockDrivers := Driver;
end;

function DedicateDriver(Name: PChar; Core: LongInt): Boolean;
var
  Driver: PBlockDriver;
begin
  Driver := BlockDrivers;
  while (Driver <> nil) and not StrCmp(Driver^.Name, Name, StrLen(Name) + 1) do
    Driver := Driver^.Next;
  Result := (Driver <> nil) and (Core >= 0) and (Core < CPU_COUNT);
  if not Result then
    Exit;
  Driver^.CPUID := Core;
  Driver^.Dedicate(Driver, Core);
end;

{ ---- Inodes ---- }

procedure Unlink(var Cache: TInodeCacheSlot; Inode: PInode);
begin
  if Inode^.Prev = nil then
    Cache.InodeBuffer := Inode^.Next
  else
    Inode^.Prev^.Next := Inode^.Next;
  if Inode^.Next <> nil then
    Inode^.Next^.Prev := Inode^.Prev;
end;

{ A record for another inode: one that is not in use if there are many. }
function NewInode(var Cache: TInodeCacheSlot): PInode;
var
  Inode: PInode;
begin
  Inode := Cache.InodeBuffer;
  while (Inode <> nil) and (Cache.InodesInCache >= MAX_INODES_IN_CACHE) do
  begin
    Result := Inode;
    Inode := Inode^.Next;
    if Result^.Count > 0 then
      Continue;
    Unlink(Cache, Result);
    Dec(Cache.InodesInCache);
    Result^.Next := Cache.FreeInodesCache;
    Cache.FreeInodesCache := Result;
  end;
  Result := Cache.FreeInodesCache;
  if Result <> nil then
    Cache.FreeInodesCache := Result^.Next
  else
    Result := ToroGetMem(SizeOf(TInode));
  if Result = nil then
    Exit;
  Result^ := Default(TInode);
  Result^.Next := Cache.InodeBuffer;
  if Result^.Next <> nil then
    Result^.Next^.Prev := Result;
  Cache.InodeBuffer := Result;
  Inc(Cache.InodesInCache);
end;

function UseInode(Super: PSuperBlock; Number: QWord): PInode;
begin
  Result := Super^.InodeCache.InodeBuffer;
  while (Result <> nil) and (Result^.Ino <> Number) do
    Result := Result^.Next;
  if Result = nil then
  begin
    Result := NewInode(Super^.InodeCache);
    if Result = nil then
      Exit;
    Result^.Ino := Number;
    Result^.SuperBlock := Super;
    Result^.Count := 1; { it stays while the driver reads it }
    Super^.FileSystemDriver^.ReadInode(Result);
  end
  else
    Inc(Result^.Count);
end;

procedure ReleaseInode(Inode: PInode);
begin
  if (Inode^.Count = 1) and Inode^.Dirty then
  begin
    Inode^.Dirty := False;
    if Inode^.SuperBlock^.FileSystemDriver^.WriteInode <> nil then
      Inode^.SuperBlock^.FileSystemDriver^.WriteInode(Inode);
  end;
  Dec(Inode^.Count);
end;

{ ---- Mounting ---- }

function FindDevice(Name: PChar; Minor: LongInt): PFileBlock;
begin
  Result := Storages[GetCoreId].BlockFiles;
  while (Result <> nil) and
        ((Result^.Minor <> Minor) or not StrCmp(Result^.BlockDriver^.Name, Name, StrLen(Name) + 1)) do
    Result := Result^.Next;
end;

function MountVolume(FileSystemName, BlockName: PChar; Minor: LongInt): Boolean;
var
  Driver: PFileSystemDriver;
  Device: PFileBlock;
  Super, Before: PSuperBlock;
begin
  Driver := FileSystemDrivers;
  while (Driver <> nil) and not StrCmp(Driver^.Name, FileSystemName, StrLen(FileSystemName) + 1) do
    Driver := Driver^.Next;
  Device := FindDevice(BlockName, Minor);
  if (Driver = nil) or (Device = nil) then
    Exit(False);
  Super := ToroAllocMem(SizeOf(TSuperBlock));
  if Super = nil then
    Exit(False);
  Super^.BlockDevice := Device;
  Super^.FileSystemDriver := Driver;
  with Storages[GetCoreId] do
  begin
    Before := FileSystemMounted;
    FileSystemMounted := Super; { for the driver's GetInode }
    Result := (Driver^.ReadSuper(Super) <> nil) and (Super^.InodeROOT <> nil);
    if Result then
      Exit;
    FileSystemMounted := Before;
  end;
  ToroFreeMem(Super);
end;

{ ---- Paths ---- }

{ Takes the next name off a path; False: there is none. }
function NextName(var Path: PChar; out Name: ShortString): Boolean;
begin
  while Path^ = '/' do
    Inc(Path);
  Name := '';
  while (Path^ <> #0) and (Path^ <> '/') and (Length(Name) < NAME_MOST - 1) do
  begin
    Name := Name + Path^;
    Inc(Path);
  end;
  Result := Name <> '';
  Name := Name + #0;
end;

{ The directory that a path leads to, and the last name (empty for the root). Returns 0 or an
  error. }
function FindDirectory(Super: PSuperBlock; Path: PChar; out Directory: PInode; out Name: ShortString): LongInt;
var
  Following: ShortString;
  Next: PInode;
begin
  Directory := Super^.InodeROOT;
  Inc(Directory^.Count);
  if not NextName(Path, Name) then
    Exit(0);
  while NextName(Path, Following) do
  begin
    Next := Super^.FileSystemDriver^.LookupInode(Directory, @Name[1]);
    ReleaseInode(Directory);
    if Next = nil then
      Exit(-ENOENT);
    Directory := Next;
    Name := Following;
  end;
  Result := 0;
  if Directory^.Mode <> INODE_DIR then
    Result := -ENOTDIR;
  if Result < 0 then
    ReleaseInode(Directory);
end;

{ The inode of a path, to be released. }
function FindInode(Super: PSuperBlock; Path: PChar; out Inode: PInode): LongInt;
var
  Directory: PInode;
  Name: ShortString;
begin
  Result := FindDirectory(Super, Path, Directory, Name);
  if Result < 0 then
    Exit;
  if Length(Name) <= 1 then
    Inode := Directory
  else
  begin
    Inode := Super^.FileSystemDriver^.LookupInode(Directory, @Name[1]);
    ReleaseInode(Directory);
    if Inode = nil then
      Result := -ENOENT;
  end;
end;

{ ---- The driver that takes paths ---- }

function Regular(var F: TFile): PFileRegular;
begin
  Result := PFileRegular(F.Handle);
end;

{ Makes an open file of an inode, which it then uses. }
function OpenInode(Super: PSuperBlock; Inode: PInode; Flags: LongInt; var F: TFile): LongInt;
var
  Desc: PFileRegular;
begin
  Desc := ToroAllocMem(SizeOf(TFileRegular));
  Result := -ENOMEM;
  if Desc <> nil then
  begin
    Desc^.Inode := Inode;
    Result := 0;
    if Super^.FileSystemDriver^.OpenFile <> nil then
      Result := Super^.FileSystemDriver^.OpenFile(Desc, Flags);
  end;
  if Result < 0 then
  begin
    ToroFreeMem(Desc);
    ReleaseInode(Inode);
    Exit;
  end;
  F.Handle := PtrUInt(Desc);
  F.Ino := Inode^.Ino;
  Result := 0;
end;

function CreateFile(Super: PSuperBlock; Path: PChar; out Inode: PInode): LongInt;
var
  Directory: PInode;
  Name: ShortString;
begin
  if Super^.FileSystemDriver^.CreateInode = nil then
    Exit(-ENOSYS);
  Result := FindDirectory(Super, Path, Directory, Name);
  if Result < 0 then
    Exit;
  Inode := Super^.FileSystemDriver^.CreateInode(Directory, @Name[1]);
  ReleaseInode(Directory);
  if Inode = nil then
    Result := -EIO;
end;

function Open(Volume: Pointer; Path: PChar; Flags, Rights: LongInt; var F: TFile): LongInt;
var
  Inode: PInode;
begin
  Result := FindInode(Volume, Path, Inode);
  if (Result = 0) and (Flags and (O_CREAT or O_EXCL) = O_CREAT or O_EXCL) then
  begin
    ReleaseInode(Inode);
    Exit(-EEXIST);
  end;
  if (Result = -ENOENT) and (Flags and O_CREAT <> 0) then
    Result := CreateFile(Volume, Path, Inode);
  if Result < 0 then
    Exit;
  if Inode^.Mode = INODE_DIR then
  begin
    ReleaseInode(Inode);
    Exit(-EISDIR);
  end;
  if (Flags and O_TRUNC <> 0) and (Inode^.Size > 0) then
  begin
    Inode^.Size := 0;
    Inode^.Dirty := True;
  end;
  Result := OpenInode(Volume, Inode, Flags, F);
end;

function OpenDir(Volume: Pointer; Path: PChar; var F: TFile): LongInt;
var
  Inode: PInode;
begin
  Result := FindInode(Volume, Path, Inode);
  if Result < 0 then
    Exit;
  if Inode^.Mode = INODE_DIR then
    Exit(OpenInode(Volume, Inode, O_RDONLY, F));
  ReleaseInode(Inode);
  Result := -ENOTDIR;
end;

{ Drivers of this kind list no directories. }
function ReadDir(var F: TFile; out Entry: TDirEntry): LongInt;
begin
  Entry := Default(TDirEntry);
  Result := -ENOSYS;
end;

procedure Close(var F: TFile);
begin
  with PSuperBlock(F.Volume)^.FileSystemDriver^ do
    if CloseFile <> nil then
      CloseFile(Regular(F));
  ReleaseInode(Regular(F)^.Inode);
  ToroFreeMem(Regular(F));
end;

function Most(Count: Int64): LongInt;
begin
  Result := High(LongInt);
  if Count < Result then
    Result := Count;
end;

function Read(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
begin
  if PSuperBlock(F.Volume)^.FileSystemDriver^.ReadFile = nil then
    Exit(-ENOSYS);
  Regular(F)^.FilePos := Offset;
  Result := PSuperBlock(F.Volume)^.FileSystemDriver^.ReadFile(Regular(F), Most(Count), Data);
end;

function Write(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
begin
  if PSuperBlock(F.Volume)^.FileSystemDriver^.WriteFile = nil then
    Exit(-ENOSYS);
  Regular(F)^.FilePos := Offset;
  Result := PSuperBlock(F.Volume)^.FileSystemDriver^.WriteFile(Regular(F), Most(Count), Data);
end;

function Stat(Volume: Pointer; Path: PChar; out Inode: TInode): LongInt;
var
  Found: PInode;
begin
  Inode := Default(TInode);
  Result := FindInode(Volume, Path, Found);
  if Result < 0 then
    Exit;
  Inode := Found^;
  ReleaseInode(Found);
end;

function StatOpen(var F: TFile; out Inode: TInode): LongInt;
begin
  Inode := Regular(F)^.Inode^;
  Result := 0;
end;

function Truncate(var F: TFile; Size: Int64): LongInt;
begin
  if (Size < 0) or (Size > Regular(F)^.Inode^.Size) then
    Exit(-EINVAL);
  Regular(F)^.Inode^.Size := Size;
  Regular(F)^.Inode^.Dirty := True;
  Result := 0;
end;

function Sync(var F: TFile): LongInt;
begin
  with Regular(F)^.Inode^ do
    if Dirty and (SuperBlock^.FileSystemDriver^.WriteInode <> nil) then
    begin
      Dirty := False;
      SuperBlock^.FileSystemDriver^.WriteInode(Regular(F)^.Inode);
    end;
  Result := 0;
end;

function MakeDir(Volume: Pointer; Path: PChar; Rights: LongInt): LongInt;
var
  Directory, Made: PInode;
  Name: ShortString;
begin
  if PSuperBlock(Volume)^.FileSystemDriver^.CreateInodeDir = nil then
    Exit(-ENOSYS);
  Result := FindDirectory(Volume, Path, Directory, Name);
  if Result < 0 then
    Exit;
  Made := PSuperBlock(Volume)^.FileSystemDriver^.CreateInodeDir(Directory, @Name[1]);
  ReleaseInode(Directory);
  if Made = nil then
    Exit(-EIO);
  ReleaseInode(Made);
end;

function Remove(Volume: Pointer; Path: PChar; Directory: Boolean): LongInt;
var
  Parent: PInode;
  Name: ShortString;
begin
  if PSuperBlock(Volume)^.FileSystemDriver^.RemoveInode = nil then
    Exit(-ENOSYS);
  Result := FindDirectory(Volume, Path, Parent, Name);
  if Result < 0 then
    Exit;
  if PSuperBlock(Volume)^.FileSystemDriver^.RemoveInode(Parent, @Name[1]) < 0 then
    Result := -EIO;
  ReleaseInode(Parent);
end;

function Rename(Volume: Pointer; OldPath, NewPath: PChar): LongInt;
begin
  Result := -ENOSYS;
end;

initialization
  InodeFilesystem.Open := @Open;
  InodeFilesystem.Close := @Close;
  InodeFilesystem.Read := @Read;
  InodeFilesystem.Write := @Write;
  InodeFilesystem.Stat := @Stat;
  InodeFilesystem.StatOpen := @StatOpen;
  InodeFilesystem.Truncate := @Truncate;
  InodeFilesystem.Sync := @Sync;
  InodeFilesystem.MakeDir := @MakeDir;
  InodeFilesystem.Remove := @Remove;
  InodeFilesystem.Rename := @Rename;
  InodeFilesystem.OpenDir := @OpenDir;
  InodeFilesystem.ReadDir := @ReadDir;
end.
