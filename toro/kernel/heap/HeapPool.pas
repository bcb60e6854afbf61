{ The pool: all free RAM, shared by the cores under a lock. Cores take large blocks from it, and
  the regions that they cut small blocks from. }
unit HeapPool;

{$mode objfpc}

interface

uses HeapBlocks;

const
  POOL_OWNER = 255; { the owner of the pool's blocks; a core's blocks have its index }

type
  THeapStatistics = record
    Total: QWord;  { bytes of RAM in the heap }
    Used: QWord;   { bytes in allocated blocks, including their headers }
    Blocks: QWord; { number of allocated blocks }
  end;

{ Fills the pool. To be called first: FPC's library allocates before the units of the kernel are
  initialized. }
procedure StartPool;

{ Allocates a block of Size bytes (a WholeSize), with its memory at a multiple of Alignment;
  nil: no memory. }
function TakeShared(Size, Alignment: PtrUInt): PBlock;

{ Frees a block. }
procedure FreeShared(B: PBlock);

{ Resizes a block in place. False: not possible. }
function ResizeShared(B: PBlock; Size: PtrUInt): Boolean;

{ Lock the pool for a walk through it, and unlock it. }
function LockPool: PBlockHeap;
procedure UnlockPool;

{ Bytes of the regions that cores take, including the block header. }
function RegionSize: PtrUInt; inline;

var
  { What is allocated, including the cores' regions. Changed under the lock. }
  PoolStatistics: THeapStatistics;

implementation

uses BootInfo, Arch;

const
  REGION_MIN = 64 shl 10;
  REGION_MAX = 1 shl 20;
  { The size of a region is chosen so that an even share of memory holds this many. }
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

procedure StartPool;
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

end.
