{ Files. A file system is available if its driver's unit is used (VirtIOFS). SysMount selects
  the volume for the core that calls it, and for every core that has mounted none. Paths are
  absolute Unix paths; the leading slash may be omitted. Symbolic links are followed as on Linux,
  with the volume as the root directory; one that leads above it is refused.

  Offsets and sizes have 64 bits. A thread that waits for a file system is blocked; others run.
  After a failure SysFileError tells why.

  Units in files/: what a driver is (FileDrivers), volumes (Mounts) and open files (OpenFiles). }
unit Filesystem;

{$mode objfpc}

interface

uses Arch, CoreThreads, FileDrivers;

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
  ENXIO = 6;     { neither a file nor a directory: a socket, a pipe or a device of the host }
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

  MAX_DEV_NAME = FileDrivers.MAX_DEV_NAME;
  MAX_INODES_IN_CACHE = 300;   { of a volume, while they are not in use }

type
  PSuperBlock = FileDrivers.PSuperBlock;
  PInode = FileDrivers.PInode;
  TInode = FileDrivers.TInode;
  TDirEntry = FileDrivers.TDirEntry;
  TChange = FileDrivers.TChange;
  PFilesystem = FileDrivers.PFilesystem;
  TMount = FileDrivers.TMount;
  PFile = FileDrivers.PFile;
  TFile = FileDrivers.TFile;
  THeldPart = FileDrivers.THeldPart;
  TFilesystem = FileDrivers.TFilesystem;
  PBlockDriver = FileDrivers.PBlockDriver;
  PFileBlock = FileDrivers.PFileBlock;
  TBlockDriver = FileDrivers.TBlockDriver;
  TFileBlock = FileDrivers.TFileBlock;
  PFileRegular = FileDrivers.PFileRegular;
  TFileRegular = FileDrivers.TFileRegular;
  TInodeCacheSlot = FileDrivers.TInodeCacheSlot;
  PFileSystemDriver = FileDrivers.PFileSystemDriver;
  TFileSystemDriver = FileDrivers.TFileSystemDriver;
  TSuperBlock = FileDrivers.TSuperBlock;
  PStorage = FileDrivers.PStorage;
  TPerCPUStorage = FileDrivers.TPerCPUStorage;

{$push}{$codealign varmin=64}
var
  Storages: array[0..MAX_CPU - 1] of TPerCPUStorage;
{$pop}
  FileSystemDrivers: PFileSystemDriver;

{ Starts a volume (for virtiofs: the share with this tag) on a core, which then serves its
  device. To be called on that core. }
procedure DedicateBlockDriver(const Name: PChar; Core: LongInt); external name 'Mounts.DedicateBlockDriver';

{ Mounts a started volume. Minor is 0. False: no such file system, or no such volume. }
function SysMount(const FileSystemName, BlockName: PChar; const Minor: LongInt): Boolean;
  external name 'Mounts.SysMount';

{ Open a file, or a directory to read its entries; create or truncate a file. Return 0 on
  failure. }
function SysOpenFile(Path: PChar; Flags: LongInt = O_RDONLY): THandle; external name 'OpenFiles.SysOpenFile';
function SysCreateFile(Path: PChar): THandle; external name 'OpenFiles.SysCreateFile';
procedure SysCloseFile(FileHandle: THandle); external name 'OpenFiles.SysCloseFile';

{ Read or write at the file's position and advance it. Return the number of bytes, which is less
  than Count at the end of the file, or -1. }
function SysReadFile(FileHandle: THandle; Count: Int64; Buffer: Pointer): Int64; external name 'OpenFiles.SysReadFile';
function SysWriteFile(FileHandle: THandle; Count: Int64; Buffer: Pointer): Int64;
  external name 'OpenFiles.SysWriteFile';

{ Up to Count bytes from Offset where the file system keeps them: Data leads to them until
  ReleaseFile(Part). Returns how many; 0: they are not kept, so read them; or -1. }
function HoldFile(FileHandle: THandle; Offset, Count: Int64; out Data: PByte; out Part: THeldPart): Int64;
  external name 'OpenFiles.HoldFile';
procedure ReleaseFile(const Part: THeldPart); external name 'OpenFiles.ReleaseFile';

{ Sets the position to Offset from the start, the current position or the end. Returns it, or
  -1. }
function SysSeekFile(FileHandle: THandle; Offset: Int64; Whence: LongInt): Int64; external name 'OpenFiles.SysSeekFile';

{ These return 1 on success and 0 on failure. }
function SysStatFile(Path: PChar; Buffer: PInode): LongInt;
function SysTruncateFile(FileHandle: THandle; Size: Int64): LongInt; external name 'OpenFiles.SysTruncateFile';
function SysSyncFile(FileHandle: THandle): LongInt; { returns when the data are on the host's disk }
  external name 'OpenFiles.SysSyncFile';
function SysCreateDir(Path: PChar): LongInt;
function SysRemoveFile(Path: PChar): LongInt;
function SysRemoveDir(Path: PChar): LongInt;
function SysRenameFile(OldPath, NewPath: PChar): LongInt; { replaces an existing file }

{ Read a directory. SysReadDir returns its entries in no particular order, without `.` and `..`;
  False after the last one. SysCloseFile closes the directory. }
function SysOpenDir(Path: PChar): THandle; external name 'OpenFiles.SysOpenDir';
function SysReadDir(FileHandle: THandle; out Entry: TDirEntry): Boolean; external name 'OpenFiles.SysReadDir';

{ For a given volume instead of the core's: opens a file or directory; 0: failed. }
function OpenOn(const Mount: TMount; Path: PChar; Flags, Rights: LongInt; Directory: Boolean): THandle;
  external name 'OpenFiles.OpenOn';

{ What SysStatFile tells, of an open file }
function SysStatOpen(FileHandle: THandle; Buffer: PInode): LongInt; external name 'OpenFiles.SysStatOpen';

{ The names of all volumes of all file systems, from 0; nil: there are no more. }
function VolumeName(Index: LongInt): PChar; external name 'Mounts.VolumeName';

{ A volume by its name, which is started on this core if no core has it yet. False: there is no
  such volume. }
function FindMount(Name: PChar; out Mount: TMount): Boolean; external name 'Mounts.FindMount';

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

uses FileErrors, InodeVolumes, Mounts, OpenFiles, Scheduling;

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
  AddFilesystem(Driver);
end;

function SysFileError: LongInt;
begin
  Result := LastError;
end;

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
