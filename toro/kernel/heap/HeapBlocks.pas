{ Blocks of memory and the lists of those that are free, for one owner: a core, or
  the pool that all cores share.

  TLSF, "two-level segregated fit" (Masmano, Ripoll, Crespo, Real: TLSF, a new
  dynamic memory allocator for real-time systems, ECRTS 2004): free blocks are
  kept in lists by size, a power of two divided into 32 steps, and two levels of
  bitmaps find a list that fits. Allocation and release take constant time and
  neighbours are always merged. Fresh memory is not touched until it is handed
  out: a page's first touch is the dearest thing that a small guest does.

  A block is a header and its memory, which starts at a multiple of 16. Blocks lie
  one behind the other in a region, whose own header comes first and whose last block
  is a mere header:

      TRegion | Before Info memory | Before Info memory | … | Before Info

  Before is the address of the block before while that one is free; Info is the size
  with flags in its low bits and the owner in its high ones. The memory of a free
  block begins with its Next and Previous in the list. }
unit HeapBlocks;

{$mode objfpc}

interface

const
  STEP_BITS = 5;
  STEPS = 1 shl STEP_BITS;
  MIN_BITS = 5;            { smallest block: a header and two links }
  MIN_SIZE = 1 shl MIN_BITS;
  CLASSES = 40 - MIN_BITS; { blocks of less than 1 TiB }
  HEADER = 16;
  MAX_REQUEST = QWord(1) shl 39; { bytes; half of it more still has a class }

  FLAG_FREE = 1;
  FLAG_BEFORE_FREE = 2;
  FLAG_FIRST = 4;          { of its region }
  FLAG_KEPT = 8;           { free for its owner's next request of this size, but in no list }
  FLAGS = 15;
  OWNER_SHIFT = 56;
  OWNER_MASK = QWord($FF) shl OWNER_SHIFT;
  SIZE_MASK = not (OWNER_MASK or FLAGS);

type
  PBlock = ^TBlock;
  TBlock = record
    Before: PBlock;         { valid while FLAG_BEFORE_FREE is set }
    Info: QWord;            { bytes of the whole block, a multiple of 16; FLAGS; owner }
    Next, Previous: PBlock; { valid while the block is free }
  end;

  PRegion = ^TRegion;
  TRegion = record
    Next, Previous: PRegion;
  end;

  { What is free. Its size is that of Lists up to the largest class in use. }
  PBlockHeap = ^TBlockHeap;
  TBlockHeap = record
    Owner: QWord;           { shl OWNER_SHIFT }
    Regions: PRegion;
    ClassMap: QWord;        { lists and steps of a class whose bit is 0 are not valid }
    StepMap: array[0..CLASSES - 1] of LongWord;
    Lists: array[0..CLASSES - 1, 0..STEPS - 1] of PBlock;
  end;

const
  REGION_OVERHEAD = SizeOf(TRegion) + HEADER; { bytes of a region that are in no block }

{ An owner's heap without memory. Owner is 0 to 255. }
procedure StartHeap(out Heap: TBlockHeap; Owner: QWord);

{ Gives a heap the memory at Start, a multiple of 16, as one free block, and takes it
  back: all of a region whose only block is no more in a list. }
procedure AddRegion(var Heap: TBlockHeap; Start, Size: PtrUInt);
procedure RemoveRegion(var Heap: TBlockHeap; Region: PRegion);

{ The region of a block that is all of it, or nil. }
function WholeRegion(B: PBlock): PRegion;

{ The size of a block with room for Size bytes, at most MAX_REQUEST. }
function WholeSize(Size: PtrUInt): PtrUInt; inline;

function BlockSize(B: PBlock): PtrUInt; inline;
function BlockAfter(B: PBlock): PBlock; inline;

{ A block of WholeSize's Size bytes, or nil; the same with its memory at a multiple of
  Alignment, a power of two. }
function TakeBlock(var Heap: TBlockHeap; Size: PtrUInt): PBlock;
function TakeAligned(var Heap: TBlockHeap; Size, Alignment: PtrUInt): PBlock;

{ Frees a block of this heap; returns the free block that it has become part of. }
function MergeBlock(var Heap: TBlockHeap; B: PBlock): PBlock;

{ Takes a free block out of its list. }
procedure RemoveBlock(var Heap: TBlockHeap; B: PBlock);

{ Makes an allocated block Size bytes where it is; False if what follows is not free. }
function ResizeBlock(var Heap: TBlockHeap; B: PBlock; Size: PtrUInt): Boolean;

{ The list that blocks of Size are in. }
procedure ListOf(Size: PtrUInt; out C, S: LongInt); inline;

implementation

procedure StartHeap(out Heap: TBlockHeap; Owner: QWord);
begin
  Heap.Owner := Owner shl OWNER_SHIFT;
  Heap.Regions := nil;
  Heap.ClassMap := 0;
end;

function BlockSize(B: PBlock): PtrUInt;
begin
  Result := B^.Info and SIZE_MASK;
end;

function BlockAfter(B: PBlock): PBlock;
begin
  Result := PBlock(PtrUInt(B) + BlockSize(B));
end;

function WholeSize(Size: PtrUInt): PtrUInt;
begin
  Result := (Size + HEADER + 15) and not PtrUInt(15);
  if Result < MIN_SIZE then
    Result := MIN_SIZE;
end;

procedure ListOf(Size: PtrUInt; out C, S: LongInt);
var
  Bits: LongInt;
begin
  Bits := BsrQWord(Size);
  C := Bits - MIN_BITS;
  S := Size shr (Bits - STEP_BITS) and (STEPS - 1);
end;

procedure InsertBlock(var Heap: TBlockHeap; B: PBlock);
var
  C, S: LongInt;
  Steps: LongWord;
begin
  ListOf(BlockSize(B), C, S);
  Steps := 0;
  if Heap.ClassMap and (QWord(1) shl C) <> 0 then
    Steps := Heap.StepMap[C];
  B^.Previous := nil;
  B^.Next := nil;
  if Steps and (LongWord(1) shl S) <> 0 then
  begin
    B^.Next := Heap.Lists[C, S];
    B^.Next^.Previous := B;
  end;
  Heap.Lists[C, S] := B;
  Heap.StepMap[C] := Steps or LongWord(1) shl S;
  Heap.ClassMap := Heap.ClassMap or QWord(1) shl C;
  B^.Info := B^.Info or FLAG_FREE;
  with BlockAfter(B)^ do
  begin
    Before := B;
    Info := Info or FLAG_BEFORE_FREE;
  end;
end;

procedure RemoveBlock(var Heap: TBlockHeap; B: PBlock);
var
  C, S: LongInt;
begin
  if B^.Next <> nil then
    B^.Next^.Previous := B^.Previous;
  if B^.Previous <> nil then
    B^.Previous^.Next := B^.Next
  else
  begin
    ListOf(BlockSize(B), C, S);
    Heap.Lists[C, S] := B^.Next;
    if B^.Next = nil then
    begin
      Heap.StepMap[C] := Heap.StepMap[C] and not (LongWord(1) shl S);
      if Heap.StepMap[C] = 0 then
        Heap.ClassMap := Heap.ClassMap and not (QWord(1) shl C);
    end;
  end;
  B^.Info := B^.Info and not QWord(FLAG_FREE);
  with BlockAfter(B)^ do
    Info := Info and not QWord(FLAG_BEFORE_FREE);
end;

{ A block of the list that Size itself would be in; not all there are large enough. }
function SearchList(const Heap: TBlockHeap; Size: PtrUInt): PBlock;
var
  C, S: LongInt;
begin
  ListOf(Size, C, S);
  if (Heap.ClassMap and (QWord(1) shl C) = 0) or (Heap.StepMap[C] and (LongWord(1) shl S) = 0) then
    Exit(nil);
  Result := Heap.Lists[C, S];
  while (Result <> nil) and (BlockSize(Result) < Size) do
    Result := Result^.Next;
end;

{ A free block of at least Size, out of its list, or nil. }
function FindBlock(var Heap: TBlockHeap; Size: PtrUInt): PBlock;
var
  C, S: LongInt;
  Map: QWord;
begin
  { Rounded up to a step, so that any block of the list found is large enough. }
  ListOf(Size + PtrUInt(1) shl (BsrQWord(Size) - STEP_BITS) - 1, C, S);
  Map := 0;
  if Heap.ClassMap and (QWord(1) shl C) <> 0 then
    Map := Heap.StepMap[C] and not ((LongWord(1) shl S) - 1);
  if Map = 0 then
  begin
    Map := Heap.ClassMap and not ((QWord(2) shl C) - 1);
    if Map <> 0 then
    begin
      C := BsfQWord(Map);
      Map := Heap.StepMap[C];
    end;
  end;
  if Map <> 0 then
    Result := Heap.Lists[C, BsfQWord(Map)]
  else
    Result := SearchList(Heap, Size);
  if Result <> nil then
    RemoveBlock(Heap, Result);
end;

{ Cuts a block that is in no list to Size, and frees what is left. }
procedure TrimBlock(var Heap: TBlockHeap; B: PBlock; Size: PtrUInt);
var
  Rest: PBlock;
  Left: PtrUInt;
begin
  Left := BlockSize(B) - Size;
  if Left < MIN_SIZE then
    Exit;
  B^.Info := B^.Info - Left;
  Rest := BlockAfter(B);
  Rest^.Info := Left or Heap.Owner;
  MergeBlock(Heap, Rest);
end;

function TakeBlock(var Heap: TBlockHeap; Size: PtrUInt): PBlock;
begin
  Result := FindBlock(Heap, Size);
  if Result <> nil then
    TrimBlock(Heap, Result, Size);
end;

function TakeAligned(var Heap: TBlockHeap; Size, Alignment: PtrUInt): PBlock;
var
  Front: PBlock;
begin
  Front := FindBlock(Heap, Size + Alignment + MIN_SIZE);
  if Front = nil then
    Exit(nil);
  { The next multiple that leaves nothing before the block, or a free one. }
  Result := PBlock((PtrUInt(Front) + HEADER + Alignment - 1) and not (Alignment - 1) - HEADER);
  if (Result <> Front) and (PtrUInt(Result) < PtrUInt(Front) + MIN_SIZE) then
    Inc(PtrUInt(Result), Alignment);
  if Result <> Front then
  begin
    Result^.Info := PtrUInt(BlockAfter(Front)) - PtrUInt(Result) or Heap.Owner;
    Front^.Info := Front^.Info - BlockSize(Result);
    MergeBlock(Heap, Front);
  end;
  TrimBlock(Heap, Result, Size);
end;

function MergeBlock(var Heap: TBlockHeap; B: PBlock): PBlock;
var
  Other: PBlock;
begin
  Other := BlockAfter(B);
  if Other^.Info and FLAG_FREE <> 0 then
  begin
    RemoveBlock(Heap, Other);
    Inc(B^.Info, BlockSize(Other));
  end;
  if B^.Info and FLAG_BEFORE_FREE <> 0 then
  begin
    Other := B^.Before;
    RemoveBlock(Heap, Other);
    Inc(Other^.Info, BlockSize(B));
    B := Other;
  end;
  InsertBlock(Heap, B);
  Result := B;
end;

function ResizeBlock(var Heap: TBlockHeap; B: PBlock; Size: PtrUInt): Boolean;
var
  Other: PBlock;
begin
  if Size > BlockSize(B) then
  begin
    Other := BlockAfter(B);
    if (Other^.Info and FLAG_FREE = 0) or (BlockSize(B) + BlockSize(Other) < Size) then
      Exit(False);
    RemoveBlock(Heap, Other);
    Inc(B^.Info, BlockSize(Other));
  end;
  TrimBlock(Heap, B, Size);
  Result := True;
end;

procedure AddRegion(var Heap: TBlockHeap; Start, Size: PtrUInt);
var
  Region: PRegion;
  B: PBlock;
begin
  Region := PRegion(Start);
  Region^.Previous := nil;
  Region^.Next := Heap.Regions;
  if Heap.Regions <> nil then
    Heap.Regions^.Previous := Region;
  Heap.Regions := Region;
  B := PBlock(Region + 1);
  B^.Info := (Size - REGION_OVERHEAD) and SIZE_MASK or FLAG_FIRST or Heap.Owner;
  BlockAfter(B)^.Info := HEADER or Heap.Owner;
  InsertBlock(Heap, B);
end;

procedure RemoveRegion(var Heap: TBlockHeap; Region: PRegion);
begin
  if Region^.Next <> nil then
    Region^.Next^.Previous := Region^.Previous;
  if Region^.Previous <> nil then
    Region^.Previous^.Next := Region^.Next
  else
    Heap.Regions := Region^.Next;
end;

function WholeRegion(B: PBlock): PRegion;
begin
  if (B^.Info and FLAG_FIRST <> 0) and (BlockSize(BlockAfter(B)) = HEADER) then
    Result := PRegion(B) - 1
  else
    Result := nil;
end;

end.
