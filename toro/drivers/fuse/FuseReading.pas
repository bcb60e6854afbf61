{ Reading files through what is kept of them (see FuseContents). }
unit FuseReading;

{$mode objfpc}

interface

uses Filesystem, FuseContents;

{ Reads up to Count bytes: what is kept of the file, after what was missing of it. As Transfer. }
function ReadFile(var F: TFile; Offset: Int64; Data: PByte; Count: Int64; out Error: LongInt): Int64;

{ Up to Count bytes where they are kept: Data leads to them until LeaveContents(Contents). Returns how
  many; 0: they are not kept. }
function HoldPart(var F: TFile; Offset, Count: Int64; out Data: PByte; out Contents: PContents;
  out Error: LongInt): Int64;

implementation

uses Arch, Fuse, FuseFiles, FuseNames, FuseQueue;

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

{ Where up to Count bytes of one chunk from Offset are, which is less than the size. Returns how many;
  0: they are not there. }
function FindPart(Contents: PContents; Offset, Count: Int64; out Data: PByte): Int64;
var
  Wanted: QWord;
  Chunk: PChunk;
begin
  Clip(Contents, Offset, Count);
  Wanted := PagesOf(Offset, Offset + Count - 1);
  Chunk := @Contents^.Chunks[Offset div CHUNK_SIZE];
  if Chunk^.Filled and Wanted <> Wanted then
    Exit(0);
  Data := @Chunk^.Data[Offset mod CHUNK_SIZE];
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
  Seen: LongWord;
  Expires: QWord;
begin
  Seen := PFuseVolume(F.Volume)^.Changes;
  Prepare(Request, F.Volume, OP_GETATTR, F.Node, SizeOf(TFuseGetAttr), SizeOf(TFuseAttributesReply));
  Result := Call(Request);
  if Result < 0 then
    Exit;
  Expires := 0;
  if Seen = PFuseVolume(F.Volume)^.Changes then
    Expires := ExpiryOf(Request.Reply.Attributes.Valid, Request.Reply.Attributes.ValidNs);
  ReplaceContents(F.Contents, UseContents(F.Volume, Request.Reply.Attributes.Attributes, Expires));
end;

{ Reads what is missing of the chunk of Offset, if Count bytes are wanted. False: it cannot be kept, or
  the file has changed, or an error. }
function FillPart(var F: TFile; Contents: PContents; Offset, Count: Int64; out Error: LongInt): Boolean;
var
  Start, Size: Int64;
  Missing: PByte;
begin
  Error := 0;
  Missing := MissingPart(Contents, Offset, Count, Start, Size);
  if Missing = nil then
    Exit(False);
  Result := Transfer(F, OP_READ, Start, Missing, Size, Error) = Size;
  if Result then
    AddFilled(Contents, Start div CHUNK_SIZE, PagesOf(Start, Start + Size - 1))
  else
    Contents^.Expires := 0;
end;

{ What is kept of a file, for one more user; nil: nothing. }
function TakeValid(var F: TFile; out Error: LongInt): PContents;
begin
  Error := 0;
  Result := TakeContents(F.Contents);
  if (Result <> nil) and (read_rdtsc >= Result^.Expires) then
  begin
    LeaveContents(Result);
    Result := nil;
    Error := Validate(F);
    if Error = 0 then
      Result := TakeContents(F.Contents);
  end;
end;

function ReadContents(var F: TFile; Contents: PContents; Offset: Int64; Data: PByte; Count: Int64;
  out Error: LongInt): Int64;
var
  Part: Int64;
  Kept: PByte;
begin
  Result := 0;
  Error := 0;
  while (Result < Count) and (Offset + Result < Int64(Contents^.Stamp.Size)) do
  begin
    Part := FindPart(Contents, Offset + Result, Count - Result, Kept);
    if Part > 0 then
    begin
      Move(Kept^, Data[Result], Part);
      Inc(Result, Part);
    end
    else if (Count - Result > CHUNK_SIZE) or not FillPart(F, Contents, Offset + Result, Count - Result, Error) then
    begin
      if Error = 0 then
        Inc(Result, Transfer(F, OP_READ, Offset + Result, Data + Result, Count - Result, Error));
      Exit;
    end;
  end;
end;

function ReadFile(var F: TFile; Offset: Int64; Data: PByte; Count: Int64; out Error: LongInt): Int64;
var
  Contents: PContents;
begin
  Contents := TakeValid(F, Error);
  if Error < 0 then
    Exit(0);
  if Contents = nil then
    Exit(Transfer(F, OP_READ, Offset, Data, Count, Error));
  Result := ReadContents(F, Contents, Offset, Data, Count, Error);
  LeaveContents(Contents);
end;

function HoldPart(var F: TFile; Offset, Count: Int64; out Data: PByte; out Contents: PContents;
  out Error: LongInt): Int64;
begin
  Result := 0;
  Contents := TakeValid(F, Error);
  if Contents = nil then
    Exit;
  if Offset < Int64(Contents^.Stamp.Size) then
  begin
    Result := FindPart(Contents, Offset, Count, Data);
    if (Result = 0) and FillPart(F, Contents, Offset, Count, Error) then
      Result := FindPart(Contents, Offset, Count, Data);
  end;
  if Result = 0 then
  begin
    LeaveContents(Contents);
    Contents := nil;
  end;
end;

end.
