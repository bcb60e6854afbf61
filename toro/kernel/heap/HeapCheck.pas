{ Checks the heap's consistency, for tests and for hunting a stray write. }
unit HeapCheck;

{$mode objfpc}

interface

{ Walks all blocks and lists of this core and of the pool. Returns the first inconsistency with
  its address, or '' if there is none. Holds the pool's lock meanwhile, for a time proportional
  to the number of blocks. }
function CheckHeap: ShortString;

implementation

uses HeapBlocks, HeapPool, CoreHeaps;

type
  { Totals of a walk through all regions. }
  TFound = record
    Used, Count: QWord; { allocated blocks: bytes and number }
    Kept: QWord;        { kept blocks: bytes }
    Free: QWord;        { number of free blocks }
  end;

var
  Problem: ShortString; { the first one found }

procedure Complain(const Text: ShortString; Where: Pointer);
begin
  if Problem = '' then
    Problem := Text + ' at ' + HexStr(Where);
end;

procedure WalkRegion(const Heap: TBlockHeap; Region: PRegion; var Found: TFound);
var
  B, Last: PBlock;
  Free: Boolean;
begin
  B := PBlock(Region + 1);
  Last := nil;
  repeat
    if B^.Info and OWNER_MASK <> Heap.Owner then
      Complain('a block of another owner, or a destroyed header', B);
    if BlockSize(B) = HEADER then
      Break;
    if BlockSize(B) < MIN_SIZE then
      Complain('a block that is too small', B);
    if Problem <> '' then
      Exit;
    Free := B^.Info and FLAG_FREE <> 0;
    if (B^.Info and FLAG_BEFORE_FREE <> 0) <> (Last <> nil) then
      Complain('a block that is wrong about the one before', B);
    if (Last <> nil) and (B^.Before <> Last) then
      Complain('a block with a wrong address of the one before', B);
    if Free and (Last <> nil) then
      Complain('free neighbours that were not merged', B);
    Last := nil;
    if Free then
    begin
      Last := B;
      Inc(Found.Free);
    end
    else if B^.Info and FLAG_KEPT <> 0 then
      Inc(Found.Kept, BlockSize(B))
    else
    begin
      Inc(Found.Used, BlockSize(B));
      Inc(Found.Count);
    end;
    B := BlockAfter(B);
  until False;
  if (B^.Info and FLAG_BEFORE_FREE <> 0) <> (Last <> nil) then
    Complain('an end that is wrong about the block before', B);
end;

{ Walks the list of class C, step S. Returns the number of its blocks. }
function WalkList(const Heap: TBlockHeap; C, S: LongInt): QWord;
var
  B, Previous: PBlock;
  BlockC, BlockS: LongInt;
begin
  Result := 0;
  B := Heap.Lists[C, S];
  if B = nil then
    Complain('an empty list that is marked as not', @Heap.Lists[C, S]);
  Previous := nil;
  while (B <> nil) and (Problem = '') do
  begin
    ListOf(BlockSize(B), BlockC, BlockS);
    if (B^.Info and FLAG_FREE = 0) or (BlockC <> C) or (BlockS <> S) or (B^.Info and OWNER_MASK <> Heap.Owner) then
      Complain('a block in a wrong list', B);
    if B^.Previous <> Previous then
      Complain('a broken list', B);
    Previous := B;
    B := B^.Next;
    Inc(Result);
  end;
end;

procedure WalkHeap(const Heap: TBlockHeap; out Found: TFound);
var
  Region: PRegion;
  C, S: LongInt;
  Listed: QWord;
begin
  Found := Default(TFound);
  Region := Heap.Regions;
  while (Region <> nil) and (Problem = '') do
  begin
    WalkRegion(Heap, Region, Found);
    if (Region^.Next <> nil) and (Region^.Next^.Previous <> Region) then
      Complain('a broken list of regions', Region);
    Region := Region^.Next;
  end;
  Listed := 0;
  for C := 0 to CLASSES - 1 do
    if Heap.ClassMap and (QWord(1) shl C) <> 0 then
      for S := 0 to STEPS - 1 do
        if Heap.StepMap[C] and (LongWord(1) shl S) <> 0 then
          Inc(Listed, WalkList(Heap, C, S));
  if Listed <> Found.Free then
    Complain('free blocks that are in no list', @Heap);
end;

procedure CheckKept(Heap: PCoreHeap; Bytes: QWord);
var
  I: LongInt;
  B: PBlock;
  Listed, Before: QWord;
begin
  Listed := 0;
  for I := 0 to High(Heap^.Kept) do
  begin
    Before := Listed;
    B := Heap^.Kept[I].First;
    while (B <> nil) and (Problem = '') do
    begin
      if (B^.Info and FLAG_KEPT = 0) or (BlockSize(B) div 16 <> I) then
        Complain('a block in a wrong list of kept ones', B);
      Inc(Listed, BlockSize(B));
      B := B^.Next;
    end;
    if Listed - Before <> Heap^.Kept[I].Bytes then
      Complain('a wrong count of kept blocks', @Heap^.Kept[I]);
  end;
  if Listed <> Bytes then
    Complain('kept blocks that are in no list', Heap);
end;

procedure CheckCore(Heap: PCoreHeap);
var
  Found: TFound;
begin
  WalkHeap(Heap^.Blocks, Found);
  CheckKept(Heap, Found.Kept);
  if (Found.Used <> Heap^.Used) or (Found.Count <> Heap^.Count) then
    Complain('a wrong count of allocated blocks', Heap);
end;

procedure CheckPool;
var
  Found: TFound;
begin
  WalkHeap(LockPool^, Found);
  if (Found.Used <> PoolStatistics.Used) or (Found.Count <> PoolStatistics.Blocks) then
    Complain('a wrong count of the pool''s blocks', @PoolStatistics);
  UnlockPool;
end;

function CheckHeap: ShortString;
begin
  Problem := '';
  if ThisHeap <> nil then
    CheckCore(ThisHeap);
  CheckPool;
  Result := Problem;
end;

end.
