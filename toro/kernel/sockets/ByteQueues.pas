{ Queues of received bytes, in chunks. An empty queue takes no memory. }
unit ByteQueues;

{$mode objfpc}

interface

const
  CHUNK_MOST = 16320;

type
  PChunk = ^TChunk;
  TChunk = record
    Next: PChunk;
    Start, Stop: LongWord; { used range of Data }
    Size: LongWord;        { bytes that Data has in fact }
    Data: array[0..CHUNK_MOST - 1] of Byte;
  end;

  TByteQueue = record
    Count: PtrUInt;      { bytes in the queue }
    First, Last: PChunk;
  end;

{ Appends bytes. False: no memory, and nothing was appended. New chunks are of ChunkSize, up to
  CHUNK_MOST; at most two are not full, the first and the last. }
function AddBytes(var Queue: TByteQueue; Data: PByte; Count: PtrUInt; ChunkSize: LongWord): Boolean;

{ Copies up to Count bytes from the front, and removes them if Take. Returns how many. }
function CopyBytes(var Queue: TByteQueue; Data: PByte; Count: PtrUInt; Take: Boolean): PtrUInt;

{ Empties the queue. }
procedure ClearBytes(var Queue: TByteQueue);

implementation

uses Memory;

function Least(A, B: PtrUInt): PtrUInt; inline;
begin
  if A < B then
    Result := A
  else
    Result := B;
end;

function NewChunk(Size: LongWord): PChunk;
begin
  Result := ToroGetMem(SizeOf(TChunk) - CHUNK_MOST + Size);
  if Result = nil then
    Exit;
  FillChar(Result^, PtrUInt(@Result^.Data) - PtrUInt(Result), 0);
  Result^.Size := Size;
end;

{ A chain of chunks with room for Count bytes; nil if Count is 0 or there is no memory. }
function NewChunks(Count: PtrUInt; Size: LongWord): PChunk;
var
  Chunk: PChunk;
begin
  Result := nil;
  while Count > 0 do
  begin
    Chunk := NewChunk(Size);
    if Chunk = nil then
    begin
      while Result <> nil do
      begin
        Chunk := Result;
        Result := Chunk^.Next;
        ToroFreeMem(Chunk);
      end;
      Exit;
    end;
    Chunk^.Next := Result;
    Result := Chunk;
    Dec(Count, Least(Count, Size));
  end;
end;

function AddBytes(var Queue: TByteQueue; Data: PByte; Count: PtrUInt; ChunkSize: LongWord): Boolean;
var
  Room, Part: PtrUInt;
  More, At: PChunk;
begin
  if Count = 0 then
    Exit(True);
  Room := 0;
  if Queue.Last <> nil then
    Room := Queue.Last^.Size - Queue.Last^.Stop;
  At := Queue.Last;
  if Count > Room then
  begin
    More := NewChunks(Count - Room, ChunkSize);
    if More = nil then
      Exit(False);
    if At = nil then
    begin
      Queue.First := More;
      At := More;
    end
    else
      At^.Next := More;
  end;
  Inc(Queue.Count, Count);
  while True do
  begin
    Part := Least(Count, At^.Size - At^.Stop);
    Move(Data^, At^.Data[At^.Stop], Part);
    Inc(At^.Stop, Part);
    Inc(Data, Part);
    Dec(Count, Part);
    if Count = 0 then
      Break;
    At := At^.Next;
  end;
  Queue.Last := At;
  Result := True;
end;

function CopyBytes(var Queue: TByteQueue; Data: PByte; Count: PtrUInt; Take: Boolean): PtrUInt;
var
  Chunk, Next: PChunk;
  Part: PtrUInt;
begin
  Result := 0;
  Chunk := Queue.First;
  while (Chunk <> nil) and (Count > 0) do
  begin
    Next := Chunk^.Next;
    Part := Least(Count, Chunk^.Stop - Chunk^.Start);
    Move(Chunk^.Data[Chunk^.Start], Data^, Part);
    Inc(Data, Part);
    Inc(Result, Part);
    Dec(Count, Part);
    if Take then
    begin
      Inc(Chunk^.Start, Part);
      Dec(Queue.Count, Part);
      if Chunk^.Start = Chunk^.Stop then
      begin
        Queue.First := Next;
        if Next = nil then
          Queue.Last := nil;
        ToroFreeMem(Chunk);
      end;
    end;
    Chunk := Next;
  end;
end;

procedure ClearBytes(var Queue: TByteQueue);
var
  Chunk: PChunk;
begin
  while Queue.First <> nil do
  begin
    Chunk := Queue.First;
    Queue.First := Chunk^.Next;
    ToroFreeMem(Chunk);
  end;
  Queue := Default(TByteQueue);
end;

end.
