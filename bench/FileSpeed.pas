{ How fast files of the share FS are read, from inside: a line for each quantity, a name and
  a value. Needs `data`, of SIZE bytes, `hot`, of HOT_SIZE, the empty files `names/0` to `names/99`, and
  the directories `lists/0` to `lists/19`, each with as many. }
program FileSpeed;

{$mode objfpc}

uses
  BootInfo, Arch, Process, Memory, Filesystem, VirtIO, VirtIOFS;

const
  SIZE = 256 shl 20;       { too much to be kept }
  HOT_SIZE = 16 shl 20;
  KIB = 1024;
  NAMES = 100;
  THREADS_MAX = 32;
  STACK = 65536;

type
  TJob = record
    Path: PChar;
    Size: LongInt;         { of the file }
    Block: LongInt;        { bytes of a read }
    Random: Boolean;
  end;

var
  Job: TJob;
  Left: LongInt;           { reads that were not started yet }
  Failed: Boolean;

function Reader(Parameter: Pointer): PtrInt;
var
  F: THandle;
  Data: Pointer;
  Seed, Number: QWord;
begin
  F := SysOpenFile(Job.Path, O_RDONLY);
  Data := ToroGetMem(Job.Block);
  Seed := PtrUInt(Parameter) * 7919 + 1;
  repeat
    Number := QWord(LongInt(InterlockedDecrement(Left)));
    if LongInt(Number) < 0 then
      Break;
    if Job.Random then
    begin
      Seed := Seed * 6364136223846793005 + 1442695040888963407;
      Number := Seed shr 33;
    end;
    SysSeekFile(F, Number mod (Job.Size div Job.Block) * Job.Block, SeekSet);
    if SysReadFile(F, Job.Block, Data) <> Job.Block then
      Failed := True;
  until False;
  ToroFreeMem(Data);
  SysCloseFile(F);
  Result := 0;
end;

{ Operations per second. }
procedure Tell(const Name: ShortString; Count, Cycles: QWord);
begin
  WriteLn(Name, ' ', Count * TheBootInfo^.TscHz div Cycles);
end;

{ How many cycles that takes. }
function Run(Path: PChar; Size, Block: LongInt; Random: Boolean; Threads, Reads: LongInt): QWord;
var
  IDs: array[0..THREADS_MAX - 1] of TThreadID;
  I: PtrInt;
  Start: QWord;
begin
  Job.Path := Path;
  Job.Size := Size;
  Job.Block := Block;
  Job.Random := Random;
  Left := Reads;
  Start := read_rdtsc;
  for I := 0 to Threads - 1 do
    BeginThread(nil, STACK, @Reader, Pointer(I), 0, IDs[I]);
  for I := 0 to Threads - 1 do
    WaitForThreadTerminate(IDs[I], 0);
  Result := read_rdtsc - Start;
end;

procedure Read(Block: LongInt; Random: Boolean; Threads, Reads: LongInt);
const
  KINDS: array[Boolean] of String[10] = ('sequential', 'random');
var
  Cycles: QWord;
  BlockText, Number: String[10];
begin
  Cycles := Run('/data', SIZE, Block, Random, Threads, Reads);
  Str(Block div KIB, BlockText);
  Str(Threads, Number);
  Tell(KINDS[Random] + '-' + BlockText + 'K-' + Number, Reads, Cycles);
end;

{ Reads what the guest has read before. }
procedure ReadAgain;
const
  READS = 40000;
begin
  Run('/hot', HOT_SIZE, 4 * KIB, False, 1, HOT_SIZE div (4 * KIB));
  Tell('hot-4K-1', READS, Run('/hot', HOT_SIZE, 4 * KIB, False, 1, READS));
end;

procedure MeasureNames;
const
  TURNS = 2000;
var
  I: LongInt;
  Start: QWord;
  Name: ShortString;
  Inode: TInode;
begin
  Start := read_rdtsc;
  for I := 0 to TURNS - 1 do
  begin
    Str(I mod NAMES, Name);
    Name := '/names/' + Name + #0;
    if SysStatFile(@Name[1], @Inode) = 0 then
      Failed := True;
  end;
  Tell('stat', TURNS, read_rdtsc - Start);
  Start := read_rdtsc;
  for I := 0 to TURNS - 1 do
  begin
    Str(I mod NAMES, Name);
    Name := '/names/' + Name + #0;
    SysCloseFile(SysOpenFile(@Name[1], O_RDONLY));
  end;
  Tell('open+close', TURNS, read_rdtsc - Start);
end;

{ Lists directories that the guest has not seen yet, with the sizes of their files. }
procedure MeasureLists;
const
  LISTS = 20;
var
  I: LongInt;
  Start: QWord;
  Path, Name: ShortString;
  Dir: THandle;
  Entry: TDirEntry;
  Inode: TInode;
begin
  Start := read_rdtsc;
  for I := 0 to LISTS - 1 do
  begin
    Str(I, Path);
    Path := '/lists/' + Path + #0;
    Dir := SysOpenDir(@Path[1]);
    Path[Length(Path)] := '/';
    while SysReadDir(Dir, Entry) do
    begin
      Name := Path + Entry.Name + #0;
      if SysStatFile(@Name[1], @Inode) = 0 then
        Failed := True;
    end;
    SysCloseFile(Dir);
  end;
  Tell('list', LISTS * NAMES, read_rdtsc - Start);
end;

begin
  DedicateBlockDriver('FS', 0);
  if not SysMount('virtiofs', 'FS', 0) then
    Halt(1);
  Run('/data', SIZE, 1024 * KIB, False, THREADS_MAX, 256); { touches memory for the first time }
  Read(4 * KIB, False, 1, 20000);
  Read(64 * KIB, False, 1, 2000);
  Read(1024 * KIB, False, 1, 256);
  Read(4 * KIB, True, 1, 20000);
  Read(4 * KIB, True, 8, 40000);
  Read(4 * KIB, True, 32, 40000);
  Read(64 * KIB, True, 1, 2000);
  Read(64 * KIB, True, 8, 4000);
  Read(64 * KIB, True, 32, 4000);
  Read(1024 * KIB, True, 1, 256);
  Read(1024 * KIB, True, 8, 256);
  ReadAgain;
  MeasureNames;
  MeasureLists;
  if Failed then
    Halt(2);
end.
