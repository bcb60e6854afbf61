{ Checks the file system FS, which has a directory `given` made by the test. }
program Files;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Filesystem, Console, VirtIO, VirtIOFS, Checks;

const
  MIB = 1 shl 20;

var
  Bad: LongInt;

function Fails(Condition: Boolean; Error: LongInt): Boolean;
begin
  Result := not Condition and (SysFileError = Error);
end;

procedure TestReading;
var
  F: THandle;
  Data: array[0..99] of Char;
  Inode: TInode;
  Entry: TDirEntry;
begin
  F := SysOpenFile('/given/hello', O_RDONLY);
  Check(F <> 0, 'a file that is there is opened');
  Check((SysReadFile(F, 5, @Data) = 5) and (Data[0] = 'H') and (Data[4] = 'o'), 'its first bytes');
  Check((SysReadFile(F, 100, @Data) = 8) and (SysReadFile(F, 100, @Data) = 0), 'the rest, and no more');
  Check((SysSeekFile(F, -6, SeekEof) = 7) and (SysReadFile(F, 3, @Data) = 3) and (Data[0] = 'w'), 'from its end');
  Check((SysSeekFile(F, -2, SeekCur) = 8) and (SysReadFile(F, 1, @Data) = 1) and (Data[0] = 'o'), 'from where it was');
  Check(Fails(SysSeekFile(F, -1, SeekSet) <> -1, EINVAL), 'not before its start');
  SysCloseFile(F);
  Check(Fails(SysReadFile(F, 1, @Data) <> -1, EBADF), 'not after it was closed');
  Check((SysStatFile('given/hello', @Inode) = 1) and (Inode.Size = 13) and (Inode.Mode = INODE_REG), 'its size');
  Check((SysStatFile('/given', @Inode) = 1) and (Inode.Mode = INODE_DIR), 'a directory');
  Check((SysStatFile('/', @Inode) = 1) and (Inode.Mode = INODE_DIR), 'the root');
  Check(Fails(SysOpenFile('/given/nothing', O_RDONLY) <> 0, ENOENT), 'a file that is not there');
  Check(Fails(SysOpenFile('/nowhere/at/all', O_RDONLY) <> 0, ENOENT), 'nor its directory');
  Check(Fails(SysOpenFile('/given', O_RDWR) <> 0, EISDIR), 'a directory is not written to');
  F := SysOpenFile('/given', O_RDONLY);
  Check((F <> 0) and SysReadDir(F, Entry) and (SysReadFile(F, 1, @Entry) <= 0), 'it can be opened, but not read as a file');
  SysCloseFile(F);
  Check(Fails(SysStatFile('/given/hello/more', @Inode) = 1, ENOTDIR), 'a file is no directory');
  Check(SysOpenFile('//given///a name with spaces and ünïcödé', O_RDONLY) <> 0, 'any name');
  Check(Fails(SysOpenFile(PChar('/' + StringOfChar('x', 256)), O_RDONLY) <> 0, ENAMETOOLONG), 'one that is too long');
end;

procedure TestWriting;
var
  F: THandle;
  Data: array[0..9] of Char;
  Inode: TInode;
begin
  F := SysCreateFile('/new');
  Check((F <> 0) and (SysWriteFile(F, 10, PChar('0123456789')) = 10), 'a new file is written');
  SysSeekFile(F, 3, SeekSet);
  Check((SysWriteFile(F, 2, PChar('xy')) = 2) and (SysSeekFile(F, 0, SeekCur) = 5), 'in its middle');
  SysSeekFile(F, 0, SeekSet);
  Check((SysReadFile(F, 10, @Data) = 10) and (Data = '012xy56789'), 'and read');
  Check((SysTruncateFile(F, 4) = 1) and (SysSeekFile(F, 0, SeekEof) = 4), 'cut');
  Check(SysSyncFile(F) = 1, 'synchronized');
  SysCloseFile(F);
  F := SysOpenFile('/new', O_WRONLY or O_APPEND);
  Check((SysWriteFile(F, 3, PChar('end')) = 3) and (SysReadFile(F, 1, @Data) = -1), 'appended to, and not read');
  SysCloseFile(F);
  SysStatFile('/new', @Inode);
  Check(Inode.Size = 7, 'its new size');
  Check(Fails(SysOpenFile('/new', O_RDWR or O_CREAT or O_EXCL) <> 0, EEXIST), 'not made twice');
  F := SysCreateFile('/new');
  SysCloseFile(F);
  SysStatFile('/new', @Inode);
  Check(Inode.Size = 0, 'but emptied');
  Check((SysRenameFile('/new', '/given/moved') = 1) and (SysStatFile('/new', @Inode) = 0) and
        (SysStatFile('/given/moved', @Inode) = 1), 'moved');
  Check((SysRemoveFile('/given/moved') = 1) and (SysStatFile('/given/moved', @Inode) = 0), 'removed');
  Check(Fails(SysRemoveFile('/given/moved') = 1, ENOENT), 'not twice');
