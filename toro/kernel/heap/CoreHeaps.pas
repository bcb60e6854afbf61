{ The heap of each core, which only that core changes, so it needs no lock.

  A core cuts blocks from regions of the pool. What another core frees is pushed on the
  owner's list of returned blocks, which the owner takes as a whole when it runs out of
  something, or is idle. Small blocks that are freed are kept for the next request of
  their size, not merged with their neighbours, up to a quarter of a region.

  When the pool has no memory left, what no core uses goes back to it. A core that halts
  lends its heap meanwhile, so that another one can do that in its place. One that runs
  does it when it needs memory itself, or is idle. }
unit CoreHeaps;

{$mode objfpc}

interface

uses HeapBlocks;

const
  KEPT_SIZE = 1024; { of the largest block that is kept, bytes }

type
  { Blocks of one size that wait for the next request. }
  PKept = ^TKept;
  TKept = record
    First: PBlock; { one behind the other by Next }
    Bytes: PtrUInt;
  end;

  PCoreHeap = ^TCoreHeap;
  TCoreHeap = record
    Kept: array[0..KEPT_SIZE div 16] of TKept; { by size }
    Used, Count: QWord;       { bytes in allocated blocks, and how many those are }
    Taken, TakenCount: QWord; { the same of the pool's blocks that the regions are in }
    Spare: PRegion;           { was empty when it was last looked at, or nil }
    ShortagesSeen: LongInt;
    State: LongInt;           { HEAP_*: who may change it }
    { In a line of its own: other cores write to it. }
    Before: array[0..7] of QWord;
    Returned: PBlock;         { blocks that other cores have freed, by Next }
    After: array[0..7] of QWord;
    Blocks: TBlockHeap;       { as much of it as regions need }
  end;

{ This core's heap; nil when it has allocated nothing yet. }
function ThisHeap: PCoreHeap; inline;

{ Begins this core's heap in a block of the pool, and adds one to a heap. }
function StartCoreHeap(B: PBlock): PCoreHeap;
procedure AddMemory(Heap: PCoreHeap; B: PBlock);

{ Frees an allocated block of this core, and one of another core or of the pool. }
procedure FreeOwn(Heap: PCoreHeap; B: PBlock); inline;
procedure FreeForeign(B: PBlock);

{ For a core that has nothing to do: takes what others have freed, and gives back what
  the pool is short of. }
procedure TidyHeap;

{ Before and after this core halts: in between it does not touch its heap. }
procedure LendHeap;
procedure ReclaimHeap;

{ The pool has no memory left: makes all cores give back what they do not use, and waits
  a little for those that run. }
procedure ReportShortage;

{ Takes the blocks that other cores have returned; helps out if there has been a shortage
  since the last time. }
procedure TakeReturned(Heap: PCoreHeap);
procedure HelpOut(Heap: PCoreHeap);

implementation

uses Arch, HeapPool;

const
  { The classes that blocks of a region can be in. }
  CORE_CLASSES = 20 - MIN_BITS + 1;
  CORE_HEAP_SIZE = SizeOf(TCoreHeap) - (CLASSES - CORE_CLASSES) * STEPS * SizeOf(PBlock);
  PATIENCE = 1; { for cores that run to give memory back: milliseconds }

  HEAP_IN_USE = 0;
  HEAP_LENT = 1;
  HEAP_BORROWED = 2;

var
  Shortages: LongInt; { how often the pool had no memory left }

function ThisHeap: PCoreHeap;
begin
  Result := ThisCore^.Heap;
end;

function StartCoreHeap(B: PBlock): PCoreHeap;
var
  Start: PtrUInt;
begin
  Result := PCoreHeap(PtrUInt(B) + HEADER);
  FillChar(Result^, PtrUInt(@Result^.Blocks) - PtrUInt(Result), 0);
  Result^.Taken := BlockSize(B);
  Result^.TakenCount := 1;
  Result^.ShortagesSeen := Shortages;
  StartHeap(Result^.Blocks, GetCoreId);
  { What is left is a region, which is never given back as it does not look whole. }
  Start := PtrUInt(Result) + CORE_HEAP_SIZE;
  AddRegion(Result^.Blocks, Start, PtrUInt(BlockAfter(B)) - Start);
  with PBlock(Start + SizeOf(TRegion))^ do
    Info := Info and not QWord(FLAG_FIRST);
  ThisCore^.Heap := Result;
end;

procedure AddMemory(Heap: PCoreHeap; B: PBlock);
begin
  Inc(Heap^.Taken, BlockSize(B));
  Inc(Heap^.TakenCount);
  AddRegion(Heap^.Blocks, PtrUInt(B) + HEADER, BlockSize(B) - HEADER);
end;

{ ---- Back to where it came from ---- }

function IsEmpty(Region: PRegion): Boolean;
var
  B: PBlock;
begin
  B := PBlock(Region + 1);
  Result := (B^.Info and FLAG_FREE <> 0) and (WholeRegion(B) <> nil);
end;

procedure FreeRegion(Heap: PCoreHeap; Region: PRegion);
var
  B: PBlock;
begin
  RemoveBlock(Heap^.Blocks, PBlock(Region + 1));
  RemoveRegion(Heap^.Blocks, Region);
  B := PBlock(PtrUInt(Region) - HEADER);
  Dec(Heap^.Taken, BlockSize(B));
  Dec(Heap^.TakenCount);
  FreeShared(B);
end;

{ Frees a block to the lists. One region may stay empty, so that a block that comes and
  goes does not take a region along each time. }
procedure Release(Heap: PCoreHeap; B: PBlock);
var
  Region: PRegion;
begin
  Region := WholeRegion(MergeBlock(Heap^.Blocks, B));
  if Region = nil then
    Exit;
  if (Heap^.Spare <> nil) and (Heap^.Spare <> Region) and IsEmpty(Heap^.Spare) then
    FreeRegion(Heap, Region)
  else
    Heap^.Spare := Region;
end;

procedure ReleaseKept(Heap: PCoreHeap; var Kept: TKept);
var
  B, Next: PBlock;
begin
  B := Kept.First;
  Kept.First := nil;
  Kept.Bytes := 0;
  while B <> nil do
  begin
    Next := B^.Next;
    B^.Info := B^.Info and not QWord(FLAG_KEPT);
    Release(Heap, B);
    B := Next;
  end;
end;

procedure FreeOwn(Heap: PCoreHeap; B: PBlock);
var
  Size: PtrUInt;
  Kept: PKept;
begin
  Size := BlockSize(B);
  Dec(Heap^.Used, Size);
  Dec(Heap^.Count);
  if Size > KEPT_SIZE then
  begin
    Release(Heap, B);
    Exit;
  end;
  Kept := @Heap^.Kept[Size div 16];
  B^.Info := B^.Info or FLAG_KEPT;
  B^.Next := Kept^.First;
  Kept^.First := B;
  Inc(Kept^.Bytes, Size);
  if Kept^.Bytes > RegionSize div 4 then
    ReleaseKept(Heap, Kept^);
end;

procedure TakeReturned(Heap: PCoreHeap);
var
  B, Next: PBlock;
begin
  if Heap^.Returned = nil then
    Exit;
  B := InterlockedExchange(Pointer(Heap^.Returned), nil);
  while B <> nil do
  begin
    Next := B^.Next;
    FreeOwn(Heap, B);
    B := Next;
  end;
end;

procedure FreeForeign(B: PBlock);
var
  Heap: PCoreHeap;
  First: PBlock;
begin
  if B^.Info shr OWNER_SHIFT = POOL_OWNER then
  begin
    FreeShared(B);
    Exit;
  end;
  Heap := CoreAt(B^.Info shr OWNER_SHIFT)^.Heap;
  repeat
    First := Heap^.Returned;
    B^.Next := First;
  until InterlockedCompareExchange(Pointer(Heap^.Returned), B, First) = First;
end;

{ Gives the pool what is not in use. }
procedure GiveBack(Heap: PCoreHeap);
var
  I: LongInt;
begin
  TakeReturned(Heap);
  for I := 0 to High(Heap^.Kept) do
    ReleaseKept(Heap, Heap^.Kept[I]);
  if (Heap^.Spare <> nil) and IsEmpty(Heap^.Spare) then
    FreeRegion(Heap, Heap^.Spare);
  Heap^.Spare := nil;
end;

procedure HelpOut(Heap: PCoreHeap);
var
  Seen: LongInt;
begin
  Seen := Shortages;
  if Heap^.ShortagesSeen = Seen then
    Exit;
  GiveBack(Heap);
  Heap^.ShortagesSeen := Seen;
end;

procedure TidyHeap;
var
  Heap: PCoreHeap;
begin
  Heap := ThisHeap;
  if Heap = nil then
    Exit;
  TakeReturned(Heap);
  HelpOut(Heap);
end;

procedure LendHeap;
begin
  if ThisHeap <> nil then
    ThisHeap^.State := HEAP_LENT;
end;

procedure ReclaimHeap;
var
  Heap: PCoreHeap;
begin
  Heap := ThisHeap;
  if Heap <> nil then
    while InterlockedCompareExchange(Heap^.State, HEAP_IN_USE, HEAP_LENT) <> HEAP_LENT do
      NOP;
end;

{ ---- Shortage ---- }

{ Whether a core's heap has helped out, by itself or by this core in its place. }
function HasHelped(Heap: PCoreHeap; Shortage: LongInt): Boolean;
begin
  if InterlockedCompareExchange(Heap^.State, HEAP_BORROWED, HEAP_LENT) = HEAP_LENT then
  begin
    HelpOut(Heap);
    Heap^.State := HEAP_LENT;
  end;
  Result := LongInt(Heap^.ShortagesSeen - Shortage) >= 0;
end;

procedure ReportShortage;
var
  I, Shortage: LongInt;
  Heap: PCoreHeap;
  Start, Wait: QWord;
begin
  Shortage := InterlockedIncrement(Shortages);
  Start := read_rdtsc;
  Wait := TicksOf(PATIENCE);
  for I := 0 to CPU_COUNT - 1 do
  begin
    Heap := CoreAt(I)^.Heap;
    if Heap <> nil then
      repeat
        TidyHeap; { another one may be waiting for this core }
      until HasHelped(Heap, Shortage) or (read_rdtsc - Start >= Wait);
  end;
end;

end.
