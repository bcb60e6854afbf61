{ The memory manager: contents, alignment, merging, all of RAM, and its end. }
program Heap;

{$mode objfpc}

uses
  Checks, Arch, HeapCheck, Memory;

const
  SLOTS = 500;
  STEPS = 200000;

var
  Blocks: array[0..SLOTS - 1] of PByte;
  Sizes: array[0..SLOTS - 1] of PtrUInt;

function Mark(Slot: LongInt; At: PtrUInt): Byte;
begin
  Result := (Slot * 7 + At * 13 + Sizes[Slot]) and $FF;
end;

procedure Fill(Slot: LongInt);
var
  I: PtrUInt;
begin
  for I := 0 to Sizes[Slot] - 1 do
    if (I < 32) or (I >= Sizes[Slot] - 32) then
      Blocks[Slot][I] := Mark(Slot, I);
end;

function Intact(Slot: LongInt; Size: PtrUInt): Boolean;
var
  I: PtrUInt;
begin
  for I := 0 to Size - 1 do
    if ((I < 32) or (I >= Sizes[Slot] - 32)) and (Blocks[Slot][I] <> Mark(Slot, I)) then
      Exit(False);
  Result := True;
end;

function RandomSize: PtrUInt;
begin
  { all magnitudes alike, up to 64 KiB }
  Result := 1 + PtrUInt(Random(MaxInt)) mod (PtrUInt(1) shl (1 + Random(16)));
end;

procedure Hammer;
var
  Step, Slot: LongInt;
  Size, Kept: PtrUInt;
  Good, Aligned: Boolean;
  P: Pointer;
begin
  Good := True;
  Aligned := True;
  for Step := 1 to STEPS do
  begin
    Slot := Random(SLOTS);
    if Blocks[Slot] = nil then
    begin
      Sizes[Slot] := RandomSize;
      Blocks[Slot] := ToroGetMem(Sizes[Slot]);
      Fill(Slot);
    end
    else if Random(3) = 0 then
    begin
      Size := RandomSize;
      Kept := Sizes[Slot];
      if Kept > Size then
        Kept := Size;
      P := Blocks[Slot];
      ToroReAllocMem(P, Size);
      Blocks[Slot] := P;
      Good := Good and Intact(Slot, Kept);
      Sizes[Slot] := Size;
      Fill(Slot);
    end
    else
    begin
      Good := Good and Intact(Slot, Sizes[Slot]);
      ToroFreeMem(Blocks[Slot]);
      Blocks[Slot] := nil;
    end;
    Aligned := Aligned and (PtrUInt(Blocks[Slot]) and 15 = 0);
  end;
  for Slot := 0 to SLOTS - 1 do
  begin
    if Blocks[Slot] <> nil then
      Good := Good and Intact(Slot, Sizes[Slot]);
    ToroFreeMem(Blocks[Slot]);
    Blocks[Slot] := nil;
  end;
  Check(Good, 'no block changed another');
  Check(Aligned, 'blocks are aligned to 16');
end;

{ The largest block that can be had, to a MiB. }
function Largest: PtrUInt;
var
  Low, High, Middle: PtrUInt;
  P: Pointer;
begin
  Low := 0;
  High := AvailableMemory shr 20;
  while Low < High do
  begin
    Middle := (Low + High + 1) div 2;
    P := ToroGetMem(Middle shl 20);
    if P <> nil then
      Low := Middle
    else
      High := Middle - 1;
    ToroFreeMem(P);
  end;
  Result := Low shl 20;
end;

procedure Touch(Size: PtrUInt);
var
  P: PByte;
begin
  P := ToroGetMem(Size);
  P[0] := 1;
  P[Size - 1] := 2;
  Check((P[0] = 1) and (P[Size - 1] = 2), 'both ends of the largest block');
  ToroFreeMem(P);
end;

{ Blocks that grow and shrink where they are, and the header behind. }
procedure TestResizing;
var
  P, Behind: Pointer;
  Size: PtrUInt;
begin
  P := ToroGetMem(1000);
  PByte(P)[999] := 9;
  Size := 1000;
  while Size < 4 shl 20 do
  begin
    Size := Size * 3 div 2;
    ToroReAllocMem(P, Size);
  end;
  Check((PByte(P)[999] = 9) and (ToroMemSize(P) >= Size), 'a block grows to any size');
  Behind := P;
  ToroReAllocMem(P, 2000000);
  Check(P = Behind, 'it shrinks where it is');
  Check(CheckHeap = '', 'the heap is healthy');
  ToroFreeMem(P);
end;

procedure TestAlignment;
var
  P: array[4..21] of Pointer;
  Bits: LongInt;
  Good: Boolean;
