{ Memory for the stacks of threads, each with a guard page below it.

  Stacks are cut from regions of 2 MiB that the nucleus maps in 4 KiB pages, one
  size a region, so that a guard page stays where it is for ever. A stack that is
  given back waits for the next thread of its size; it does not return to the heap.
  A stack larger than a region has one of its own in front.

      guard | stack, grows down ...           | TStack }
unit ThreadStacks;

{$mode objfpc}

interface

type
  { What is known of a stack, at its upper end. }
  PStack = ^TStack;
  TStack = record
    Next: PStack;
    Guard, Low: PtrUInt; { the lowest address that faults, and that does not }
    Size: PtrUInt;       { from Guard to the next stack }
    Split: LongInt;      { number of the split that made its guard }
    Reserved: array[0..2] of QWord; { what follows belongs to the heap }
  end;

{ A stack of at least Size bytes; nil when there is no memory. Its upper end is
  where the result points to. }
function AcquireStack(Size: PtrUInt): PStack;

{ Gives a stack back. Nobody may run on it. }
procedure ReleaseStack(Stack: PStack);

{ Makes this core see the guard page of a stack, which another core may have made.
  Seen is the core's own, and remembers how many splits it has seen. }
procedure SeeGuards(Stack: PStack; var Seen: LongInt);

implementation

uses Arch, Memory;

const
  STEP = 32768;      { sizes are multiples of it }
  CLASSES = REGION_SIZE div STEP;
  TABLES = 2 * 4096; { what SplitRegion takes of a region }
  HEAP_HEADER = 16;  { so that the next region can lie behind it }

var
  Lock: LongInt;
  { By size: stacks given back, and a region that is not cut up yet }
  Free: array[1..CLASSES] of PStack;
  Fresh, FreshEnd: array[1..CLASSES] of PtrUInt;
  FreeLarge: PStack; { larger than a region }
  Splits: LongInt;

{ Memory whose first region has guards every Size bytes, or nil. }
function NewRegion(Bytes, Size: PtrUInt): PtrUInt;
var
  Region: PPtrUInt;
begin
  Region := ToroGetAlignedMem(Bytes - HEAP_HEADER, REGION_SIZE);
  if Region <> nil then
  begin
    { KVM may not know these pages yet; here that costs less than in ring 0. }
    Region[0] := 0;
    Region[512] := 0;
    if not SplitRegion(Region, Size div 4096) then
    begin
      ToroFreeMem(Region);
      Region := nil;
    end
    else
      Inc(Splits);
  end;
  Result := PtrUInt(Region);
end;

function NewStack(Guard, Low, Size: PtrUInt): PStack;
begin
  Result := PStack(Guard + Size - SizeOf(TStack));
  Result^.Guard := Guard;
  Result^.Low := Low;
  Result^.Size := Size;
  Result^.Split := Splits;
end;

function TakeSmall(Size: PtrUInt): PStack;
var
  Kind, Region: PtrUInt;
begin
  Kind := Size div STEP;
  Result := Free[Kind];
  if Result <> nil then
  begin
    Free[Kind] := Result^.Next;
    Exit;
  end;
  if Fresh[Kind] + Size > FreshEnd[Kind] then
  begin
    Region := NewRegion(REGION_SIZE, Size);
    if Region = 0 then
      Exit(nil);
    Fresh[Kind] := Region;
    FreshEnd[Kind] := Region + REGION_SIZE;
    Result := NewStack(Region, Region + TABLES, Size);
  end
  else
    Result := NewStack(Fresh[Kind], Fresh[Kind] + GUARD_SIZE, Size);
  Inc(Fresh[Kind], Size);
end;

function TakeLarge(Size: PtrUInt): PStack;
var
  Link: ^PStack;
  Region: PtrUInt;
begin
  Link := @FreeLarge;
  while (Link^ <> nil) and ((Link^^.Size < Size) or (Link^^.Size > 2 * Size)) do
    Link := @Link^^.Next;
  Result := Link^;
  if Result <> nil then
    Link^ := Result^.Next
  else
  begin
    Region := NewRegion(Size, REGION_SIZE);
    if Region <> 0 then
      Result := NewStack(Region, Region + TABLES, Size);
  end;
end;

function AcquireStack(Size: PtrUInt): PStack;
begin
  if Size > AvailableMemory then
    Exit(nil);
  Size := (Size + TABLES + SizeOf(TStack) + STEP - 1) div STEP * STEP;
  AcquireLock(Lock);
  if Size <= REGION_SIZE then
    Result := TakeSmall(Size)
  else
    Result := TakeLarge(Size);
  ReleaseLock(Lock);
end;

procedure ReleaseStack(Stack: PStack);
var
  List: ^PStack;
begin
  if Stack^.Size <= REGION_SIZE then
    List := @Free[Stack^.Size div STEP]
  else
    List := @FreeLarge;
  AcquireLock(Lock);
  Stack^.Next := List^;
  List^ := Stack;
  ReleaseLock(Lock);
end;

procedure SeeGuards(Stack: PStack; var Seen: LongInt);
begin
  if Stack^.Split > Seen then
  begin
    Seen := InterlockedExchangeAdd(Splits, 0);
    ForgetPageTables;
  end;
end;

end.
