{ Memory allocation. Small blocks come from the heap of the core that asks (CoreHeaps), without
  a lock; large ones from the pool of all cores (HeapPool). Any core may free any block. }
unit Memory;

{$mode objfpc}

interface

uses HeapPool;

type
  THeapStatistics = HeapPool.THeapStatistics;

{ Allocate at least Size bytes, aligned to 16; nil if there is no memory. ToroAllocMem zeroes
  them. }
function ToroGetMem(Size: PtrUInt): Pointer;
function ToroAllocMem(Size: PtrUInt): Pointer;

{ The same, aligned to Alignment, a power of two. }
function ToroGetAlignedMem(Size, Alignment: PtrUInt): Pointer;

{ Frees a block. Returns 0, or 1 if P is nil. A block that was freed before is run-time error 204
  (SysUtils: EInvalidPointer), if that can be detected. }
function ToroFreeMem(P: Pointer): Integer;

{ The same; returns the size of the block in bytes, 0 for nil. }
function FreeBlock(P: Pointer): PtrUInt;

{ Resizes a block to Size bytes, moving it if necessary, and returns its new address. If there
  is no memory, returns nil and leaves P unchanged. A Size of 0 frees it. }
function ToroReAllocMem(var P: Pointer; Size: PtrUInt): Pointer;

{ The usable bytes of a block that ToroGetMem returned. }
function ToroMemSize(P: Pointer): PtrUInt;

{ The same, also of a piece of a private heap; 0 for nil. }
function GetPointerSize(P: Pointer): Integer;

{ 2 if P is a piece of a private heap, else 0. }
function IsPrivateHeap(P: Pointer): Byte;

{ ToroFreeMem and ToroReAllocMem of any core's memory, which is all that there is; NumaReAllocMem
  returns the new address alone. }
function NumaFreeMem(P: Pointer): Integer;
function NumaReAllocMem(P: Pointer; NewSize: PtrUInt): Pointer;

{ Bytes of the heap, divided by the cores, which share it. }
function MemoryPerCpu: PtrUInt;

