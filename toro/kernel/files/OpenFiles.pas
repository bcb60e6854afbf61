{ Open files. Unit Filesystem declares these routines. }
unit OpenFiles;

{$mode objfpc}

interface

implementation

uses Arch, FileDrivers, FileErrors, Filesystem, Memory, Mounts;

var
  { A handle is the index plus one. }
  Files: ^PFile;
  FileCount: LongInt;
  Lock: LongInt;

function FileOf(FileHandle: THandle; out F: PFile): Boolean;
begin
  F := nil;
  AcquireLock(Lock);
  if (FileHandle > 0) and (FileHandle <= FileCount) then
    F := Files[FileHandle - 1];
  ReleaseLock(Lock);
  Result := F <> nil;
  if not Result then
    LastError := EBADF;
end;

{ Makes room for more handles than there are, which were Count. False: no memory. }
function Grow(Count: LongInt): Boolean;
var
  Larger, Old: ^PFile;
begin
  Larger := ToroAllocMem((2 * Count + 16) * SizeOf(PFile));
  Result := Larger <> nil;
  if not Result then
    Exit;
  Old := Larger;
  AcquireLock(Lock);
  if FileCount = Count then { else another thread has made room }
  begin
    Old := Files;
    Move(Old^, Larger^, Count * SizeOf(PFile));
    Files := Larger;
    FileCount := 2 * Count + 16;
  end;
  ReleaseLock(Lock);
  ToroFreeMem(Old);
end;

{ Stores a file under the lowest free handle. 0: no memory. }
function NewHandle(F: PFile): THandle;
var
  I, Count: LongInt;
begin
  repeat
    AcquireLock(Lock);
    Count := FileCount;
    I := 0;
    while (I < Count) and (Files[I] <> nil) do
      Inc(I);
    if I < Count then
      Files[I] := F;
    ReleaseLock(Lock);
    if I < Count then
      Exit(I + 1);
  until not Grow(Count);
  LastError := ENOMEM;
  Result := 0;
end;

procedure Close(F: PFile);
begin
  F^.Filesystem^.Close(F^);
  ToroFreeMem(F^.Entries);
  ToroFreeMem(F);
end;

function OpenOn(const Mount: TMount; Path: PChar; Flags, Rights: LongInt; Directory: Boolean): THandle;
  public name 'OpenFiles.OpenOn';
var
  F: PFile;
  Error: LongInt;
begin
  Result := 0;
  F := ToroAllocMem(SizeOf(TFile) + StrLen(Path) + 1);
  if F = nil then
  begin
    LastError := ENOMEM;
    Exit;
  end;
  F^.Filesystem := Mount.Filesystem;
  F^.Volume := Mount.Volume;
  F^.Flags := Flags;
  F^.Path := PChar(F + 1);
  Move(Path^, F^.Path^, StrLen(Path));
  if Directory then
    Error := Mount.Filesystem^.OpenDir(Mount.Volume, Path, F^)
  else
    Error := Mount.Filesystem^.Open(Mount.Volume, Path, Flags, Rights, F^);
  if (Error = -EISDIR) and (Flags and (O_WRONLY or O_RDWR or O_CREAT) = 0) and not Directory then
    Error := Mount.Filesystem^.OpenDir(Mount.Volume, Path, F^);
  if Failed(Error) then
  begin
    ToroFreeMem(F);
    Exit;
  end;
  Result := NewHandle(F);
  if Result = 0 then
    Close(F);
end;

function OpenWith(Path: PChar; Flags, Rights: LongInt; Directory: Boolean): THandle;
var
  Mount: TMount;
begin
  Result := 0;
  if Mounted(Mount) then
    Result := OpenOn(Mount, Path, Flags, Rights, Directory);
end;

function SysOpenFile(Path: PChar; Flags: LongInt): THandle; public name 'OpenFiles.SysOpenFile';
begin
  Result := OpenWith(Path, Flags, &666, False);
end;

function SysCreateFile(Path: PChar): THandle; public name 'OpenFiles.SysCreateFile';
begin
  Result := OpenWith(Path, O_RDWR or O_CREAT or O_TRUNC, &666, False);
end;

function SysOpenDir(Path: PChar): THandle; public name 'OpenFiles.SysOpenDir';
begin
  Result := OpenWith(Path, O_RDONLY, 0, True);
end;

procedure SysCloseFile(FileHandle: THandle); public name 'OpenFiles.SysCloseFile';
var
  F: PFile;
