{ The heap, over all free RAM.

  TLSF, "two-level segregated fit" (Masmano, Ripoll, Crespo, Real: TLSF, a new
  dynamic memory allocator for real-time systems, ECRTS 2004): free blocks are
  kept in lists by size, a power of two divided into 32 steps, and two levels of
  bitmaps find a list that fits. Allocation and release take constant time and
  neighbours are always merged. Fresh memory is not touched until it is handed
  out: a page's first touch is the dearest thing that a small guest does.

  A block is a header and its memory, which starts at a multiple of 16. The
  header holds the size with two flags in its low bits and, while the block
  before is free, that one's address:

      Before | Size  | memory: of a free block, Next and Previous in its list }
unit Memory;

{$mode objfpc}

interface

type
  THeapStatistics = record
    Total: QWord; { bytes of RAM that the heap was given }
    Used: QWord;  { bytes in allocated blocks, headers included }
    Blocks: QWord; { allocated blocks }
  end;

{ Memory of at least Size bytes, aligned to 16; nil when there is none. That of
  ToroAllocMem is zeroed. }
function ToroGetMem(Size: PtrUInt): Pointer;
function ToroAllocMem(Size: PtrUInt): Pointer;

{ The same at a multiple of Alignment, a power of two of at least 64. }
function ToroGetAlignedMem(Size, Alignment: PtrUInt): Pointer;

{ Gives memory back, and returns how many bytes it was; nil is allowed. }
function ToroFreeMem(P: Pointer): PtrUInt;

{ Makes P's memory Size bytes, moving it if need be, and returns it. When there
  is none, returns nil and leaves P as it was. Size 0 frees it. }
function ToroReAllocMem(var P: Pointer; Size: PtrUInt): Pointer;

{ How many bytes can be used at P, which ToroGetMem returned. }
function ToroMemSize(P: Pointer): PtrUInt;

function HeapStatistics: THeapStatistics;

implementation

uses BootInfo, Arch;

const
  STEP_BITS = 5;
  STEPS = 1 shl STEP_BITS;
  MIN_BITS = 5;             { smallest block: a header and two links }
  MIN_SIZE = 1 shl MIN_BITS;
  CLASSES = 40 - MIN_BITS;  { blocks up to 1 TiB }
  HEADER = 16;

  FLAG_FREE = 1;
  FLAG_BEFORE_FREE = 2;
  FLAGS = FLAG_FREE or FLAG_BEFORE_FREE;

type
  PBlock = ^TBlock;
  TBlock = record
    Before: PBlock;         { valid while FLAG_BEFORE_FREE is set }
    Size: PtrUInt;          { of the whole block, a multiple of 16; with FLAGS }
    Next, Previous: PBlock; { valid while FLAG_FREE is set }
  end;

var
  Lock: LongInt;
  ClassMap: QWord;
  StepMap: array[0..CLASSES - 1] of LongWord;
  Lists: array[0..CLASSES - 1, 0..STEPS - 1] of PBlock;
  Statistics: THeapStatistics;

function BlockSize(B: PBlock): PtrUInt; inline;
begin
  Result := B^.Size and not PtrUInt(FLAGS);
end;

function BlockAfter(B: PBlock): PBlock; inline;
begin
  Result := PBlock(PtrUInt(B) + BlockSize(B));
end;

{ The list that blocks of Size are in. }
procedure ListOf(Size: PtrUInt; out C, S: LongInt);
var
  Bits: LongInt;
begin
  Bits := BsrQWord(Size);
  C := Bits - MIN_BITS;
  S := Size shr (Bits - STEP_BITS) and (STEPS - 1);
end;

procedure Insert(B: PBlock);
var
  C, S: LongInt;
begin
  ListOf(BlockSize(B), C, S);
  B^.Previous := nil;
  B^.Next := Lists[C, S];
  if B^.Next <> nil then
    B^.Next^.Previous := B;
  Lists[C, S] := B;
  ClassMap := ClassMap or QWord(1) shl C;
  StepMap[C] := StepMap[C] or LongWord(1) shl S;
  B^.Size := B^.Size or FLAG_FREE;
  with BlockAfter(B)^ do
  begin
    Before := B;
    Size := Size or FLAG_BEFORE_FREE;
  end;
end;

procedure Remove(B: PBlock);
var
  C, S: LongInt;
begin
  ListOf(BlockSize(B), C, S);
  if B^.Next <> nil then
    B^.Next^.Previous := B^.Previous;
  if B^.Previous <> nil then
    B^.Previous^.Next := B^.Next
  else
  begin
    Lists[C, S] := B^.Next;
    if B^.Next = nil then
    begin
      StepMap[C] := StepMap[C] and not (LongWord(1) shl S);
      if StepMap[C] = 0 then
        ClassMap := ClassMap and not (QWord(1) shl C);
    end;
  end;
  B^.Size := B^.Size and not PtrUInt(FLAG_FREE);
  with BlockAfter(B)^ do
    Size := Size and not PtrUInt(FLAG_BEFORE_FREE);
end;

{ A free block of at least Size, taken from its list, or nil. }
function Take(Size: PtrUInt): PBlock;
var
  C, S: LongInt;
  Map: QWord;
begin
  { Rounded up to a step, so that any block of the list found is large enough. }
  Size := Size + PtrUInt(1) shl (BsrQWord(Size) - STEP_BITS) - 1;
  ListOf(Size, C, S);
  if C >= CLASSES then
    Exit(nil);
  Map := StepMap[C] and not ((LongWord(1) shl S) - 1);
  if Map = 0 then
  begin
    Map := ClassMap and not ((QWord(2) shl C) - 1);
    if Map = 0 then
      Exit(nil);
    C := BsfQWord(Map);
    Map := StepMap[C];
  end;
  Result := Lists[C, BsfQWord(Map)];
  Remove(Result);
