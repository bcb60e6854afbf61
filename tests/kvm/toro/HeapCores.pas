{ The heap on all cores at once: each core's own blocks, blocks that other cores free,
  and the end of memory. }
program HeapCores;

{$mode objfpc}

uses
  Checks, Arch, HeapCheck, Memory, Process;

const
  STEPS = 60000; { of all cores together }
  SLOTS = 256;
  RING = 64;
  BLOCK = 4000; { bytes of those that fill memory }

type
  { What all test blocks begin with; the rest is bytes of Seed. }
  PItem = ^TItem;
  TItem = record
    Next: PItem;
    Size: LongWord; { of the whole }
    Seed: Byte;
  end;

  TRing = record
    Items: array[0..RING - 1] of PItem;
    Written, Read: LongWord;
  end;

var
  Shared: array[0..SLOTS - 1] of PItem;
  Rings: array[0..MAX_CPU - 1] of TRing;
  Bad, Unhealthy: LongInt;
  Chain: PItem;

function NextRandom(var State: LongWord): LongWord;
begin
  State := State * 1664525 + 1013904223;
  Result := State shr 8;
end;

{ All magnitudes alike, up to 32 KiB. }
function NewItem(var State: LongWord): PItem;
var
  Size, Seed: LongWord;
begin
  Size := SizeOf(TItem) + NextRandom(State) mod (LongWord(1) shl (1 + NextRandom(State) mod 15));
  Seed := NextRandom(State);
  Result := ToroGetMem(Size);
  if Result = nil then
    Exit;
  Result^.Size := Size;
  Result^.Seed := Byte(Seed);
  FillChar(Pointer(Result + 1)^, Size - SizeOf(TItem), Byte(Seed));
end;

procedure Verify(Item: PItem; Size: LongWord);
var
  P: PByte;
  I: LongWord;
begin
  P := PByte(Item + 1);
  for I := SizeOf(TItem) + 1 to Size do
  begin
    if P^ <> Item^.Seed then
    begin
      InterlockedIncrement(Bad);
      Exit;
    end;
    Inc(P);
  end;
end;

procedure Drop(Item: PItem);
begin
  if Item = nil then
    Exit;
  Verify(Item, Item^.Size);
  ToroFreeMem(Item);
end;

procedure CheckHere;
begin
  if CheckHeap <> '' then
  begin
    InterlockedIncrement(Unhealthy);
    WriteLn(CheckHeap);
  end;
end;

{ Runs Work(core) on all cores, and waits for them. }
procedure OnAllCores(Work: TThreadFunc);
var
  IDs: array of TThreadID;
  I: LongInt;
begin
  SetLength(IDs, CPU_COUNT);
  for I := 0 to High(IDs) do
    BeginThread(nil, 65536, Work, Pointer(PtrInt(I)), I, IDs[I]);
  for I := 0 to High(IDs) do
    WaitForThreadTerminate(IDs[I], 0);
end;

{ ---- Own blocks ---- }

procedure Resize(var Item: PItem; var State: LongWord);
var
  P: Pointer;
  Size, Kept: LongWord;
begin
  Size := SizeOf(TItem) + NextRandom(State) mod 5000;
  Kept := Item^.Size;
  if Kept > Size then
    Kept := Size;
  P := Item;
  if ToroReAllocMem(P, Size) = nil then
    Exit;
  Item := P;
  Verify(Item, Kept);
  Item^.Size := Size;
  FillChar(Pointer(Item + 1)^, Size - SizeOf(TItem), Item^.Seed);
end;

function UseOwn(Core: Pointer): PtrInt;
var
  Items: array[0..SLOTS - 1] of PItem;
  State: LongWord;
  I, Slot: LongInt;
begin
  State := PtrUInt(Core) + 1;
  FillChar(Items, SizeOf(Items), 0);
  for I := 1 to STEPS div CPU_COUNT do
  begin
    Slot := NextRandom(State) mod SLOTS;
    if Items[Slot] = nil then
      Items[Slot] := NewItem(State)
    else if NextRandom(State) mod 3 = 0 then
      Resize(Items[Slot], State)
    else
    begin
      Drop(Items[Slot]);
      Items[Slot] := nil;
    end;
    if I mod 4096 = 0 then
      CheckHere;
  end;
  for Slot := 0 to SLOTS - 1 do
    Drop(Items[Slot]);
  CheckHere;
  Result := 0;
end;

{ ---- Blocks that go from core to core ---- }

function Exchange(Core: Pointer): PtrInt;
var
  State: LongWord;
  I: LongInt;