begin
  if not FileOf(FileHandle, F) then
    Exit;
  AcquireLock(Lock);
  Files[FileHandle - 1] := nil;
  ReleaseLock(Lock);
  Close(F);
end;

{ The size of an open file; False if it cannot be had. }
function SizeOfFile(F: PFile; var Size: Int64): Boolean;
var
  Inode: TInode;
begin
  Result := not Failed(F^.Filesystem^.StatOpen(F^, Inode));
  if Result then
    Size := Inode.Size;
end;

function Transfer(FileHandle: THandle; Count: Int64; Buffer: Pointer; Writing: Boolean): Int64;
var
  F: PFile;
begin
  if not FileOf(FileHandle, F) then
    Exit(-1);
  if Count <= 0 then
    Exit(0);
  if Writing and (F^.Flags and O_APPEND <> 0) and not SizeOfFile(F, F^.Position) then
    Exit(-1);
  if Writing then
    Result := F^.Filesystem^.Write(F^, F^.Position, Buffer, Count)
  else
    Result := F^.Filesystem^.Read(F^, F^.Position, Buffer, Count);
  if Failed(Result) then
    Result := -1
  else
    Inc(F^.Position, Result);
end;

function SysReadFile(FileHandle: THandle; Count: Int64; Buffer: Pointer): Int64; public name 'OpenFiles.SysReadFile';
begin
  Result := Transfer(FileHandle, Count, Buffer, False);
end;

function SysWriteFile(FileHandle: THandle; Count: Int64; Buffer: Pointer): Int64; public name 'OpenFiles.SysWriteFile';
begin
  Result := Transfer(FileHandle, Count, Buffer, True);
end;

function HoldFile(FileHandle: THandle; Offset, Count: Int64; out Data: PByte; out Part: THeldPart): Int64;
  public name 'OpenFiles.HoldFile';
var
  F: PFile;
begin
  if not FileOf(FileHandle, F) then
    Exit(-1);
  Result := 0;
  Part.Filesystem := F^.Filesystem;
  if (F^.Filesystem^.Hold = nil) or (Count <= 0) then
    Exit;
  Result := F^.Filesystem^.Hold(F^, Offset, Count, Data, Part.Holder);
  if Failed(Result) then
    Result := -1;
end;

procedure ReleaseFile(const Part: THeldPart); public name 'OpenFiles.ReleaseFile';
begin
  Part.Filesystem^.Release(Part.Holder);
end;

function SysSeekFile(FileHandle: THandle; Offset: Int64; Whence: LongInt): Int64; public name 'OpenFiles.SysSeekFile';
var
  F: PFile;
begin
  if not FileOf(FileHandle, F) then
    Exit(-1);
  case Whence of
    SeekSet: Result := 0;
    SeekCur: Result := F^.Position;
    SeekEof:
      if not SizeOfFile(F, Result) then
        Exit(-1);
  else
    Result := -1 - Offset;
  end;
  Result := Result + Offset;
  if Result < 0 then
  begin
    LastError := EINVAL;
    Exit(-1);
  end;
  F^.Position := Result;
end;

function SysTruncateFile(FileHandle: THandle; Size: Int64): LongInt; public name 'OpenFiles.SysTruncateFile';
var
  F: PFile;
begin
  if not FileOf(FileHandle, F) then
    Exit(0);
  Result := Success(F^.Filesystem^.Truncate(F^, Size));
end;

function SysSyncFile(FileHandle: THandle): LongInt; public name 'OpenFiles.SysSyncFile';
var
  F: PFile;
begin
  if not FileOf(FileHandle, F) then
    Exit(0);
  Result := Success(F^.Filesystem^.Sync(F^));
end;

function SysReadDir(FileHandle: THandle; out Entry: TDirEntry): Boolean; public name 'OpenFiles.SysReadDir';
var
  F: PFile;
  Found: LongInt;
begin
  if not FileOf(FileHandle, F) then
    Exit(False);
  repeat
    Found := F^.Filesystem^.ReadDir(F^, Entry);
  until (Found <= 0) or ((Entry.Name <> '.') and (Entry.Name <> '..'));
  Result := not Failed(Found) and (Found > 0);
end;

function SysStatOpen(FileHandle: THandle; Buffer: PInode): LongInt; public name 'OpenFiles.SysStatOpen';
var
  F: PFile;
begin
  if not FileOf(FileHandle, F) then
    Exit(0);
  Result := Success(F^.Filesystem^.StatOpen(F^, Buffer^));
end;

end.
