{ What C needs of the kernel: variables of its own on each core, memory, time, threads, the end.

  A primer on these variables: a program in C, as MPI runs it, is one process for each rank. Here
  ranks are cores of one address space. So the sections `.rank.*` of the image, which have the
  variables of C, are there once for each core: a copy, which the core's page tables map where the
  image has the original. All else is shared, and that includes the copies: by the identity map of
  RAM each core can reach those of all others, at the distance toro_rank_offset from the addresses
  that C uses. (The kernel, devices and other ranks are given such addresses.)

  All routines here are for C alone, which knows them by their public names (toro/c/toro.h). }
unit Ranks;

{$mode objfpc}
{$asmmode intel}

interface

implementation

uses Arch, Console, CoreThreads, Kernel, Memory, Process, Scheduling, SystemCalls, ThreadRequests;

const
  PAGE = 4096;
  TABLES = 5;  { pages before the page tables: those of the region, the root, two levels below it }
  DATA_PAGE = QWord($8000000000000007); { a page-table entry: no-execute, user, writable, present }
  HEAP_HEADER = 16;
  STACK_SIZE = 65536;

var
  { From the linker script }
  RankStart: Byte; external name 'toro_rank';
  RankBss: Byte; external name 'toro_rank_bss';
  RankUsed: Byte; external name 'toro_rank_used';
  RankEnd: Byte; external name 'toro_rank_end';

  { One for each core, as all variables of C }
  RankOffset: PtrInt; external name 'toro_rank_offset';

{ ---- Variables of their own ---- }

{ Copies the image's variables of C, and maps the copy on this core. }
function TakeVariables(Parameter: Pointer): PtrInt;
var
  Region, Data: Pointer;
  Table: PQWord;
  Used, Initialized, Count, Size, I: PtrUInt;
begin
  Used := PtrUInt(@RankUsed) - PtrUInt(@RankStart);
  Initialized := PtrUInt(@RankBss) - PtrUInt(@RankStart);
  Count := (PtrUInt(@RankEnd) - PtrUInt(@RankStart)) div REGION_SIZE;
  Size := ((TABLES + Count) * PAGE + Used + REGION_SIZE - 1) and not PtrUInt(REGION_SIZE - 1);
  Region := ToroGetAlignedMem(Size - HEAP_HEADER, REGION_SIZE);
  if Region = nil then
    OutOfMemory;
  Data := Region + (TABLES + Count) * PAGE;
  FillChar(Region^, Data - Region, 0);
  Table := Region + TABLES * PAGE;
  for I := 0 to (Used + PAGE - 1) div PAGE - 1 do
    Table[I] := (PtrUInt(Data) + I * PAGE) or DATA_PAGE;
  Move(RankStart, Data^, Initialized);
  FillChar((Data + Initialized)^, Used - Initialized, 0);
  if not SplitRegion(Region, REGION_SIZE div PAGE) then
    OutOfMemory;
  TakeOwnTables(Region, PtrUInt(@RankStart) div REGION_SIZE, Count);
  RankOffset := Data - @RankStart;
  Result := 0;
end;

procedure TakeAllVariables;
var
  Threads: array[0..MAX_CPU - 1] of TThreadID;
  I: LongInt;
begin
  Threads[0] := 0;
  for I := 0 to CPU_COUNT - 1 do
    if BeginThread(nil, STACK_SIZE, @TakeVariables, nil, I, Threads[I]) = 0 then
      OutOfMemory;
  for I := 0 to CPU_COUNT - 1 do
    WaitForThreadTerminate(Threads[I], 0);
end;

{ ---- Memory ---- }

function RankMemory(Size: PtrUInt): Pointer; cdecl; public name 'toro_memory';
begin
  Result := ToroGetMem(Size);
end;

function RankAlignedMemory(Size, Alignment: PtrUInt): Pointer; cdecl; public name 'toro_aligned_memory';
begin
  Result := ToroGetAlignedMem(Size, Alignment);
end;

procedure RankRelease(P: Pointer); cdecl; public name 'toro_release';
begin
  ToroFreeMem(P);
end;

function RankResize(P: Pointer; Size: PtrUInt): Pointer; cdecl; public name 'toro_resize';
begin
  Result := ToroReAllocMem(P, Size);
end;

function RankMemorySize(P: Pointer): PtrUInt; cdecl; public name 'toro_memory_size';
begin
  Result := ToroMemSize(P);
end;

{ ---- Cores, time and threads ---- }

function CoreIndex: LongInt; cdecl; public name 'toro_core_index';
begin
  Result := GetCoreId;
end;

function CoreCount: LongInt; cdecl; public name 'toro_core_count';
begin
  Result := CPU_COUNT;
end;

function Monotonic: QWord; cdecl; public name 'toro_monotonic_ns';
begin
  Result := MonotonicNs;
end;

function WallClock: QWord; cdecl; public name 'toro_unix_ns';
begin
  Result := UnixTimeNs;
end;

{ Ticks of the TSC }
function Ticks(Microseconds: LongWord): QWord; cdecl; public name 'toro_ticks';
begin
  Result := TicksOfMicro(Microseconds);
end;

{ How long the host has run something else while this core had work, in ns; 0 where it does not tell. }
function Stolen: QWord; cdecl; public name 'toro_stolen_ns';
begin
  Result := GetStealCPU;
end;

function CurrentThreadOf: TThreadID; cdecl; public name 'toro_thread';
begin
  Result := CoreThreads.GetCurrentThread^.ThreadID;
end;

{ Lets other threads of this core run. }
procedure YieldRank; cdecl; public name 'toro_yield';
begin
  Scheduling.Yield;
  Checkpoint;
end;

procedure SleepRank(Microseconds: LongWord); cdecl; public name 'toro_sleep';
begin
  SleepUntil(read_rdtsc + TicksOfMicro(Microseconds));
end;

{ Blocks until the thread is woken, or earlier. }
procedure BlockRank; cdecl; public name 'toro_block';
begin
  Block(0);
  Checkpoint;
end;

procedure WakeRank(Thread: TThreadID); cdecl; public name 'toro_wake';
begin
  WakeThread(Thread);
end;

{ ---- System calls, and the end ---- }

function CallKernel(Number, A, B, C: PtrInt): PtrInt; cdecl; public name 'toro_kernel_call';
var
  Call: TCall;
begin
  Call := Default(TCall);
  Call.Number := Number;
  Call.Args[1] := A;
  Call.Args[2] := B;
  Call.Args[3] := C;
  Result := OnCall(Call);
end;

{ Ends the rank's thread. }
procedure EndRank(Status: LongInt); cdecl; public name 'toro_end_rank';
begin
  SysEndThread(Status and $FF);
end;

{ Ends the machine. }
procedure EndAll(Status: LongInt); cdecl; public name 'toro_end_all';
begin
  Halt(Status and $FF);
end;

procedure WriteRaw(Data: PChar; Count: PtrUInt); cdecl; public name 'toro_write';
begin
  WriteConsole(Data, Count);
end;

initialization
  TakeAllVariables;
end.
