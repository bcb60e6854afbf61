{ Private heaps, for many small pieces that are freed together. A piece is cut from the end of a
  chunk, so allocation takes a few instructions. Stacked heaps suit allocations that are freed
  in reverse order.

  A heap is used by one thread and has no lock. Memory.pas declares these routines and describes
  them. }
unit XHeaps;

{$mode objfpc}

interface

implementation

uses Arch, Memory;

const
  ALIGN = 16;
  FIRST_CHUNK = 4096;
  LARGEST_CHUNK = 1 shl 20;
  LARGE = 65536; { bytes from which a piece gets memory of its own }
  MAX_SIZE = PtrUInt(1) shl 40;

type
  { Header of a chunk or of a large piece. }
  PChunk = ^TChunk;
  TChunk = record
    Next, Previous: PChunk;
  end;

  { Header of a piece. }
  PPiece = ^TPiece;
  TPiece = record
    Size: PtrUInt;  { bytes of the piece }
    Info: PtrUInt;  { address of a large piece's own chunk, 0 for others; and PIECE_MARK }
  end;

  PHeap = ^THeap;
  THeap = record
    Root: PHeap;    { the bottom of its stack, possibly itself }
    Below: PHeap;   { the heap that it is stacked on; nil for the bottom }
    Top: PHeap;     { valid in Root: the top of the stack }
    Chunks: PChunk; { pieces are cut from the first one }
    Larges: PChunk;
    At, Limit: PtrUInt; { the unused part of the first chunk }
    ChunkSize: PtrUInt; { bytes of the newest chunk }
    Count, Bytes: Int64; { pieces that were allocated }
  end;

{$if SizeOf(TPiece) mod ALIGN <> 0}
  {$error a piece is not aligned}
{$endif}

{ ---- Statistics ---- }

procedure CountChunk(Size: Int64);
begin
  InterlockedExchangeAdd64(XHeapStatsCurrentVirtualAllocSize, Size);
  if Size < 0 then
    InterlockedDecrement(XHeapStatsCurrentVirtualAllocCount)
  else
  begin
    InterlockedIncrement(XHeapStatsTotalVirtualAllocCount);
    InterlockedExchangeAdd64(XHeapStatsTotalVirtualAllocSize, Size);
    if InterlockedIncrement(XHeapStatsCurrentVirtualAllocCount) > XHeapStatsMaxVirtualAllocCount then
      XHeapStatsMaxVirtualAllocCount := XHeapStatsCurrentVirtualAllocCount;
  end;
end;

{ ---- Heaps ---- }

{ Creates an empty heap, on the stack of Root unless that is nil. }
function Acquire(Root: PHeap): PHeap;
begin
  Result := ToroAllocMem(SizeOf(THeap));
  if Result = nil then
    Exit;
  InterlockedIncrement(XHeapStatsCurrent);
  InterlockedIncrement(XHeapStatsTotal);
  Result^.ChunkSize := FIRST_CHUNK div 2;
  if Root = nil then
    Root := Result;
  Result^.Root := Root;
  Result^.Below := Root^.Top;
  Root^.Top := Result;
end;

procedure FreeChunks(var First: PChunk);
var
  Chunk: PChunk;
begin
  while First <> nil do
  begin
    Chunk := First;
    First := Chunk^.Next;
    CountChunk(-Int64(ToroMemSize(Chunk)));
    ToroFreeMem(Chunk);
  end;
end;

{ Allocates a chunk of Size bytes and puts it first in a list; nil: no memory. }
function AddChunk(var First: PChunk; Size: PtrUInt): PChunk;
begin
  Result := ToroGetMem(Size);
  if Result = nil then
    Exit;
  CountChunk(ToroMemSize(Result));
  Result^.Next := First;
  Result^.Previous := nil;
  if First <> nil then
    First^.Previous := Result;
  First := Result;
end;

procedure RemoveChunk(var First: PChunk; Chunk: PChunk);
begin
  if Chunk^.Next <> nil then
    Chunk^.Next^.Previous := Chunk^.Previous;
  if Chunk^.Previous <> nil then
    Chunk^.Previous^.Next := Chunk^.Next
  else
    First := Chunk^.Next;
end;

function PieceOf(P: Pointer): PPiece; inline;
begin
  Result := PPiece(P) - 1;
end;

function ChunkOf(Piece: PPiece): PChunk; inline;
begin
  Result := PChunk(Piece^.Info and not PtrUInt(PIECE_MARK));
end;

function AllocLarge(Heap: PHeap; Size: PtrUInt): Pointer;
var
  Chunk: PChunk;
  Piece: PPiece;
begin
  Chunk := AddChunk(Heap^.Larges, SizeOf(TChunk) + SizeOf(TPiece) + Size);
  if Chunk = nil then
    Exit(nil);
  Piece := PPiece(Chunk + 1);
  Piece^.Size := Size;
  Piece^.Info := PtrUInt(Chunk) or PIECE_MARK;
  Result := Piece + 1;
end;

{ Adds a chunk: twice as large as the one before, at most LARGEST_CHUNK. If there is not that
  much memory, as large as needed. }
function GrowHeap(Heap: PHeap; Needed: PtrUInt): Boolean;
var
  Chunk: PChunk;
  Size: PtrUInt;
begin
  Inc(Needed, SizeOf(TChunk));
  Size := 2 * Heap^.ChunkSize;
  if Size > LARGEST_CHUNK then
    Size := LARGEST_CHUNK;
  if Size < Needed then
    Size := Needed;
  Chunk := AddChunk(Heap^.Chunks, Size);
  if (Chunk = nil) and (Size > Needed) then
  begin
    Size := Needed;
    Chunk := AddChunk(Heap^.Chunks, Size);
  end;
  Result := Chunk <> nil;
  if not Result then
    Exit;
  Heap^.ChunkSize := Size;
  Heap^.At := PtrUInt(Chunk + 1);
  Heap^.Limit := PtrUInt(Chunk) + Size;
end;

function XHeapAlloc(Heap: PHeap; Size: PtrUInt): Pointer; public name 'XHeapAlloc';
var
  Needed: PtrUInt;
begin
  if Size > MAX_SIZE then
    Exit(nil);
  Size := (Size + ALIGN - 1) and not PtrUInt(ALIGN - 1);
  Inc(Heap^.Count);
  Inc(Heap^.Bytes, Size);
  if Size >= LARGE then
    Exit(AllocLarge(Heap, Size));
  Needed := SizeOf(TPiece) + Size;
  if (Heap^.Limit - Heap^.At < Needed) and not GrowHeap(Heap, Needed) then
    Exit(nil);
  with PPiece(Heap^.At)^ do
  begin
    Size := Needed - SizeOf(TPiece);
    Info := PIECE_MARK;
  end;
  Result := Pointer(Heap^.At + SizeOf(TPiece));
  Inc(Heap^.At, Needed);
end;

procedure XHeapFree(Heap: PHeap; P: Pointer); public name 'XHeapFree';
var
  Piece: PPiece;
begin
  if P = nil then
    Exit;
  Piece := PieceOf(P);
  if ChunkOf(Piece) <> nil then
  begin
    RemoveChunk(Heap^.Larges, ChunkOf(Piece));
    CountChunk(-Int64(ToroMemSize(ChunkOf(Piece))));
    ToroFreeMem(ChunkOf(Piece));
  end
  else if PtrUInt(P) + Piece^.Size = Heap^.At then
    Heap^.At := PtrUInt(Piece); { the last piece: its memory is reused }
end;

function XHeapRealloc(Heap: PHeap; P: Pointer; NewSize: PtrUInt): Pointer; public name 'XHeapRealloc';
begin
  if P = nil then
    Exit(XHeapAlloc(Heap, NewSize));
  if NewSize = 0 then
  begin
    XHeapFree(Heap, P);
    Exit(nil);
  end;
  if NewSize <= PieceOf(P)^.Size then
    Exit(P);
  Result := XHeapAlloc(Heap, NewSize);
  if Result = nil then
    Exit;
  Move(P^, Result^, PieceOf(P)^.Size);
  XHeapFree(Heap, P);
end;

function XHeapAcquire(CPU: Byte): PHeap; public name 'XHeapAcquire';
begin
  if CPU >= CPU_COUNT then
    Exit(nil);
  Result := Acquire(nil);
end;

{ Releases the heap on top of a stack. }
procedure Pop(Root: PHeap);
var
  Heap: PHeap;
begin
  Heap := Root^.Top;
  Root^.Top := Heap^.Below;
  FreeChunks(Heap^.Chunks);
  FreeChunks(Heap^.Larges);
  InterlockedDecrement(XHeapStatsCurrent);
  InterlockedExchangeAdd64(XHeapStatsTotalCount, Heap^.Count);
  InterlockedExchangeAdd64(XHeapStatsTotalSize, Heap^.Bytes);
  ToroFreeMem(Heap);
end;

procedure XHeapRelease(Heap: PHeap); public name 'XHeapRelease';
var
  Root: PHeap;
begin
  if Heap = nil then
    Exit;
  Root := Heap^.Root;
  while Root^.Top <> Heap do
    Pop(Root);
  Pop(Root);
end;

function XHeapStack(Heap: PHeap): PHeap; public name 'XHeapStack';
begin
  Result := Acquire(Heap^.Root);
end;

function XHeapUnstack(Heap: PHeap): PHeap; public name 'XHeapUnstack';
var
  Root: PHeap;
begin
  Root := Heap^.Root;
  if Root^.Top <> Root then
    Pop(Root);
  Result := Root^.Top;
end;

end.