begin
  State := PtrUInt(Core) + 99;
  for I := 1 to STEPS div CPU_COUNT do
  begin
    Drop(InterlockedExchange(Pointer(Shared[NextRandom(State) mod SLOTS]), NewItem(State)));
    if I mod 4096 = 0 then
      SysThreadSwitch;
  end;
  CheckHere;
  Result := 0;
end;

{ From each core to the next one, in the order that they were allocated. }
function Produce(Core: Pointer): PtrInt;
var
  State: LongWord;
  I: LongInt;
begin
  State := PtrUInt(Core) + 5;
  with Rings[PtrUInt(Core)] do
    for I := 1 to STEPS div CPU_COUNT do
    begin
      while Written - Read = RING do
        SysThreadSwitch;
      Items[Written mod RING] := NewItem(State);
      Inc(Written);
    end;
  Result := 0;
end;

function Consume(Core: Pointer): PtrInt;
var
  I: LongInt;
begin
  with Rings[(PtrUInt(Core) + PtrUInt(CPU_COUNT) - 1) mod PtrUInt(CPU_COUNT)] do
    for I := 1 to STEPS div CPU_COUNT do
    begin
      while Written = Read do
        SysThreadSwitch;
      Drop(Items[Read mod RING]);
      Inc(Read);
    end;
  CheckHere;
  Result := 0;
end;

function ProduceAndConsume(Core: Pointer): PtrInt;
var
  ID: TThreadID;
begin
  BeginThread(nil, 65536, @Produce, Core, PtrUInt(Core), ID);
  Consume(Core);
  WaitForThreadTerminate(ID, 0);
  Result := 0;
end;

{ ---- The end of memory ---- }

{ Adds blocks to a chain until there is no memory; returns how many bytes. }
function Fill(var First: PItem): QWord;
var
  Item: PItem;
begin
  Result := 0;
  repeat
    Item := ToroGetMem(BLOCK);
    if Item = nil then
      Exit;
    Item^.Next := First;
    First := Item;
    Inc(Result, BLOCK);
  until False;
end;

procedure Empty(var First: PItem);
var
  Item: PItem;
begin
  while First <> nil do
  begin
    Item := First;
    First := Item^.Next;
    ToroFreeMem(Item);
  end;
end;

function FillAll(Core: Pointer): PtrInt;
begin
  Result := Fill(Chain);
end;

function FillAndEmpty(Core: Pointer): PtrInt;
var
  Mine: PItem;
  I: LongInt;
begin
  for I := 1 to 3 do
  begin
    Mine := nil;
    Fill(Mine);
    CheckHere;
    Empty(Mine);
  end;
  CheckHere;
  Result := 0;
end;

{ How many bytes there are, in blocks of BLOCK. }
function Room: QWord;
var
  First: PItem;
begin
  First := nil;
  Result := Fill(First);
  Empty(First);
end;

{ Whether there is so much when the other cores have come to a halt. }
function HasRoomSoon(Size: QWord): Boolean;
var
  I: LongInt;
begin
  for I := 1 to 1000 do
  begin
    if Room >= Size then
      Exit(True);
    Sleep(1);
  end;
  Result := False;
end;

procedure TestShortage(Most: QWord);
var
  ID: TThreadID;
begin
  Check(HasRoomSoon(Most), 'other cores give back what they do not use');
  { Another core takes all memory in small blocks, and halts. }
  BeginThread(nil, 65536, @FillAll, nil, CPU_COUNT - 1, ID);
  Check(WaitForThreadTerminate(ID, 0) >= Most, 'a core can have nearly all memory');
  Check(Room < Most div 4, 'then there is next to none');
  Empty(Chain);
  Check(HasRoomSoon(Most), 'what is freed here comes back from there');
  OnAllCores(@FillAndEmpty);
  Check(HasRoomSoon(Most), 'all cores at once at the end of memory');
end;

var
  Before: THeapStatistics;
  I: LongInt;
begin
  Before := HeapStatistics;
  OnAllCores(@UseOwn);
  OnAllCores(@Exchange);
  for I := 0 to SLOTS - 1 do
    Drop(Shared[I]);
  OnAllCores(@ProduceAndConsume);
  Check(Bad = 0, 'no block changed another');
  TestShortage(AvailableMemory div 10 * 7);
  Check(Unhealthy = 0, 'the heap is healthy on all cores');
  { Stacks and what a thread leaves behind stay. }
  Check(HeapStatistics.Blocks - Before.Blocks < 200, 'all that was freed is free');
  CheckHere;
end.
