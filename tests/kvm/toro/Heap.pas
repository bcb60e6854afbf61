{ The memory manager: contents, alignment, merging, all of RAM, and its end. }
program Heap;

{$mode objfpc}

uses
  Checks, Arch, Memory;

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

var
  Before: THeapStatistics;
  LargestBefore: PtrUInt;
  P: Pointer;
begin
  LargestBefore := Largest;
  Before := HeapStatistics;
  Hammer;
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
