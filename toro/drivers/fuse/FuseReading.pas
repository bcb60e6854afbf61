{ Reading files through what is kept of them (see FuseContents). }
unit FuseReading;

{$mode objfpc}

interface

uses Filesystem;

{ Reads up to Count bytes: what is kept of the file, after what was missing of it. As Transfer. }
function ReadFile(var F: TFile; Offset: Int64; Data: PByte; Count: Int64; out Error: LongInt): Int64;

implementation

uses Arch, Fuse, FuseContents, FuseFiles, FuseNames, FuseQueue;

const
  PAGE = 4096;
  CHUNK_PAGES = CHUNK_SIZE div PAGE;
  READ_AHEAD = 32; { pages }

{ The bits of the pages of a chunk, from that of Offset on to that of Last. }
function PagesOf(Offset, Last: Int64): QWord;
var
  First, Count: LongInt;
begin
  First := Offset mod CHUNK_SIZE div PAGE;
  Count := Last mod CHUNK_SIZE div PAGE - First + 1;
  Result := (QWord(-1) shr (64 - Count)) shl First;
end;

{ Shortens Count to the end of the chunk of Offset, and to that of the file. }
procedure Clip(Contents: PContents; Offset: Int64; var Count: Int64);
begin
  if Count > CHUNK_SIZE - Offset mod CHUNK_SIZE then
    Count := CHUNK_SIZE - Offset mod CHUNK_SIZE;
  if Count > Int64(Contents^.Stamp.Size) - Offset then
    Count := Int64(Contents^.Stamp.Size) - Offset;
end;

{ Copies up to Count bytes of one chunk from Offset, which is less than the size. Returns how many;
  0: they are not there. }
function CopyContents(Contents: PContents; Offset: Int64; Data: PByte; Count: Int64): Int64;
var
  Wanted: QWord;
  Chunk: PChunk;
begin
  Clip(Contents, Offset, Count);
  Wanted := PagesOf(Offset, Offset + Count - 1);
  Chunk := @Contents^.Chunks[Offset div CHUNK_SIZE];
  if Chunk^.Filled and Wanted <> Wanted then
    Exit(0);
  Move(Chunk^.Data[Offset mod CHUNK_SIZE], Data^, Count);
  Result := Count;
end;

{ The buffer for what is missing of a chunk, of Size bytes from Start on, if Count bytes at Offset
  are wanted; nil: there is no memory for it. }
function MissingPart(Contents: PContents; Offset, Count: Int64; out Start, Size: Int64): PByte;
var
  Chunk: PChunk;
  First, Last: LongInt;
begin
  Result := BufferOf(Contents, Offset div CHUNK_SIZE);
  if Result = nil then
    Exit;
  Clip(Contents, Offset, Count);
  Chunk := @Contents^.Chunks[Offset div CHUNK_SIZE];
  First := Offset mod CHUNK_SIZE div PAGE;
  Last := (Offset + Count - 1) mod CHUNK_SIZE div PAGE;
  while (First < Last) and (Chunk^.Filled shr First and 1 <> 0) do
    Inc(First);
  { What follows a filled page is read sequentially; what is small is read as a whole. }
  if (Contents^.Stamp.Size <= CHUNK_SIZE div 4) or ((First > 0) and (Chunk^.Filled shr (First - 1) and 1 <> 0)) then
  begin
    Inc(Last, READ_AHEAD);
    if Last >= CHUNK_PAGES then
      Last := CHUNK_PAGES - 1;
  end;
  Start := Offset - Offset mod CHUNK_SIZE + First * PAGE;
  Size := (Last - First + 1) * PAGE;
  Clip(Contents, Start, Size);
  Inc(Result, First * PAGE);
end;

{ Asks for the attributes of F, to which what is kept of it has to belong. }
function Validate(var F: TFile): LongInt;
var
  Request: TFuseRequest;
begin
  Prepare(Request, F.Volume, OP_GETATTR, F.Node, SizeOf(TFuseGetAttr), SizeOf(TFuseAttributesReply));
  Result := Call(Request);
  if Result = 0 then
    with Request.Reply.Attributes do
      ReplaceContents(F.Contents, UseContents(F.Volume, Attributes, ExpiryOf(Valid, ValidNs)));
end;

{ Reads from contents, after what is missing of them. }
function ReadContents(var F: TFile; Contents: PContents; Offset: Int64; Data: PByte; Count: Int64;
  out Error: LongInt): Int64;
var
  Start, Size, Copied: Int64;
  Missing: PByte;
begin
  Result := 0;
  Error := 0;
  while (Result < Count) and (Offset + Result < Int64(Contents^.Stamp.Size)) do
  begin
    Copied := CopyContents(Contents, Offset + Result, Data + Result, Count - Result);
    Inc(Result, Copied);
    if Copied > 0 then
      Continue;
    Missing := nil;
    if Count - Result <= CHUNK_SIZE then
      Missing := MissingPart(Contents, Offset + Result, Count - Result, Start, Size);
    if Missing = nil then
      Exit(Result + Transfer(F, OP_READ, Offset + Result, Data + Result, Count - Result, Error));
    if Transfer(F, OP_READ, Start, Missing, Size, Error) < Size then
    begin
      { The file has changed. }
      Contents^.Expires := 0;
      if Error = 0 then
        Inc(Result, Transfer(F, OP_READ, Offset + Result, Data + Result, Count - Result, Error));
      Exit;
    end;
    AddFilled(Contents, Start div CHUNK_SIZE, PagesOf(Start, Start + Size - 1));
  end;
end;

function ReadFile(var F: TFile; Offset: Int64; Data: PByte; Count: Int64; out Error: LongInt): Int64;
var
  Contents: PContents;
begin
  Result := 0;
  Error := 0;
  Contents := TakeContents(F.Contents);
  if (Contents <> nil) and (read_rdtsc >= Contents^.Expires) then
  begin
    LeaveContents(Contents);
    Error := Validate(F);
    if Error < 0 then
      Exit;
    Contents := TakeContents(F.Contents);
  end;
  if Contents = nil then
    Exit(Transfer(F, OP_READ, Offset, Data, Count, Error));
  Result := ReadContents(F, Contents, Offset, Data, Count, Error);
  LeaveContents(Contents);
end;

end.
