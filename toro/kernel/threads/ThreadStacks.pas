{ Stacks of threads, each with a guard page below it.

  Stacks are cut from 2 MiB regions that the nucleus maps by 4 KiB pages. A region has stacks of
  one size, so its guard pages never move. A stack that is released is reused for a thread of
  the same size; it does not return to the heap. A stack larger than a region is memory of its
  own, with a split region at its lower end.

      guard | stack, grows down ...           | TStack }
unit ThreadStacks;

{$mode objfpc}

interface

type
  { Header of a stack, at its upper end. }
  PStack = ^TStack;
  TStack = record
    Next: PStack;
    Guard, Low: PtrUInt; { lowest address of the guard page, and of the stack }
    Size: PtrUInt;       { bytes from Guard to the next stack }
    Split: LongInt;      { value of Splits when the guard page was made }
    Reserved: array[0..2] of QWord; { the heap's next block header is in the last 16 bytes }
  end;

{ A stack of at least Size bytes, whose upper end the result points to; nil: no memory. }
function AcquireStack(Size: PtrUInt): PStack;

{ Releases a stack, on which no core may run. }
procedure ReleaseStack(Stack: PStack);

{ Makes this core see the guard page of a stack that another core may have split off. Seen
  belongs to the core, and is the number of splits that it has seen. }
procedure SeeGuards(Stack: PStack; var Seen: LongInt);

implementation

uses Arch, Memory;

const
  STEP = 32768;      { sizes are multiples of this }
  CLASSES = REGION_SIZE div STEP;
  TABLES = 2 * 4096; { bytes of a region that become page tables }
  HEAP_HEADER = 16;  { leaves room for the header of the heap's next block }

var
  Lock: LongInt;
  { By size: released stacks, and a region that is not used up }
  Free: array[1..CLASSES] of PStack;
  Fresh, FreshEnd: array[1..CLASSES] of PtrUInt;
  FreeLarge: PStack; { stacks larger than a region }
  Splits: LongInt;

{ Allocates memory whose first region has a guard page every Size bytes; 0: no memory. }
function NewRegion(Bytes, Size: PtrUInt): PtrUInt;
var
  Region: PPtrUInt;
begin
  Region := ToroGetAlignedMem(Bytes - HEAP_HEADER, REGION_SIZE);
  if Region <> nil then
  begin
    { Touches both pages, which KVM may not have mapped yet: cheaper here than in ring 0. }
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
