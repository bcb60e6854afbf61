{ The SHA-256 of each file of a share. With `loop`: of the file `big`, again and again
  through one handle, on all cores. }
program Trees;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Filesystem, Console, VirtIO, VirtIOFS, Sha256;

const
  PART = 1 shl 20;
  ROUNDS = 10;

function Sum(F: THandle; Data: PByte): ShortString;
var
  Sha: TSha256;
  Count: Int64;
begin
  ShaStart(Sha);
  repeat
    Count := SysReadFile(F, PART, Data);
    if Count < 0 then
    begin
      Str(SysFileError, Result);
      Exit('error ' + Result);
    end;
    ShaAdd(Sha, Data, Count);
  until Count = 0;
  Result := ShaEnd(Sha);
end;

procedure SumTree(const Path: AnsiString; Data: PByte);
var
  D, F: THandle;
  Entry: TDirEntry;
  Name: AnsiString;
begin
  D := SysOpenDir(PChar(Path + '/'));
  if D = 0 then
    WriteLn('error ', SysFileError, ' ', Path);
  while SysReadDir(D, Entry) do
  begin
    Name := Path + '/' + Entry.Name;
    if Entry.Mode = INODE_DIR then
      SumTree(Name, Data)
    else
    begin
      F := SysOpenFile(PChar(Name), O_RDONLY);
      WriteLn(Sum(F, Data), ' ', Name);
      SysCloseFile(F);
    end;
  end;
  SysCloseFile(D);
end;

{ Also asks for a path and lists a directory. }
function Loop(Parameter: Pointer): PtrInt;
var
  F, D: THandle;
  Round, Names: LongInt;
  Data: PByte;
  Inode: TInode;
  Entry: TDirEntry;
  Hash: ShortString;
begin
  Data := ToroGetMem(PART);
  F := SysOpenFile('/dir/big', O_RDONLY);
  for Round := 1 to ROUNDS do
  begin
    SysSeekFile(F, 0, SeekSet);
    Hash := Sum(F, Data);
    Names := 0;
    D := SysOpenDir('/dir');
    while SysReadDir(D, Entry) do
      Inc(Names);
    SysCloseFile(D);
    if SysStatFile('/dir/big', @Inode) = 0 then
      Inode.Size := -SysFileError;
    WriteLn('round ', Round, ' ', Hash, ' ', Names, ' ', Inode.Size);
  end;
  SysCloseFile(F);
  ToroFreeMem(Data);
  Result := 0;
end;

var
  Core: LongInt;
  Threads: array[0..MAX_CPU - 1] of TThreadID;
begin
  DedicateBlockDriver('FS', 0);
  if not SysMount('virtiofs', 'FS', 0) then
    Halt(1);
  if (KernelParamCount = 0) or (GetKernelParam(0)^ <> 'l') then
    SumTree('', ToroGetMem(PART))
  else
  begin
    for Core := 0 to CPU_COUNT - 1 do
      BeginThread(nil, 65536, Loop, nil, Core, Threads[Core]);
    for Core := 0 to CPU_COUNT - 1 do
      WaitForThreadTerminate(Threads[Core], 0);
  end;
end.
