{ System calls for files, on the volumes of Filesystem. }
unit FileCalls;

{$mode objfpc}

interface

implementation

uses Arch, Descriptors, Filesystem, LibraryCalls, Memory, SharePaths, SystemCalls;

const
  { Bits of a Linux file mode }
  MODE_DIRECTORY = &040000;
  MODE_REGULAR = &100000;
  MODE_FIFO = &010000;

  { Types of directory entries }
  TYPE_UNKNOWN = 0;
  TYPE_DIRECTORY = 4;
  TYPE_REGULAR = 8;

  BLOCK = 512;

type
  { struct stat of Linux, x86-64 }
  PStat = ^TStat;
  TStat = packed record
    Dev, Ino, Links: QWord;
    Mode, Uid, Gid, Padding: LongWord;
    RDev: QWord;
    Size, BlockSize, Blocks: Int64;
    ATime, ATimeNs, MTime, MTimeNs, CTime, CTimeNs: Int64;
    Unused: array[1..3] of Int64;
  end;

  { struct linux_dirent64, before its name }
  PDirent = ^TDirent;
  TDirent = packed record
    Ino, Offset: QWord;
    Size: Word;
    Kind: Byte;
  end;

  PUtimeBuffer = ^TUtimeBuffer;
  TUtimeBuffer = record
    ATime, MTime: Int64;
  end;

  { A directory that is being read }
  TOpenFile = record
    Handle: THandle;
    Dots: LongInt;         { of `.` and `..`, those already returned }
    Waiting: Boolean;      { Entry did not fit into the last buffer }
    Entry: TDirEntry;
  end;
  POpenFile = ^TOpenFile;

{ ---- Attributes ---- }

procedure StoreStat(const Inode: TInode; Stat: PStat);
begin
  Stat^ := Default(TStat);
  Stat^.Dev := 1;
  Stat^.Ino := Inode.Ino;
  Stat^.Links := 1;
  case Inode.Mode of
    INODE_DIR: Stat^.Mode := MODE_DIRECTORY;
    INODE_REG: Stat^.Mode := MODE_REGULAR;
  else
    Stat^.Mode := MODE_FIFO;
  end;
  Stat^.Mode := Stat^.Mode or LongWord(Inode.Rights);
  Stat^.Size := Inode.Size;
  Stat^.BlockSize := 4096;
  Stat^.Blocks := (Inode.Size + BLOCK - 1) div BLOCK;
  Stat^.ATime := Inode.ATime;
  Stat^.MTime := Inode.MTime;
  Stat^.CTime := Inode.CTime;
end;

function StatCall(Path: PChar; Stat: PStat): PtrInt;
var
  Inode: TInode;
begin
  Result := StatPath(Path, Inode);
  if Result >= 0 then
    StoreStat(Inode, Stat);
end;

{ Everybody is root here; only what nobody may do is refused. }
function AccessCall(Path: PChar): PtrInt;
var
  Inode: TInode;
begin
  Result := StatPath(Path, Inode);
end;

{ ---- Open files ---- }

function HandleOf(Description: PDescription): THandle; inline;
begin
  Result := POpenFile(Description^.Data)^.Handle;
end;

function Status(Success: Boolean): PtrInt;
begin
  Result := 0;
  if not Success then
    Result := -SysFileError;
end;

function ReadFile(Description: PDescription; Data: PByte; Count: PtrInt): PtrInt;
begin
  Result := SysReadFile(HandleOf(Description), Count, Data);
  if Result < 0 then
    Result := -SysFileError;
end;

function WriteFile(Description: PDescription; Data: PByte; Count: PtrInt): PtrInt;
begin
  Result := SysWriteFile(HandleOf(Description), Count, Data);
  if Result < 0 then
    Result := -SysFileError;
end;

procedure CloseFile(Description: PDescription);
begin
  SysCloseFile(HandleOf(Description));
  ToroFreeMem(Description^.Data);
end;

function FileReady(Description: PDescription): LongInt;
begin
  Result := POLLIN or POLLOUT;
end;

function NextEntry(Open: POpenFile): Boolean;
begin
  if Open^.Waiting then
    Exit(True);
  Result := True;
  if Open^.Dots < 2 then
  begin
    Inc(Open^.Dots);
    Open^.Entry.Name := Copy('..', 1, Open^.Dots);
    Open^.Entry.Ino := 1;
    Open^.Entry.Mode := INODE_DIR;
  end
  else
    Result := SysReadDir(Open^.Handle, Open^.Entry);
end;

function ReadEntries(Open: POpenFile; Data: PByte; Size: PtrInt): PtrInt;
var
  Need: PtrInt;
  Name: PChar;
begin
  Result := 0;
  while NextEntry(Open) do
  begin
    Need := (SizeOf(TDirent) + Length(Open^.Entry.Name) + 8) and not 7;
    Open^.Waiting := Result + Need > Size;
    if Open^.Waiting then
      Exit;
    with PDirent(Data + Result)^ do
    begin
      Ino := Open^.Entry.Ino;
      Offset := Result + Need;
      Size := Need;
      case Open^.Entry.Mode of
        INODE_DIR: Kind := TYPE_DIRECTORY;
        INODE_REG: Kind := TYPE_REGULAR;
      else
        Kind := TYPE_UNKNOWN;
      end;
    end;
    Name := PChar(Data + Result + SizeOf(TDirent));
    Move(Open^.Entry.Name[1], Name^, Length(Open^.Entry.Name));
    Name[Length(Open^.Entry.Name)] := #0;
    Inc(Result, Need);
  end;
end;

function FileOther(Description: PDescription; const Call: TCall): PtrInt;
var
  Inode: TInode;
