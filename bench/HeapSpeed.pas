{ How fast memory is allocated and freed: the same program for Toro and, compiled for
  Linux, for FPC's own heap manager. Each line of output is a name, a number of threads,
  cycles of the TSC from the first one's start to the last one's end, and how many
  pairs of allocation and release all threads made in them. }
program HeapSpeed;

{$mode objfpc}
{$asmmode intel}

uses
  cthreads;

const
  PAIRS = 1000000;  { per thread }
  SLOTS = 1024;     { blocks that a thread holds at a time }
  THREADS = 2;      { at once, each on its own core }

type
  TWork = procedure(Thread: LongInt);

var
  Silent: Boolean;
  Work: TWork;
  Waiting: LongInt;
  Starts, Ends: array[0..THREADS - 1] of QWord;
  Handed: array[0..SLOTS - 1] of Pointer;

function Now: QWord; assembler; nostackframe;
asm
  rdtsc
  shl rdx, 32
  or rax, rdx
end;

function NextRandom(var State: LongWord): LongWord; inline;
begin
  State := State * 1664525 + 1013904223;
  Result := State shr 8;
end;

{ Sizes from 1 to 4096 bytes, each order of magnitude with the same probability. }
function RandomSize(var State: LongWord): PtrUInt; inline;
begin
  Result := 1 + NextRandom(State) and (LongWord(1) shl (NextRandom(State) and 15 * 13 shr 4) - 1);
end;

{ Blocks of one size, freed in the order of their allocation. }
procedure OneSize(Thread: LongInt);
var
  Blocks: array[0..SLOTS - 1] of Pointer;
  I, Slot: LongInt;
begin
  for I := 1 to PAIRS div SLOTS do
  begin
    for Slot := 0 to SLOTS - 1 do
      GetMem(Blocks[Slot], 64);
    for Slot := 0 to SLOTS - 1 do
      FreeMem(Blocks[Slot]);
  end;
end;

{ Blocks of all sizes that live for random times. }
procedure Mixed(Thread: LongInt);
var
  Blocks: array[0..SLOTS - 1] of Pointer;
  State: LongWord;
  I, Slot: LongInt;
begin
  FillChar(Blocks, SizeOf(Blocks), 0);
  State := Thread + 1;
  for I := 1 to PAIRS do
  begin
    Slot := NextRandom(State) and (SLOTS - 1);
    FreeMem(Blocks[Slot]);
    GetMem(Blocks[Slot], RandomSize(State));
    PByte(Blocks[Slot])^ := 1;
  end;
  for Slot := 0 to SLOTS - 1 do
    FreeMem(Blocks[Slot]);
end;

{ The same, but most blocks that a thread frees were allocated by another. }
procedure Foreign(Thread: LongInt);
var
  State: LongWord;
  I, Slot: LongInt;
begin
  State := Thread + 1;
  for I := 1 to PAIRS do
  begin
    Slot := NextRandom(State) and (SLOTS - 1);
    FreeMem(InterlockedExchange(Handed[Slot], GetMem(RandomSize(State))));
  end;
end;

{ A block that grows to 256 KiB step by step. }
procedure Growing(Thread: LongInt);
var
  P: Pointer;
  I, Size: LongInt;
begin
  for I := 1 to PAIRS div 16384 do
  begin
    P := nil;
    Size := 0;
    while Size < 262144 do
    begin
      Inc(Size, 64);
      ReAllocMem(P, Size);
    end;
    FreeMem(P);
  end;
end;

function Run(Parameter: Pointer): PtrInt;
begin
  InterlockedDecrement(Waiting);
  while Waiting > 0 do
    ThreadSwitch;
  Starts[PtrUInt(Parameter)] := Now;
  Work(PtrUInt(Parameter));
  Ends[PtrUInt(Parameter)] := Now;
  Result := 0;
end;

procedure Measure(const Name: ShortString; What: TWork; Count, Pairs: LongInt);
var
  IDs: array[0..THREADS - 1] of TThreadID;
  I: LongInt;
  First, Last: QWord;
begin
  Work := What;
  Waiting := Count;
  for I := 0 to Count - 1 do
    BeginThread(nil, 262144, @Run, Pointer(PtrInt(I)), 0, IDs[I]);
  First := High(QWord);
  Last := 0;
  for I := 0 to Count - 1 do
  begin
    WaitForThreadTerminate(IDs[I], 0);
    if Starts[I] < First then
      First := Starts[I];
    if Ends[I] > Last then
      Last := Ends[I];
  end;
  if not Silent then
    WriteLn(Name, ' ', Count, ' ', Last - First, ' ', QWord(Pairs) * Count);
end;

procedure MeasureAll(Count: LongInt);
begin
  Measure('one-size', @OneSize, Count, PAIRS);
  Measure('mixed', @Mixed, Count, PAIRS);
  Measure('foreign', @Foreign, Count, PAIRS);
  Measure('growing', @Growing, Count, PAIRS div 4);
end;

begin
  { A first run does not count: first touches of memory are not measured. }
  Silent := True;
  MeasureAll(THREADS);
  Silent := False;
  MeasureAll(1);
  MeasureAll(THREADS);
end.
