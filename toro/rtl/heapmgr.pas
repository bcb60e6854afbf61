{ Makes Toro's heap the memory manager of FPC's run-time library. Replaces FPC's unit of this
  name for bare machines. }
unit heapmgr;

{$mode objfpc}

interface

implementation

uses Memory;

function HeapGetMem(Size: PtrUInt): Pointer;
begin
  Result := ToroGetMem(Size);
  if (Result = nil) and not ReturnNilIfGrowHeapFails then
    OutOfMemory;
end;

function HeapFreeMemSize(P: Pointer; Size: PtrUInt): PtrUInt;
begin
  if Size = 0 then
    Result := 0
  else
    Result := FreeBlock(P);
end;

function HeapAllocMem(Size: PtrUInt): Pointer;
begin
  Result := HeapGetMem(Size);
  if Result <> nil then
    FillChar(Result^, Size, 0);
end;

function HeapReAllocMem(var P: Pointer; Size: PtrUInt): Pointer;
begin
  Result := ToroReAllocMem(P, Size);
  if (Result = nil) and (Size > 0) and not ReturnNilIfGrowHeapFails then
    OutOfMemory;
end;

function HeapStatus: THeapStatus;
begin
  Result := Default(THeapStatus);
  with HeapStatistics do
  begin
    Result.TotalAddrSpace := Total;
    Result.TotalAllocated := Used;
    Result.TotalFree := Total - Used;
  end;
end;

function HeapStatusFPC: TFPCHeapStatus;
begin
  Result := Default(TFPCHeapStatus);
  with HeapStatistics do
  begin
    Result.MaxHeapSize := Total;
    Result.CurrHeapSize := Total;
    Result.CurrHeapUsed := Used;
    Result.CurrHeapFree := Total - Used;
  end;
end;

const
  Manager: TMemoryManager = (
    NeedLock: False;
    GetMem: @HeapGetMem;
    FreeMem: @FreeBlock;
    FreeMemSize: @HeapFreeMemSize;
    AllocMem: @HeapAllocMem;
    ReAllocMem: @HeapReAllocMem;
    MemSize: @ToroMemSize;
    InitThread: nil;
    DoneThread: nil;
    RelocateHeap: nil;
    GetHeapStatus: @HeapStatus;
    GetFPCHeapStatus: @HeapStatusFPC;
  );

initialization
  SetMemoryManager(Manager);
end.