begin
  case Call.Number of
    CALL_LSEEK:
      begin
        Result := SysSeekFile(HandleOf(Description), Call.Args[2], Call.Args[3]);
        if Result < 0 then
          Result := -SysFileError;
      end;
    CALL_FSTAT:
      begin
        Result := Status(SysStatOpen(HandleOf(Description), @Inode) <> 0);
        if Result = 0 then
          StoreStat(Inode, Call.Pointers[2]);
      end;
    CALL_FTRUNCATE: Result := Status(SysTruncateFile(HandleOf(Description), Call.Args[2]) <> 0);
    CALL_FSYNC: Result := Status(SysSyncFile(HandleOf(Description)) <> 0);
    CALL_GETDENTS64: Result := ReadEntries(Description^.Data, Call.Pointers[2], Call.Args[3]);
    CALL_IOCTL: Result := -ENOTTY;
  else
    Result := -EINVAL;
  end;
end;

const
  FileKind: TKind = (Read: @ReadFile; Write: @WriteFile; Close: @CloseFile; Ready: @FileReady; Other: @FileOther);

function OpenCall(Path: PChar; Flags, Rights: LongInt): PtrInt;
var
  Mount: TMount;
  There: TPath;
  Open: POpenFile;
begin
  Result := Find(Path, Mount, There);
  if Result < 0 then
    Exit;
  Open := ToroAllocMem(SizeOf(TOpenFile));
  if Open = nil then
    Exit(-ENOMEM);
  Open^.Handle := OpenOn(Mount, There, Flags, Rights, False);
  if Open^.Handle = 0 then
    Result := -SysFileError
  else
  begin
    Result := NewDescriptor(@FileKind, Open, Flags);
    if Result >= 0 then
      Exit;
    SysCloseFile(Open^.Handle);
  end;
  ToroFreeMem(Open);
end;

{ ---- Names ---- }

function RenameCall(OldPath, NewPath: PChar): PtrInt;
var
  OldMount, NewMount: TMount;
  OldThere, NewThere: TPath;
begin
  Result := Find(OldPath, OldMount, OldThere);
  if Result = 0 then
    Result := Find(NewPath, NewMount, NewThere);
  if Result < 0 then
    Exit;
  if OldMount.Volume <> NewMount.Volume then
    Exit(-EXDEV);
  Result := OldMount.Filesystem^.Rename(OldMount.Volume, OldThere, NewThere);
end;

function TruncateCall(Path: PChar; Size: Int64): PtrInt;
var
  Mount: TMount;
  There: TPath;
  Handle: THandle;
begin
  Result := Find(Path, Mount, There);
  if Result < 0 then
    Exit;
  Handle := OpenOn(Mount, There, O_WRONLY, 0, False);
  if Handle = 0 then
    Exit(-SysFileError);
  Result := Status(SysTruncateFile(Handle, Size) <> 0);
  SysCloseFile(Handle);
end;

function ChangeRights(Path: PChar; Rights: LongInt): PtrInt;
var
  Mount: TMount;
  There: TPath;
  Change: TChange;
begin
  Result := Find(Path, Mount, There);
  if Result < 0 then
    Exit;
  Change := Default(TChange);
  Change.SetRights := True;
  Change.Rights := Rights and &7777;
  Result := Mount.Filesystem^.Change(Mount.Volume, There, Change);
end;

function ChangeTimes(Path: PChar; Times: PUtimeBuffer): PtrInt;
var
  Mount: TMount;
  There: TPath;
  Change: TChange;
begin
  Result := Find(Path, Mount, There);
  if Result < 0 then
    Exit;
  Change := Default(TChange);
  Change.SetTimes := True;
  Change.ATime := UnixTimeNs div 1000000000;
  Change.MTime := Change.ATime;
  if Times <> nil then
  begin
    Change.ATime := Times^.ATime;
    Change.MTime := Times^.MTime;
  end;
  Result := Mount.Filesystem^.Change(Mount.Volume, There, Change);
end;

{ A call that makes or removes a name }
function NameCall(const Call: TCall): PtrInt;
var
  Mount: TMount;
  There: TPath;
begin
  Result := Find(Call.Pointers[1], Mount, There);
  if Result < 0 then
    Exit;
  case Call.Number of
    CALL_MKDIR: Result := Mount.Filesystem^.MakeDir(Mount.Volume, There, Call.Args[2]);
    CALL_RMDIR: Result := Mount.Filesystem^.Remove(Mount.Volume, There, True);
    CALL_UNLINK: Result := Mount.Filesystem^.Remove(Mount.Volume, There, False);
  end;
end;

function FileCall(const Call: TCall): PtrInt;
begin
  case Call.Number of
    CALL_OPEN: Result := OpenCall(Call.Pointers[1], Call.Args[2], Call.Args[3]);
    CALL_STAT, CALL_LSTAT: Result := StatCall(Call.Pointers[1], Call.Pointers[2]);
    CALL_ACCESS: Result := AccessCall(Call.Pointers[1]);
    CALL_MKDIR, CALL_RMDIR, CALL_UNLINK: Result := NameCall(Call);
    CALL_RENAME: Result := RenameCall(Call.Pointers[1], Call.Pointers[2]);
    CALL_TRUNCATE: Result := TruncateCall(Call.Pointers[1], Call.Args[2]);
    CALL_CHDIR: Result := ChangeDir(Call.Pointers[1]);
    CALL_GETCWD: Result := CurrentDir(Call.Pointers[1], Call.Args[2]);
    CALL_CHMOD: Result := ChangeRights(Call.Pointers[1], Call.Args[2]);
    CALL_UTIME: Result := ChangeTimes(Call.Pointers[1], Call.Pointers[2]);
    CALL_UMASK: Result := UMASK;
  else
    Result := -ENOSYS;
  end;
end;

initialization
  OnFileCall := @FileCall;
end.
