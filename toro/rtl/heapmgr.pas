{ The heap of FPC's run-time library: Toro's. FPC's system unit calls these routines by their
  public names (system/sysheap.inc). }
unit heapmgr;

{$mode objfpc}

interface

implementation

uses Memory;

function HeapGetMem(Size: PtrUInt): Pointer; public name 'toro_getmem';
begin
  Result := ToroGetMem(Size);
  if (Result = nil) and not ReturnNilIfGrowHeapFails then
    OutOfMemory;
end;

function HeapFreeMem(P: Pointer): PtrUInt; public name 'toro_freemem';
begin
  Result := FreeBlock(P);
end;

function HeapFreeMemSize(P: Pointer; Size: PtrUInt): PtrUInt; public name 'toro_freememsize';
begin
  if Size = 0 then
    Result := 0
  else
    Result := FreeBlock(P);
end;

function HeapAllocMem(Size: PtrUInt): Pointer; public name 'toro_allocmem';
begin
  Result := HeapGetMem(Size);
  if Result <> nil then
    FillChar(Result^, Size, 0);
end;

function HeapReAllocMem(var P: Pointer; Size: PtrUInt): Pointer; public name 'toro_reallocmem';
begin
  Result := ToroReAllocMem(P, Size);
  if (Result = nil) and (Size > 0) and not ReturnNilIfGrowHeapFails then
    OutOfMemory;
end;

{ Whether a block has room for Size bytes where it is. }
function HeapTryResizeMem(var P: Pointer; Size: PtrUInt): Boolean; public name 'toro_tryresizemem';
begin
  Result := (P <> nil) and (Size > 0) and (ToroMemSize(P) >= Size);
end;

function HeapMemSize(P: Pointer): PtrUInt; public name 'toro_memsize';
begin
  Result := ToroMemSize(P);
end;

function HeapStatus: THeapStatus; public name 'toro_heapstatus';
begin
  Result := Default(THeapStatus);
  with HeapStatistics do
  begin
    Result.TotalAddrSpace := Total;
    Result.TotalAllocated := Used;
    Result.TotalFree := Total - Used;
  end;
end;

function HeapStatusFPC: TFPCHeapStatus; public name 'toro_fpcheapstatus';
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

end.
