{ Files. A file system is available if its driver's unit is used (VirtIOFS). SysMount selects
  the volume for the core that calls it, and for every core that has mounted none. Paths are
  absolute Unix paths; the leading slash may be omitted. Symbolic links are followed as on Linux,
  with the volume as the root directory; one that leads above it is refused.

  Offsets and sizes have 64 bits. A thread that waits for a file system is blocked; others run.
  After a failure SysFileError tells why.

  Open files are in files/openfiles.inc.

  A driver is one of two kinds: a TFilesystem, which takes paths, or a TFileSystemDriver, which
  knows inodes and finds its blocks through a TBlockDriver. }
unit Filesystem;

{$mode objfpc}

interface

uses Arch, CoreThreads;

const
  { Flags of SysOpenFile }
  O_RDONLY = 0;
  O_WRONLY = 1;
  O_RDWR = 2;
  O_CREAT = $40;     { create it if it does not exist }
  O_EXCL = $80;      { fail if it exists }
  O_TRUNC = $200;    { truncate it }
  O_APPEND = $400;   { write at its end }

  SeekSet = 0;
  SeekCur = 1;
  SeekEof = 2;

  { Permission bits that a new file or directory does not get: it is 0644 or 0755. }
  UMASK = &022;

  { Kinds of files }
  INODE_OTHER = 0;
  INODE_DIR = 1;
  INODE_REG = 2;

  { Values of SysFileError, as on Linux }
  ENOENT = 2;
  EIO = 5;
  EBADF = 9;
  ENOMEM = 12;
  EACCES = 13;
  EEXIST = 17;
  EXDEV = 18;    { a symbolic link leads out of the volume }
  ENOTDIR = 20;
  EISDIR = 21;
  EINVAL = 22;
  ENFILE = 23;
  EMFILE = 24;   { the host's server has no descriptor left }
  EROFS = 30;
  ENAMETOOLONG = 36;
  ELOOP = 40;    { too many symbolic links }
  ENODEV = 19;
  ENOSYS = 38;   { the driver cannot do that }
  ESTALE = 116;  { the file is gone: the host's server restarted, and its path now leads elsewhere }

  MAX_DEV_NAME = 30;           { characters in a driver's name, with a zero }
  MAX_INODES_IN_CACHE = 300;   { of a volume, while they are not in use }

type
  PSuperBlock = ^TSuperBlock;
  PInode = ^TInode;

  { What SysStatFile tells about a file, and what an inode driver knows of it }
  TInode = record
    Ino: QWord;
    Size: Int64;                 { bytes }
    Mode: LongInt;               { INODE_* }
    Rights: LongInt;             { permission bits, as for chmod }
    ATime, CTime, MTime: Int64;  { seconds since 1970 }
    { Of an inode driver: }
    DTime: Int64;
    Dirty: Boolean;              { WriteInode is called when nobody uses it any more }
    Count: LongInt;              { users }
    SuperBlock: PSuperBlock;
    InoInfo: Pointer;            { the driver's }
    Next, Prev: PInode;          { in the volume's cache }
  end;

  TDirEntry = record
    Name: String[255];
    Ino: QWord;
    Mode: LongInt;               { INODE_* }
  end;

  { What is to be changed of a file }
  TChange = record
    SetRights, SetTimes: Boolean;
    Rights: LongInt;             { permission bits }
    ATime, MTime: Int64;         { seconds since 1970 }
  end;

  PFilesystem = ^TFilesystem;

  { A volume of a file system }
  TMount = record
    Filesystem: PFilesystem;
    Volume: Pointer;
  end;

  { An open file or directory }
  PFile = ^TFile;
  TFile = record
    Filesystem: PFilesystem;
    Volume: Pointer;
    Path: PChar;                 { the path that it was opened by }
    Node, Handle: QWord;
    Ino: QWord;
    Session: LongWord;           { of the volume, within which Node and Handle are valid }
    Position: Int64;
    Flags: LongInt;
    IsOpen: Boolean;             { Handle is valid: a file that is only read may have none }
    Known, Contents: Pointer;    { the driver's: what keeps Node, and what is kept of the file }
    Entries: PChar;              { of a directory: the entries that were read last, }
    EntryAt, EntryEnd: LongWord; { and the range of those not yet returned }
  end;

  { Bytes of a file that are held }
  THeldPart = record
    Filesystem: PFilesystem;
    Holder: Pointer;
  end;

  { A driver. Its functions return 0 or more, or a negative error. Rights are permission bits
    to which it applies UMASK. }
  TFilesystem = record
    Name: PChar;
    { Dedicate starts a volume on a core. Mount returns a started volume by its name, or nil. }
    Dedicate: function(Name: PChar; Core: LongInt): Boolean;
    Mount: function(Name: PChar): Pointer;
    { The name of a volume, from 0; nil: there are no more. }
    VolumeName: function(Index: LongInt): PChar;
    Open: function(Volume: Pointer; Path: PChar; Flags, Rights: LongInt; var F: TFile): LongInt;
    Close: procedure(var F: TFile);
    Read: function(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
    Write: function(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
    { Up to Count bytes where the driver keeps them, which stay there until Release; 0: it does
      not. Both may be nil. }
    Hold: function(var F: TFile; Offset, Count: Int64; out Data: PByte; out Holder: Pointer): Int64;
    Release: procedure(Holder: Pointer);
    Stat: function(Volume: Pointer; Path: PChar; out Inode: TInode): LongInt;
    StatOpen: function(var F: TFile; out Inode: TInode): LongInt;
    Truncate: function(var F: TFile; Size: Int64): LongInt;
    Sync: function(var F: TFile): LongInt;
    MakeDir: function(Volume: Pointer; Path: PChar; Rights: LongInt): LongInt;
    Remove: function(Volume: Pointer; Path: PChar; Directory: Boolean): LongInt;
    Rename: function(Volume: Pointer; OldPath, NewPath: PChar): LongInt;
    Change: function(Volume: Pointer; Path: PChar; const Change: TChange): LongInt;
    OpenDir: function(Volume: Pointer; Path: PChar; var F: TFile): LongInt;
    { Returns 1 and an entry, or 0 at the end. }
    ReadDir: function(var F: TFile; out Entry: TDirEntry): LongInt;
    Next: PFilesystem;
  end;

  { A driver of block devices. Dedicate gives the driver's devices to a core by calls of
    DedicateBlockFile. ReadBlock and WriteBlock return how many blocks they have moved. }
  PBlockDriver = ^TBlockDriver;
  PFileBlock = ^TFileBlock;
  TBlockDriver = record
    Busy: Boolean;               { a thread uses it: see GetDevice }
    WaitOn: PThread;             { that thread }
    Name: array[0..MAX_DEV_NAME - 1] of Char;
    Major: LongInt;
    Dedicate: procedure(Controller: PBlockDriver; CPUID: LongInt);
    WriteBlock: function(FileDesc: PFileBlock; Block, Count: LongInt; Buffer: Pointer): LongInt;
    ReadBlock: function(FileDesc: PFileBlock; Block, Count: LongInt; Buffer: Pointer): LongInt;
    CPUID: LongInt;              { the core that it was dedicated to; -1 before }
    Next: PBlockDriver;
  end;

  { One of its devices }
  TFileBlock = record
    BlockDriver: PBlockDriver;
    Minor: LongInt;
    Next: PFileBlock;
  end;

  { A file that an inode driver has open }
  PFileRegular = ^TFileRegular;
  TFileRegular = record
    FilePos: LongInt;
    Opaque: QWord;               { the driver's }
    Inode: PInode;
  end;

  TInodeCacheSlot = record
    InodesInCache: Int64;
    InodeBuffer: PInode;         { those in use, and those that were }
    FreeInodesCache: PInode;     { records to reuse }
  end;

  { A driver that knows inodes. ReadSuper reads the superblock of Spb^.BlockDevice, sets InodeROOT
    (by GetInode), and returns Spb, or nil: it is no such volume. LookupInode and CreateInode
    return an inode that they have from GetInode, or nil. ReadInode fills in what belongs to
    Ino^.Ino. OpenFile, CloseFile and RemoveInode return less than 0 if they fail; ReadFile and
    WriteFile the bytes they have moved from FilePos on. What a driver cannot do is nil. }
  PFileSystemDriver = ^TFileSystemDriver;
  TFileSystemDriver = record
    Name: array[0..MAX_DEV_NAME - 1] of Char;
    OpenFile: function(FileDesc: PFileRegular; Flags: LongInt): LongInt;
    CloseFile: function(FileDesc: PFileRegular): LongInt;
    ReadFile: function(FileDesc: PFileRegular; Count: LongInt; Buffer: Pointer): LongInt;
    WriteFile: function(FileDesc: PFileRegular; Count: LongInt; Buffer: Pointer): LongInt;
    ReadInode: procedure(Ino: PInode);
    WriteInode: procedure(Ino: PInode);
    CreateInode: function(Ino: PInode; Name: PChar): PInode;
    CreateInodeDir: function(Ino: PInode; Name: PChar): PInode;
    RemoveInode: function(Ino: PInode; Name: PChar): LongInt;
    LookupInode: function(Ino: PInode; Name: PChar): PInode;
    ReadSuper: function(Spb: PSuperBlock): PSuperBlock;
    Next: PFileSystemDriver;
  end;

  { A mounted volume of one }
  TSuperBlock = record
    BlockDevice: PFileBlock;
    InodeROOT: PInode;
    Dirty: Boolean;
    Flags: LongInt;
    BlockSize: LongInt;
    SbInfo: Pointer;             { the driver's }
    FileSystemDriver: PFileSystemDriver;
    InodeCache: TInodeCacheSlot;
  end;

  { What a core has of these, in a cache line of its own }
  PStorage = ^TPerCPUStorage;
  TPerCPUStorage = record
    BlockFiles: PFileBlock;      { devices }
    FileSystemMounted: PSuperBlock;
    Pad: array[1..CACHELINE_LEN - 2] of QWord;
  end;

{$push}{$codealign varmin=64}
var
  Storages: array[0..MAX_CPU - 1] of TPerCPUStorage;
{$pop}
  FileSystemDrivers: PFileSystemDriver;

{ Starts a volume (for virtiofs: the share with this tag) on a core, which then serves its
  device. To be called on that core. }
procedure DedicateBlockDriver(const Name: PChar; Core: LongInt);

{ Mounts a started volume. Minor is 0. False: no such file system, or no such volume. }
function SysMount(const FileSystemName, BlockName: PChar; const Minor: LongInt): Boolean;

{ Open a file, or a directory to read its entries; create or truncate a file. Return 0 on
  failure. }
function SysOpenFile(Path: PChar; Flags: LongInt = O_RDONLY): THandle;
function SysCreateFile(Path: PChar): THandle;
procedure SysCloseFile(FileHandle: THandle);

{ Read or write at the file's position and advance it. Return the number of bytes, which is less
  than Count at the end of the file, or -1. }
function SysReadFile(FileHandle: THandle; Count: Int64; Buffer: Pointer): Int64;
function SysWriteFile(FileHandle: THandle; Count: Int64; Buffer: Pointer): Int64;

{ Up to Count bytes from Offset where the file system keeps them: Data leads to them until
  ReleaseFile(Part). Returns how many; 0: they are not kept, so read them; or -1. }
function HoldFile(FileHandle: THandle; Offset, Count: Int64; out Data: PByte; out Part: THeldPart): Int64;
procedure ReleaseFile(const Part: THeldPart);

{ Sets the position to Offset from the start, the current position or the end. Returns it, or
  -1. }
function SysSeekFile(FileHandle: THandle; Offset: Int64; Whence: LongInt): Int64;

{ These return 1 on success and 0 on failure. }
function SysStatFile(Path: PChar; Buffer: PInode): LongInt;
function SysTruncateFile(FileHandle: THandle; Size: Int64): LongInt;
function SysSyncFile(FileHandle: THandle): LongInt; { returns when the data are on the host's disk }
function SysCreateDir(Path: PChar): LongInt;
function SysRemoveFile(Path: PChar): LongInt;
function SysRemoveDir(Path: PChar): LongInt;
function SysRenameFile(OldPath, NewPath: PChar): LongInt; { replaces an existing file }

{ Read a directory. SysReadDir returns its entries in no particular order, without `.` and `..`;
  False after the last one. SysCloseFile closes the directory. }
function SysOpenDir(Path: PChar): THandle;
function SysReadDir(FileHandle: THandle; out Entry: TDirEntry): Boolean;

{ For a given volume instead of the core's: opens a file or directory; 0: failed. }
function OpenOn(const Mount: TMount; Path: PChar; Flags, Rights: LongInt; Directory: Boolean): THandle;

{ What SysStatFile tells, of an open file }
function SysStatOpen(FileHandle: THandle; Buffer: PInode): LongInt;

{ The names of all volumes of all file systems, from 0; nil: there are no more. }
function VolumeName(Index: LongInt): PChar;

{ A volume by its name, which is started on this core if no core has it yet. False: there is no
  such volume. }
function FindMount(Name: PChar; out Mount: TMount): Boolean;

{ Why the last routine that failed in this thread did. }
function SysFileError: LongInt;

{ ---- For drivers ---- }

procedure RegisterPathDriver(Driver: PFilesystem);
procedure RegisterFilesystem(Driver: PFileSystemDriver);
procedure RegisterBlockDriver(Driver: PBlockDriver);

{ Gives a device to a core; called by a driver's Dedicate. }
procedure DedicateBlockFile(FBlock: PFileBlock; CPUID: LongInt);

{ Let one thread of a driver's core at a time use it: the others yield until it is free. }
procedure GetDevice(Dev: PBlockDriver);
procedure FreeDevice(Dev: PBlockDriver);

{ An inode of the volume that is mounted on this core, read by its driver unless it is known; nil:
  no volume, or no memory. Each GetInode is matched by a PutInode. }
function GetInode(Inode: LongInt): PInode;
procedure PutInode(Inode: PInode);

implementation

uses InodeVolumes, Memory, Scheduling;

type
  TFileTable = array of PFile;

var
  Filesystems: PFilesystem;
  Mounts: array[0..MAX_CPU - 1] of TMount;
  FirstMount: TMount;
  { Open files; a handle is the index plus one. }
  Files: TFileTable;
  Lock: LongInt;

threadvar
  LastError: LongInt;

{ ---- Drivers ---- }

procedure RegisterFilesystem(Driver: PFileSystemDriver);
begin
  Driver^.Next := FileSystemDrivers;
  FileSystemDrivers := Driver;
end;

procedure RegisterBlockDriver(Driver: PBlockDriver);
begin
  AddBlockDriver(Driver);
end;

procedure DedicateBlockFile(FBlock: PFileBlock; CPUID: LongInt);
begin
  if (CPUID < 0) or (CPUID >= CPU_COUNT) then
    Exit;
  FBlock^.Next := Storages[CPUID].BlockFiles;
  Storages[CPUID].BlockFiles := FBlock;
end;

procedure GetDevice(Dev: PBlockDriver);
begin
  while Dev^.Busy do
  begin
    Yield;
    Checkpoint;
  end;
  Dev^.Busy := True;
  Dev^.WaitOn := GetCurrentThread;
end;

procedure FreeDevice(Dev: PBlockDriver);
begin
  Dev^.WaitOn := nil;
  Dev^.Busy := False;
end;

function GetInode(Inode: LongInt): PInode;
begin
  Result := nil;
  if Storages[GetCoreId].FileSystemMounted <> nil then
    Result := UseInode(Storages[GetCoreId].FileSystemMounted, Inode);
end;

procedure PutInode(Inode: PInode);
begin
  ReleaseInode(Inode);
end;

procedure RegisterPathDriver(Driver: PFilesystem);
begin
  Driver^.Next := Filesystems;
  Filesystems := Driver;
end;

function SysFileError: LongInt;
begin
  Result := LastError;
end;

{ Whether a result is an error; stores it if so. }
function Failed(Result_: Int64): Boolean;
begin
  Result := Result_ < 0;
  if Result then
    LastError := -Result_;
end;

function Success(Result_: LongInt): LongInt;
begin
  Result := Ord(not Failed(Result_));
end;

{ ---- Mounting ---- }

procedure DedicateBlockDriver(const Name: PChar; Core: LongInt);
var
  Filesystem: PFilesystem;
begin
  if DedicateDriver(Name, Core) then
    Exit;
  Filesystem := Filesystems;
  while (Filesystem <> nil) and not Filesystem^.Dedicate(Name, Core) do
    Filesystem := Filesystem^.Next;
end;

function SysMount(const FileSystemName, BlockName: PChar; const Minor: LongInt): Boolean;
var
  Filesystem: PFilesystem;
  Volume: Pointer;
begin
  Volume := nil;
  Filesystem := Filesystems;
  while (Filesystem <> nil) and not StrCmp(Filesystem^.Name, FileSystemName, StrLen(FileSystemName) + 1) do
    Filesystem := Filesystem^.Next;
  if Filesystem <> nil then
    Volume := Filesystem^.Mount(BlockName)
  else if MountVolume(FileSystemName, BlockName, Minor) then
  begin
    Filesystem := @InodeFilesystem;
    Volume := Storages[GetCoreId].FileSystemMounted;
  end;
  Result := Volume <> nil;
  if not Result then
  begin
    LastError := ENODEV;
    Exit;
  end;
  Mounts[GetCoreId].Filesystem := Filesystem;
  Mounts[GetCoreId].Volume := Volume;
  if (FirstMount.Volume = nil) and (Filesystem <> @InodeFilesystem) then
    FirstMount := Mounts[GetCoreId];
end;

function VolumeName(Index: LongInt): PChar;
var
  Filesystem: PFilesystem;
  I: LongInt;
begin
  Filesystem := Filesystems;
  while Filesystem <> nil do
  begin
    I := 0;
    repeat
      Result := Filesystem^.VolumeName(I);
      if (Result <> nil) and (Index = 0) then
        Exit;
      Inc(I);
      Dec(Index);
    until Result = nil;
    Inc(Index);
    Filesystem := Filesystem^.Next;
  end;
  Result := nil;
end;

function FindMount(Name: PChar; out Mount: TMount): Boolean;
begin
  Mount.Volume := nil;
  DedicateBlockDriver(Name, GetCoreId);
  Mount.Filesystem := Filesystems;
  while Mount.Filesystem <> nil do
  begin
    Mount.Volume := Mount.Filesystem^.Mount(Name);
    if Mount.Volume <> nil then
      Exit(True);
    Mount.Filesystem := Mount.Filesystem^.Next;
  end;
  Result := False;
end;

{ The volume that is mounted on this core; False: none. }
function Mounted(out Mount: TMount): Boolean;
begin
  Mount := Mounts[GetCoreId];
  if Mount.Volume = nil then
    Mount := FirstMount;
  Result := Mount.Volume <> nil;
  if not Result then
    LastError := ENODEV;
end;

{$I files/openfiles.inc}

{ ---- Names ---- }

function SysStatFile(Path: PChar; Buffer: PInode): LongInt;
var
  Mount: TMount;
begin
  if not Mounted(Mount) then
    Exit(0);
  Result := Success(Mount.Filesystem^.Stat(Mount.Volume, Path, Buffer^));
end;

function SysCreateDir(Path: PChar): LongInt;
var
  Mount: TMount;
begin
  if not Mounted(Mount) then
    Exit(0);
  Result := Success(Mount.Filesystem^.MakeDir(Mount.Volume, Path, &777));
end;

function Remove(Path: PChar; Directory: Boolean): LongInt;
var
  Mount: TMount;
begin
  if not Mounted(Mount) then
    Exit(0);
  Result := Success(Mount.Filesystem^.Remove(Mount.Volume, Path, Directory));
end;

function SysRemoveFile(Path: PChar): LongInt;
begin
  Result := Remove(Path, False);
end;

function SysRemoveDir(Path: PChar): LongInt;
begin
  Result := Remove(Path, True);
end;

function SysRenameFile(OldPath, NewPath: PChar): LongInt;
var
  Mount: TMount;
begin
  if not Mounted(Mount) then
    Exit(0);
  Result := Success(Mount.Filesystem^.Rename(Mount.Volume, OldPath, NewPath));
end;

end.