{ Raises the run-time library's error for lack of memory, 203 (SysUtils: EOutOfMemory). }
procedure OutOfMemory;

var
  { Frees memory that is kept for speed alone, Size bytes if it can. False: there is none. }
  GiveBackMemory: function(Size: PtrUInt): Boolean;

{ Sums over all cores, which go on allocating meanwhile. A freed block counts as used until its
  core has taken it back. }
function HeapStatistics: THeapStatistics;

{ Whether the Size bytes at Add are cached, and uncached. RAM is cached, the devices' part of
  the address space is not, and ring 3 can change neither. }
function SysCacheRegion(Add: Pointer; Size: PtrUInt): Boolean;
function SysUnCacheRegion(Add: Pointer; Size: PtrUInt): Boolean;

{ ---- Private heaps (XHeaps), each of one thread ---- }

type
  PXHeap = ^TXHeap;
  TXHeap = record end;

{ Creates a heap for a thread of core CPU; nil: no such core, or no memory. Releasing it frees
  all its pieces, and the heaps stacked on it. }
function XHeapAcquire(CPU: Byte): PXHeap; external name 'XHeapAcquire';
procedure XHeapRelease(Heap: PXHeap); external name 'XHeapRelease';

{ Allocates a piece of at least Size bytes, aligned to 16; nil if there is no memory. }
function XHeapAlloc(Heap: PXHeap; Size: PtrUInt): Pointer; external name 'XHeapAlloc';

{ Frees a piece before the heap is released. Only a large piece, or the one allocated last,
  makes room by that. }
procedure XHeapFree(Heap: PXHeap; P: Pointer); external name 'XHeapFree';

{ Returns a piece with the contents of P and room for NewSize bytes, possibly P itself; nil,
  with P unchanged, if there is no memory. P may be nil; a NewSize of 0 frees it. }
function XHeapRealloc(Heap: PXHeap; P: Pointer; NewSize: PtrUInt): Pointer; external name 'XHeapRealloc';

{ XHeapStack creates a heap on top of the stack that Heap belongs to; nil if there is no memory.
  XHeapUnstack releases the top heap and returns the one below it; the bottom one stays. }
function XHeapStack(Heap: PXHeap): PXHeap; external name 'XHeapStack';
function XHeapUnstack(Heap: PXHeap): PXHeap; external name 'XHeapUnstack';

const
  PIECE_MARK = 9; { in the header of a piece: FLAG_FREE and FLAG_KEPT, of which no block has both }

var
  { How many private heaps there are, and have ever been. }
  XHeapStatsCurrent: Integer = 0;
  XHeapStatsTotal: Integer = 0;
  { The memory that they have: pieces of it now and at most at a time, and bytes; those ever taken. }
  XHeapStatsCurrentVirtualAllocCount: Integer = 0;
  XHeapStatsCurrentVirtualAllocSize: Int64 = 0;
  XHeapStatsMaxVirtualAllocCount: Integer = 0;
  XHeapStatsTotalVirtualAllocCount: Integer = 0;
  XHeapStatsTotalVirtualAllocSize: Int64 = 0;
  { What was allocated from those that were released: pieces, and bytes. }
  XHeapStatsTotalCount: Int64 = 0;
  XHeapStatsTotalSize: Int64 = 0;

implementation

uses BootInfo, Arch, HeapBlocks, CoreHeaps;

const
  { Run-time errors }
  OUT_OF_MEMORY = 203;
  INVALID_POINTER = 204;

procedure HandleError(ErrorCode: LongInt); external name 'FPC_HANDLEERROR';

procedure OutOfMemory;
begin
  HandleError(OUT_OF_MEMORY);
end;

function HeaderOf(P: Pointer): PBlock; inline;
begin
  Result := PBlock(PtrUInt(P) - HEADER);
end;

function MemoryOf(B: PBlock): Pointer; inline;
begin
  Result := nil;
  if B <> nil then
    Result := Pointer(PtrUInt(B) + HEADER);
end;

{ A block of the pool; nil if no core can return that much to it. }
function TakeLarge(Size, Alignment: PtrUInt): PBlock;
begin
  Result := TakeShared(Size, Alignment);
  if Result = nil then
  begin
    ReportShortage;
    Result := TakeShared(Size, Alignment);
  end;
  while (Result = nil) and (GiveBackMemory <> nil) and GiveBackMemory(Size) do
    Result := TakeShared(Size, Alignment);
end;

{ Adds a region with room for a block of Size bytes to this core's heap. }
function Grow(Heap: PCoreHeap; Size: PtrUInt): Boolean;
var
  B: PBlock;
begin
  B := TakeShared(RegionSize, HEADER);
  if B = nil then
    B := TakeLarge(Size + HEADER + REGION_OVERHEAD, HEADER);
  Result := B <> nil;
  if Result then
    AddMemory(Heap, B);
end;

function TakeSmall(Heap: PCoreHeap; Size, Alignment: PtrUInt): PBlock;
begin
  if Alignment <= HEADER then
    Result := TakeBlock(Heap^.Blocks, Size)
  else
    Result := TakeAligned(Heap^.Blocks, Size, Alignment);
end;

{ Allocates a block; Size is a WholeSize. The size decides where it comes from. }
function FindBlock(Size, Alignment: PtrUInt): PBlock;
var
  Heap: PCoreHeap;
  Room: PtrUInt;
  First: PBlock;
begin
  Room := Size;
  if Alignment > HEADER then
    Inc(Room, Alignment + MIN_SIZE);
  if Room > RegionSize div 4 then
    Exit(TakeLarge(Size, Alignment));
  Heap := ThisHeap;
  if Heap = nil then
  begin
    First := TakeLarge(RegionSize, HEADER);
    if First = nil then
      Exit(nil);
    Heap := StartCoreHeap(First);
  end;
  TakeReturned(Heap);
  HelpOut(Heap);
  Result := TakeSmall(Heap, Size, Alignment);
  if (Result = nil) and Grow(Heap, Room) then
    Result := TakeSmall(Heap, Size, Alignment);
  if Result <> nil then
  begin
    Inc(Heap^.Used, BlockSize(Result));
    Inc(Heap^.Count);
  end;
end;

function ToroGetMem(Size: PtrUInt): Pointer;
var
  Heap: PCoreHeap;
  Kept: PKept;
  B: PBlock;
begin
  if Size > MAX_REQUEST then
    Exit(nil);
  Size := WholeSize(Size);
  Heap := ThisHeap;
  if (Size <= KEPT_SIZE) and (Heap <> nil) then
  begin
    Kept := @Heap^.Kept[Size div 16];
    B := Kept^.First;
    if B <> nil then
    begin
      Kept^.First := B^.Next;
      Dec(Kept^.Bytes, Size);
      B^.Info := B^.Info and not QWord(FLAG_KEPT);
      Inc(Heap^.Used, Size);
      Inc(Heap^.Count);
      Exit(Pointer(PtrUInt(B) + HEADER));
    end;
  end;
  Result := MemoryOf(FindBlock(Size, HEADER));
end;

function ToroGetAlignedMem(Size, Alignment: PtrUInt): Pointer;
begin
  if (Size > MAX_REQUEST) or (Alignment > MAX_REQUEST div 4) then
    Exit(nil);
  Result := MemoryOf(FindBlock(WholeSize(Size), Alignment));
end;

function ToroAllocMem(Size: PtrUInt): Pointer;
begin
  Result := ToroGetMem(Size);
  if Result <> nil then
    FillChar(Result^, Size, 0);
end;

function FreeBlock(P: Pointer): PtrUInt;
var
  B: PBlock;
  Core: PCore;
begin
  if P = nil then
    Exit(0);
  B := HeaderOf(P);
  if B^.Info and (FLAG_FREE or FLAG_KEPT) <> 0 then
    HandleError(INVALID_POINTER);
  Result := BlockSize(B);
  Core := ThisCore;
  if B^.Info shr OWNER_SHIFT = Core^.Index then
    FreeOwn(Core^.Heap, B)
  else
    FreeForeign(B);
end;

function ToroFreeMem(P: Pointer): Integer;
begin
  Result := Ord(P = nil);
  FreeBlock(P);
end;

function ToroMemSize(P: Pointer): PtrUInt;
begin
  Result := BlockSize(HeaderOf(P)) - HEADER;
end;

function IsPrivateHeap(P: Pointer): Byte;
begin
  Result := 0;
  if (P <> nil) and (HeaderOf(P)^.Info and PIECE_MARK = PIECE_MARK) then
    Result := 2;
end;

function GetPointerSize(P: Pointer): Integer;
begin
  if P = nil then
    Result := 0
  else if IsPrivateHeap(P) <> 0 then
    Result := PPtrUInt(HeaderOf(P))^
  else
    Result := ToroMemSize(P);
end;

function NumaFreeMem(P: Pointer): Integer;
begin
  Result := ToroFreeMem(P);
end;

function NumaReAllocMem(P: Pointer; NewSize: PtrUInt): Pointer;
begin
  Result := ToroReAllocMem(P, NewSize);
end;

function MemoryPerCpu: PtrUInt;
begin
  Result := HeapStatistics.Total div PtrUInt(CPU_COUNT);
end;

{ Resizes a block in place, if it belongs to this core or the pool. }
function Resize(B: PBlock; Size: PtrUInt): Boolean;
var
  Old: PtrUInt;
  Heap: PCoreHeap;
begin
  Old := BlockSize(B);
  { Splitting off less than a quarter is not worth it. }
  if (Size <= Old) and (Old - Size <= Old div 4) then
    Exit(True);
  if B^.Info shr OWNER_SHIFT = POOL_OWNER then
    Exit(ResizeShared(B, Size));
  if B^.Info shr OWNER_SHIFT <> GetCoreId then
    Exit(Size <= Old);
  Heap := ThisHeap;
  Result := ResizeBlock(Heap^.Blocks, B, Size);
  Inc(Heap^.Used, BlockSize(B) - Old);
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
  if Size > MAX_REQUEST then
    Exit(nil);
  if Resize(HeaderOf(P), WholeSize(Size)) then
    Exit(P);
  Result := ToroGetMem(Size);
  if Result = nil then
    Exit;
  Old := ToroMemSize(P);
  if Old > Size then
    Old := Size;
  Move(P^, Result^, Old);
  ToroFreeMem(P);
  P := Result;
end;

function HeapStatistics: THeapStatistics;
var
  I: LongInt;
  Heap: PCoreHeap;
begin
  LockPool;
  Result := PoolStatistics;
  UnlockPool;
  for I := 0 to CPU_COUNT - 1 do
  begin
    Heap := CoreAt(I)^.Heap;
    if Heap = nil then
      Continue;
    { A core's regions are used blocks of the pool: count what is used in them instead. }
    Inc(Result.Used, Heap^.Used - Heap^.Taken);
    Inc(Result.Blocks, Heap^.Count - Heap^.TakenCount);
  end;
end;

function SysCacheRegion(Add: Pointer; Size: PtrUInt): Boolean;
begin
  Result := (PtrUInt(Add) + Size <= MMIO_START) or (PtrUInt(Add) >= MMIO_END);
end;

function SysUnCacheRegion(Add: Pointer; Size: PtrUInt): Boolean;
begin
  Result := (PtrUInt(Add) >= MMIO_START) and (PtrUInt(Add) + Size <= MMIO_END);
end;

end.