end;

{ Cuts a block that is in no list to Size, and frees what is left. }
procedure Trim(B: PBlock; Size: PtrUInt);
var
  Rest: PBlock;
  Left: PtrUInt;
begin
  Left := BlockSize(B) - Size;
  if Left < MIN_SIZE then
    Exit;
  B^.Size := Size or B^.Size and FLAGS;
  Rest := BlockAfter(B);
  Rest^.Size := Left;
  Insert(Rest);
end;

{ Frees a block that is in no list, merged with its neighbours. }
procedure Merge(B: PBlock);
var
  Other: PBlock;
begin
  Other := BlockAfter(B);
  if Other^.Size and FLAG_FREE <> 0 then
  begin
    Remove(Other);
    B^.Size := B^.Size + BlockSize(Other);
  end;
  if B^.Size and FLAG_BEFORE_FREE <> 0 then
  begin
    Other := B^.Before;
    Remove(Other);
    Other^.Size := Other^.Size + BlockSize(B);
    B := Other;
  end;
  Insert(B);
end;

function WholeSize(Size: PtrUInt): PtrUInt; inline;
begin
  Result := (Size + HEADER + 15) and not PtrUInt(15);
  if Result < MIN_SIZE then
    Result := MIN_SIZE;
end;

function ToroGetMem(Size: PtrUInt): Pointer;
var
  B: PBlock;
begin
  if Size > PtrUInt(1) shl (CLASSES + MIN_BITS - 1) then
    Exit(nil);
  Size := WholeSize(Size);
  AcquireLock(Lock);
  B := Take(Size);
  if B <> nil then
  begin
    Trim(B, Size);
    Inc(Statistics.Used, BlockSize(B));
    Inc(Statistics.Blocks);
  end;
  ReleaseLock(Lock);
  if B = nil then
    Result := nil
  else
    Result := Pointer(PtrUInt(B) + HEADER);
end;

function ToroGetAlignedMem(Size, Alignment: PtrUInt): Pointer;
var
  B, Front: PBlock;
begin
  if Size > PtrUInt(1) shl (CLASSES + MIN_BITS - 2) then
    Exit(nil);
  Size := WholeSize(Size);
  AcquireLock(Lock);
  Front := Take(Size + Alignment + MIN_SIZE);
  if Front = nil then
  begin
    ReleaseLock(Lock);
    Exit(nil);
  end;
  { The next multiple that leaves nothing before the block, or a free one. }
  Result := Pointer((PtrUInt(Front) + HEADER + Alignment - 1) and not (Alignment - 1));
  B := PBlock(PtrUInt(Result) - HEADER);
  if (B <> Front) and (PtrUInt(B) < PtrUInt(Front) + MIN_SIZE) then
  begin
    Inc(Result, Alignment);
    Inc(PtrUInt(B), Alignment);
  end;
  if B <> Front then
  begin
    B^.Size := PtrUInt(BlockAfter(Front)) - PtrUInt(B);
    Front^.Size := PtrUInt(B) - PtrUInt(Front) or Front^.Size and FLAGS;
  end;
  Trim(B, Size);
  Inc(Statistics.Used, BlockSize(B));
  Inc(Statistics.Blocks);
  if B <> Front then
    Merge(Front);
  ReleaseLock(Lock);
end;

function ToroAllocMem(Size: PtrUInt): Pointer;
begin
  Result := ToroGetMem(Size);
  if Result <> nil then
    FillChar(Result^, Size, 0);
end;

function ToroFreeMem(P: Pointer): PtrUInt;
var
  B: PBlock;
begin
  if P = nil then
    Exit(0);
  B := PBlock(PtrUInt(P) - HEADER);
  AcquireLock(Lock);
  Result := BlockSize(B);
  Dec(Statistics.Used, Result);
  Dec(Statistics.Blocks);
  Merge(B);
  ReleaseLock(Lock);
end;

function ToroMemSize(P: Pointer): PtrUInt;
begin
  Result := BlockSize(PBlock(PtrUInt(P) - HEADER)) - HEADER;
end;

function ToroReAllocMem(var P: Pointer; Size: PtrUInt): Pointer;
var
  Old: PtrUInt;
begin
  if Size = 0 then
  begin
    ToroFreeMem(P);
    P := nil;
    Exit(nil);
  end;
  if P = nil then
  begin
    P := ToroGetMem(Size);
    Exit(P);
  end;
  Old := ToroMemSize(P);
  if (Size <= Old) and (Size >= Old div 2) then
    Exit(P);
  Result := ToroGetMem(Size);
  if Result = nil then
    Exit;
  if Old > Size then
    Old := Size;
  Move(P^, Result^, Old);
  ToroFreeMem(P);
  P := Result;
end;

function HeapStatistics: THeapStatistics;
begin
  AcquireLock(Lock);
  Result := Statistics;
  ReleaseLock(Lock);
end;

{ Makes a range of RAM one free block, with an allocated one of no size behind
  it that no neighbour is merged with. }
procedure AddRegion(Start, Size: PtrUInt);
var
  B, Last: PBlock;
begin
  if Size < 2 * MIN_SIZE then
    Exit;
  B := PBlock(Start);
  B^.Size := Size - MIN_SIZE;
  Last := BlockAfter(B);
  Last^.Size := MIN_SIZE;
  Insert(B);
  Inc(Statistics.Total, Size);
end;

procedure AddAllRegions;
var
  I: LongInt;
begin
  with TheBootInfo^ do
    for I := 0 to MemoryMapCount - 1 do
      if MemoryMap[I].Kind = MEMORY_FREE then
        AddRegion(MemoryMap[I].Start, MemoryMap[I].Size);
end;

initialization
  AddAllRegions;
end.
