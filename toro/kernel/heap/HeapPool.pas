{ All free RAM, shared by the cores under a lock. From here they take large blocks and
  the regions that they cut small ones from, and here they give them back. }
unit HeapPool;

{$mode objfpc}

interface

uses HeapBlocks;

const
  POOL_OWNER = 255; { of blocks; those of a core have its index }

type
  THeapStatistics = record
    Total: QWord;  { bytes of RAM that the heap was given }
    Used: QWord;   { bytes in allocated blocks, headers included }
    Blocks: QWord; { allocated blocks }
  end;

{ A block of WholeSize's Size bytes with its memory at a multiple of Alignment, or nil. }
function TakeShared(Size, Alignment: PtrUInt): PBlock;

{ Gives it back. }
procedure FreeShared(B: PBlock);

{ Makes it Size bytes; False when that is not possible where it is. }
function ResizeShared(B: PBlock; Size: PtrUInt): Boolean;

{ The pool, locked for who looks at it as a whole. }
function LockPool: PBlockHeap;
procedure UnlockPool;

{ How large the regions are that cores take, bytes with the header of their block. }
function RegionSize: PtrUInt; inline;

var
  { What is taken, regions of cores among it; changed in locked state. }
  PoolStatistics: THeapStatistics;

implementation

uses BootInfo, Arch;

const
  REGION_MIN = 64 shl 10;
  REGION_MAX = 1 shl 20;
  { Each core can take so many regions from an even share of memory. }
  REGIONS_A_CORE = 16;

var
  Lock: LongInt;
  Pool: TBlockHeap;
  TheRegionSize: PtrUInt;

function RegionSize: PtrUInt;
begin
  Result := TheRegionSize;
end;

function LockPool: PBlockHeap;
begin
  AcquireLock(Lock);
  Result := @Pool;
end;

procedure UnlockPool;
begin
  ReleaseLock(Lock);
end;

function TakeShared(Size, Alignment: PtrUInt): PBlock;
begin
  AcquireLock(Lock);
  if Alignment <= HEADER then
    Result := TakeBlock(Pool, Size)
  else
    Result := TakeAligned(Pool, Size, Alignment);
  if Result <> nil then
  begin
    Inc(PoolStatistics.Used, BlockSize(Result));
    Inc(PoolStatistics.Blocks);
  end;
  ReleaseLock(Lock);
end;

procedure FreeShared(B: PBlock);
begin
  AcquireLock(Lock);
  Dec(PoolStatistics.Used, BlockSize(B));
  Dec(PoolStatistics.Blocks);
  MergeBlock(Pool, B);
  ReleaseLock(Lock);
end;

function ResizeShared(B: PBlock; Size: PtrUInt): Boolean;
begin
  AcquireLock(Lock);
  Dec(PoolStatistics.Used, BlockSize(B));
  Result := ResizeBlock(Pool, B, Size);
  Inc(PoolStatistics.Used, BlockSize(B));
  ReleaseLock(Lock);
end;

procedure AddFreeMemory(Start, Size: PtrUInt);
begin
  if Size < REGION_OVERHEAD + MIN_SIZE then
    Exit;
  AddRegion(Pool, Start, Size);
  Inc(PoolStatistics.Total, Size);
end;

procedure AddAllMemory;
var
  I: LongInt;
begin
  StartHeap(Pool, POOL_OWNER);
  with TheBootInfo^ do
    for I := 0 to MemoryMapCount - 1 do
      if MemoryMap[I].Kind = MEMORY_FREE then
        AddFreeMemory(MemoryMap[I].Start, MemoryMap[I].Size);
  TheRegionSize := PoolStatistics.Total div (PtrUInt(CPU_COUNT) * REGIONS_A_CORE) and not PtrUInt(4095);
  if TheRegionSize < REGION_MIN then
    TheRegionSize := REGION_MIN;
  if TheRegionSize > REGION_MAX then
    TheRegionSize := REGION_MAX;
end;

initialization
  AddAllMemory;
end.