end;

procedure TestDirectories;
var
  D: THandle;
  Entry: TDirEntry;
  Name: ShortString;
  I, Count: LongInt;
  Sum: QWord;
begin
  Check((SysCreateDir('/dir') = 1) and Fails(SysCreateDir('/dir') = 1, EEXIST), 'a directory is made');
  for I := 1 to 300 do
  begin
    Str(I, Name);
    Name := '/dir/a file with a long name ' + Name + #0;
    SysCloseFile(SysCreateFile(@Name[1]));
  end;
  D := SysOpenDir('/dir');
  Count := 0;
  Sum := 0;
  while SysReadDir(D, Entry) do
    if (Copy(Entry.Name, 1, 12) = 'a file with ') and (Entry.Mode = INODE_REG) then
    begin
      Inc(Count);
      Val(Copy(Entry.Name, 25, 10), I);
      Inc(Sum, I);
    end;
  Check((Count = 300) and (Sum = 45150), 'all its names are listed');
  SysCloseFile(D);
  Check(Fails(SysRemoveDir('/dir') = 1, 39), 'it is not removed while it has files');
  for I := 1 to 300 do
  begin
    Str(I, Name);
    Name := '/dir/a file with a long name ' + Name + #0;
    SysRemoveFile(@Name[1]);
  end;
  Check((SysRemoveDir('/dir') = 1) and (SysOpenDir('/dir') = 0), 'but then');
  D := SysOpenFile('/given/hello', O_RDONLY);
  Check(Fails(SysReadDir(D, Entry), ENOTDIR), 'a file has no names');
  SysCloseFile(D);
end;

{ Byte I of thread T's file is I * (T + 3) modulo 251. }
function WriteAndRead(Parameter: Pointer): PtrInt;
var
  T, I: PtrInt;
  Size: PtrInt;
  Name: ShortString;
  Data: PByte;
  F: THandle;
begin
  T := PtrInt(Parameter);
  Size := 3 * MIB + T;
  Str(T, Name);
  Name := '/big' + Name + #0;
  Data := ToroGetMem(Size);
  for I := 0 to Size - 1 do
    Data[I] := I * (T + 3) mod 251;
  F := SysCreateFile(@Name[1]);
  if SysWriteFile(F, Size, Data) <> Size then
    InterlockedIncrement(Bad);
  FillChar(Data^, Size, 0);
  SysSeekFile(F, 0, SeekSet);
  if SysReadFile(F, Size + 100, Data) <> Size then
    InterlockedIncrement(Bad);
  for I := 0 to Size - 1 do
    if Data[I] <> I * (T + 3) mod 251 then
    begin
      InterlockedIncrement(Bad);
      Break;
    end;
  SysCloseFile(F);
  SysRemoveFile(@Name[1]);
  ToroFreeMem(Data);
  Result := 0;
end;

procedure TestThreads;
var
  T: PtrInt;
  IDs: array[0..7] of TThreadID;
begin
  for T := 0 to 7 do
    BeginThread(nil, 65536, @WriteAndRead, Pointer(T), T mod CPU_COUNT, IDs[T]);
  for T := 0 to 7 do
    WaitForThreadTerminate(IDs[T], 0);
  Check(Bad = 0, 'many threads write and read much at once');
end;

procedure TestLargeOffsets;
var
  F: THandle;
  Data: Char;
begin
  F := SysCreateFile('/sparse');
  Check((SysSeekFile(F, Int64(5) shl 30, SeekSet) = Int64(5) shl 30) and (SysWriteFile(F, 1, PChar('x')) = 1),
    'behind 4 GiB');
  SysSeekFile(F, -1, SeekEof);
  Check((SysReadFile(F, 1, @Data) = 1) and (Data = 'x'), 'and from there');
  SysCloseFile(F);
  SysRemoveFile('/sparse');
end;

begin
  Check(not SysMount('virtiofs', 'FS', 0), 'a volume must be dedicated');
  DedicateBlockDriver('NO', 0);
  DedicateBlockDriver('FS', 0);
  Check(not SysMount('ext2', 'FS', 0) and not SysMount('virtiofs', 'NO', 0), 'no other file system, no other volume');
  Check(Fails(SysOpenFile('/given/hello', O_RDONLY) <> 0, ENODEV), 'no file before it is mounted');
  Check(SysMount('virtiofs', 'FS', 0), 'mounted');
  TestReading;
  TestWriting;
  TestDirectories;
  TestThreads;
  TestLargeOffsets;
end.
