{ Blocks of memory, and the lists of free ones, for one owner: a core, or the pool.

  The allocator is TLSF, "two-level segregated fit" (Masmano, Ripoll, Crespo, Real: TLSF, a new
  dynamic memory allocator for real-time systems, ECRTS 2004). Free blocks are in lists by size:
  a class for each power of two, divided into 32 steps. A bitmap of classes and one of steps in
  each class find the first list whose blocks fit. So allocation and release take constant time.
  Free neighbours are always merged. Fresh memory is not touched before it is handed out,
  because the first touch of a page is expensive in a virtual machine.

  A block is a 16-byte header and its memory. The blocks of a region are contiguous, between the
  region's header and a last block that is only a header:

      TRegion | Before Info memory | Before Info memory | … | Before Info

  Before is the address of the preceding block, valid if that one is free. Info is the block's
  size, with flags in the low bits and the owner in the high ones. The memory of a free block
  starts with Next and Previous, its links in the list. }
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
  MAX_REQUEST = QWord(1) shl 39; { bytes; rounding up by half still yields a valid class }

  FLAG_FREE = 1;
  FLAG_BEFORE_FREE = 2;
  FLAG_FIRST = 4;          { first block of its region }
  FLAG_KEPT = 8;           { freed, and kept by its owner for the next request of this size; in no list }
  FLAGS = 15;
  OWNER_SHIFT = 56;
  OWNER_MASK = QWord($FF) shl OWNER_SHIFT;
  SIZE_MASK = not (OWNER_MASK or FLAGS);

type
  PBlock = ^TBlock;
  TBlock = record
    Before: PBlock;         { valid while FLAG_BEFORE_FREE is set }
    Info: QWord;            { size in bytes, a multiple of 16; FLAG_*; owner }
    Next, Previous: PBlock; { valid while the block is free }
  end;

  PRegion = ^TRegion;
  TRegion = record
    Next, Previous: PRegion;
  end;

  { The free blocks. Owners with small blocks only allocate no more of Lists than their
    classes. }
  PBlockHeap = ^TBlockHeap;
  TBlockHeap = record
    Owner: QWord;           { shifted by OWNER_SHIFT }
    Regions: PRegion;
    ClassMap: QWord;        { StepMap and Lists of a class are valid only if its bit is set }
    StepMap: array[0..CLASSES - 1] of LongWord;
    Lists: array[0..CLASSES - 1, 0..STEPS - 1] of PBlock;
  end;

const
  REGION_OVERHEAD = SizeOf(TRegion) + HEADER; { bytes of a region besides its blocks }

{ Initializes a heap without memory. Owner is 0 to 255. }
procedure StartHeap(out Heap: TBlockHeap; Owner: QWord);

{ AddRegion adds the memory at Start, a multiple of 16, as one free block. RemoveRegion takes a
  region out of the heap; its only block must not be in a list. }
procedure AddRegion(var Heap: TBlockHeap; Start, Size: PtrUInt);
procedure RemoveRegion(var Heap: TBlockHeap; Region: PRegion);

{ The region, if this block is all of it; else nil. }
function WholeRegion(B: PBlock): PRegion;

{ The size of a block with room for Size bytes. Size is at most MAX_REQUEST. }
function WholeSize(Size: PtrUInt): PtrUInt; inline;

function BlockSize(B: PBlock): PtrUInt; inline;
function BlockAfter(B: PBlock): PBlock; inline;

{ Take a block of Size bytes (a WholeSize) out of the heap; nil: none is large enough. With
  Alignment, a power of two, the block's memory starts at a multiple of it. }
function TakeBlock(var Heap: TBlockHeap; Size: PtrUInt): PBlock;
function TakeAligned(var Heap: TBlockHeap; Size, Alignment: PtrUInt): PBlock;

{ Frees a block, and returns the merged block that contains it. }
function MergeBlock(var Heap: TBlockHeap; B: PBlock): PBlock;

{ Takes a free block out of its list. }
procedure RemoveBlock(var Heap: TBlockHeap; B: PBlock);

{ Resizes an allocated block in place. False: the block after it is not free, or too small. }
function ResizeBlock(var Heap: TBlockHeap; B: PBlock; Size: PtrUInt): Boolean;

{ Class and step of the list for blocks of Size. }
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

{ Searches the list of Size itself, where not all blocks are large enough. }
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

{ Takes a block of at least Size out of its list; nil: there is none. }
function FindBlock(var Heap: TBlockHeap; Size: PtrUInt): PBlock;
var
  C, S: LongInt;
  Map: QWord;
begin
  { Rounded up to the next step: every block in that list is large enough. }
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

{ Cuts a block, which is in no list, down to Size, and frees the rest. }
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
  { The next multiple with either nothing or a whole free block in front. }
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