begin
  Good := True;
  for Bits := Low(P) to High(P) do
  begin
    P[Bits] := ToroGetAlignedMem(100 + Bits, PtrUInt(1) shl Bits);
    Good := Good and (P[Bits] <> nil) and (PtrUInt(P[Bits]) and (PtrUInt(1) shl Bits - 1) = 0);
  end;
  Check(Good, 'blocks at multiples of 16 bytes to 2 MiB');
  Check(CheckHeap = '', 'they leave the heap healthy');
  for Bits := Low(P) to High(P) do
    ToroFreeMem(P[Bits]);
end;

procedure TestPrivateHeaps;
var
  Heap, Top: PXHeap;
  Pieces: array[0..999] of PByte;
  Before: QWord;
  I: LongInt;
  Good: Boolean;

  procedure Cut(From: PXHeap; Size, First, Last: LongInt);
  var
    J: LongInt;
  begin
    for J := First to Last do
    begin
      Pieces[J] := XHeapAlloc(From, Size);
      Good := Good and (Pieces[J] <> nil) and (PtrUInt(Pieces[J]) and 15 = 0);
      FillChar(Pieces[J]^, Size, J);
    end;
  end;

begin
  Before := HeapStatistics.Used;
  Good := True;
  Check(XHeapAcquire(CPU_COUNT) = nil, 'no private heap for a core that is not there');
  Heap := XHeapAcquire(0);
  Cut(Heap, 700, 0, 499);
  Top := XHeapStack(Heap);
  Cut(Top, 50, 500, 997);
  Cut(XHeapStack(Heap), 100000, 998, 999);
  Check(Good, 'pieces of private heaps');
  for I := 0 to 999 do
    Good := Good and (Pieces[I][0] = Byte(I)) and (Pieces[I][49] = Byte(I));
  Check(Good, 'none changed another');
  Check(XHeapUnstack(Heap) = Top, 'the top of the stack is released');
  XHeapStack(Top);
  XHeapRelease(Top);
  Check(XHeapUnstack(Heap) = Heap, 'the bottom stays');
  Pieces[1] := XHeapRealloc(Heap, Pieces[0], 80000);
  Check((Pieces[1][699] = 0) and (XHeapRealloc(Heap, Pieces[1], 70000) = Pieces[1]), 'a piece grows');
  XHeapFree(Heap, Pieces[1]);
  Pieces[1] := XHeapAlloc(Heap, 8);
  XHeapFree(Heap, Pieces[1]);
  Check(XHeapAlloc(Heap, 8) = Pieces[1], 'the last piece makes room');
  Check((XHeapAlloc(Heap, High(PtrUInt)) = nil) and (XHeapAlloc(Heap, AvailableMemory) = nil), 'too large a piece');
  XHeapRelease(Heap);
  Check((CheckHeap = '') and (HeapStatistics.Used = Before), 'a private heap leaves nothing behind');
end;

procedure TestChecker;
var
  P: array[0..2] of PQWord;
  Kept: QWord;
  I: LongInt;
begin
  for I := 0 to 2 do
    P[I] := ToroGetMem(2000);
  Kept := P[1][251];
  P[1][251] := $4141414141414141; { the next header }
  Check(Pos('destroyed header', CheckHeap) > 0, 'the checker sees a write behind a block');
  P[1][251] := Kept;
  ToroFreeMem(P[1]);
  Kept := P[1][0];
  P[1][0] := PtrUInt(P[0]);
  Check(CheckHeap <> '', 'and one to a free block');
  P[1][0] := Kept;
  ToroFreeMem(P[0]);
  ToroFreeMem(P[2]);
  Check(CheckHeap = '', 'and nothing else');
end;

var
  Before: THeapStatistics;
  LargestBefore: PtrUInt;
  P: Pointer;
begin
  LargestBefore := Largest;
  Before := HeapStatistics;
  Hammer;
  Check(CheckHeap = '', 'the heap is healthy after that');
  TestResizing;
  TestAlignment;
  TestPrivateHeaps;
  TestChecker;
  Check(HeapStatistics.Used = Before.Used, 'all that was freed is free');
  Check(Largest = LargestBefore, 'neighbours were merged');
  WriteLn('total ', Before.Total);
  WriteLn('largest ', LargestBefore);
  Touch(LargestBefore);
  Check(ToroGetMem(High(PtrUInt)) = nil, 'an absurd size gives nil');
  P := ToroGetMem(100);
  Check((ToroReAllocMem(P, High(PtrUInt) - 100) = nil) and (P <> nil), 'a failed growth keeps the block');
  P := ToroAllocMem(100000);
  Check((PByte(P)[0] = 0) and (PByte(P)[99999] = 0), 'ToroAllocMem clears');
  { The run-time library's own way ends the program. }
  while True do
    GetMem(1 shl 20);
end.
