{ The heap of each core. Only its own core changes it, so it needs no lock.

  A primer on freeing. A core cuts blocks from regions that it takes from the pool.

    own block      A small one is kept in a list for the next request of exactly its size, unmerged,
                   until a quarter of a region is kept in that size. Larger ones, and kept ones
                   beyond that, are merged with free neighbours. A region that becomes empty goes
                   back to the pool, except one spare.
    another's      Pushed on the owner's list of returned blocks, without a lock. The owner takes
                   the whole list the next time its kept blocks do not suffice, or when it is idle.
    shortage       When the pool is exhausted, every core returns what it does not use. A core that
                   halts lends its heap meanwhile, so that another core can do it instead; a core
                   that runs does it when it allocates next, or is idle. }
unit CoreHeaps;

{$mode objfpc}

interface

uses HeapBlocks;

const
  KEPT_SIZE = 1024; { bytes of the largest block that is kept }

type
  { The kept blocks of one size. }
  PKept = ^TKept;
  TKept = record
    First: PBlock; { linked by Next }
    Bytes: PtrUInt;
  end;

  PCoreHeap = ^TCoreHeap;
  TCoreHeap = record
    Kept: array[0..KEPT_SIZE div 16] of TKept; { index: size div 16 }
    Used, Count: QWord;       { allocated blocks: their bytes and number }
    Taken, TakenCount: QWord; { regions taken from the pool: their bytes and number }
    Spare: PRegion;           { a region that was empty when it was last checked, or nil }
    ShortagesSeen: LongInt;
    State: LongInt;           { HEAP_*: which core may change the heap }
    { In a cache line of its own, because other cores write to it. }
    Before: array[0..7] of QWord;
    Returned: PBlock;         { blocks that other cores have freed, linked by Next }
    After: array[0..7] of QWord;
    Blocks: TBlockHeap;       { as many classes as blocks of a region can have }
  end;

{ This core's heap; nil before its first allocation. }
function ThisHeap: PCoreHeap; inline;

{ Creates this core's heap in a block of the pool; adds a block of the pool to a heap. }
function StartCoreHeap(B: PBlock): PCoreHeap;
procedure AddMemory(Heap: PCoreHeap; B: PBlock);

{ Free an allocated block: one of this core, and one of another core or of the pool. }
procedure FreeOwn(Heap: PCoreHeap; B: PBlock); inline;
procedure FreeForeign(B: PBlock);

{ For an idle core: takes returned blocks, and gives memory back after a shortage. }
procedure TidyHeap;

{ To be called before and after a halt, during which another core may use this heap. }
procedure LendHeap;
procedure ReclaimHeap;

{ Called when the pool is exhausted: makes all cores return what they do not use, and waits
  shortly for those that run. }
procedure ReportShortage;

{ TakeReturned frees the blocks that other cores have returned. HelpOut gives memory back to the
  pool if there was a shortage since the last call. }
procedure TakeReturned(Heap: PCoreHeap);
procedure HelpOut(Heap: PCoreHeap);

implementation

uses Arch, HeapPool;

const
  { The size classes that blocks of a region can have. }
  CORE_CLASSES = 20 - MIN_BITS + 1;
  CORE_HEAP_SIZE = SizeOf(TCoreHeap) - (CLASSES - CORE_CLASSES) * STEPS * SizeOf(PBlock);
  PATIENCE = 1; { ms to wait for cores that run }

  HEAP_IN_USE = 0;
  HEAP_LENT = 1;
  HEAP_BORROWED = 2;

var
  Shortages: LongInt; { number of shortages so far }

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
  { The rest of the block becomes a region. Without FLAG_FIRST it never counts as empty, so the
    heap's own memory stays. }
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

{ Frees a block to the lists. One empty region is kept, so that allocating and freeing one block
  does not move a region each time. }
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

{ Returns all unused regions to the pool. }
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

{ Whether a core has given memory back since the shortage. If it halts, this core does it
  instead. }
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
        TidyHeap; { that core may be waiting for this one }
      until HasHelped(Heap, Shortage) or (read_rdtsc - Start >= Wait);
  end;
end;

end.
