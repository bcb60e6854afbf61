{ Contents of files, kept in memory, so that reading a file again takes no request.

  They belong to an inode number and to a stamp: size, time of modification and time of change.
  As long as the server's reply with these is valid, a reader gets what is kept; afterwards it asks
  for the attributes, and goes on if the stamp is the same. A file that was changed within the last
  two seconds could change again without another stamp, as clocks of file systems tick slowly: such
  contents are not kept beyond that.

  All contents together have a part of the heap; those that were not used for the longest time give
  way to others, and to whoever needs memory. }
unit FuseContents;

{$mode objfpc}

interface

uses Fuse, FuseQueue;

const
  CHUNK_SIZE = 262144; { bytes that have a buffer of their own }

type
  TStamp = record
    Size, MTime, CTime: QWord;
    MTimeNs, CTimeNs: LongWord;
  end;

  PChunk = ^TChunk;
  TChunk = record
    Data: PByte;             { CHUNK_SIZE bytes, or as many as the file has; nil: nothing is kept }
    Filled: QWord;           { a bit for each page }
  end;

  PContents = ^TContents;
  TContents = record
    Volume: PFuseVolume;
    Ino: QWord;
    Stamp: TStamp;
    Expires: QWord;          { TSC until which the stamp is valid; 0: it is not }
    IsUnsure: Boolean;       { the file was new when it was read: see above }
    WasOpened: Boolean;      { for reading, so that it need not be opened until data are missing }
    Users: LongInt;
    IsListed: Boolean;       { else it is freed by its last user }
    Next: PContents;         { in its bucket }
    Newer, Older: PContents; { of all that are listed, by their last use }
    ChunkCount: LongInt;
    Chunks: PChunk;
  end;

{ The contents of a file with these attributes, which are valid until the TSC reaches Expires, for
  one more user. nil: nothing is to be kept of it. }
function UseContents(Volume: PFuseVolume; const Attributes: TFuseAttributes; Expires: QWord): PContents;

procedure LeaveContents(Contents: PContents);

{ Of a variable that several threads may use: those that are there, for one more user, and others in
  their place. Both may be nil. }
function TakeContents(var Variable: Pointer): PContents;
procedure ReplaceContents(var Variable: Pointer; Contents: PContents);

{ The buffer of a chunk, made if need be; nil: there is no memory for it. }
function BufferOf(Contents: PContents; Index: LongInt): PByte;

{ The pages of a chunk whose bits are set have been filled. }
procedure AddFilled(Contents: PContents; Index: LongInt; Pages: QWord);

{ The guest has changed the file with this number: what is kept of it is not valid any more. }
procedure DropFile(Volume: PFuseVolume; Ino: QWord);

{ Drops all contents of a volume. }
procedure DropContents(Volume: PFuseVolume);

implementation

uses Arch, Memory;

const
  BUCKETS = 256;
  SHARE = 4;         { of the heap, the part that all contents may have }
  UNSURE = 2;        { seconds in which a file may change without another stamp }
  NS = 1000000000;

var
  Files: array[0..BUCKETS - 1] of PContents;
  Newest, Oldest: PContents;
  { Bytes of all contents, and how many there may be; 0: not yet known. }
  Kept, Limit: PtrUInt;
  Lock: LongInt;

{ ---- The list; all with the lock held ---- }

procedure Leave(Contents: PContents);
begin
  if Contents^.Newer <> nil then
    Contents^.Newer^.Older := Contents^.Older
  else
    Newest := Contents^.Older;
  if Contents^.Older <> nil then
    Contents^.Older^.Newer := Contents^.Newer
  else
    Oldest := Contents^.Newer;
end;

procedure Join(Contents: PContents);
begin
  Contents^.Newer := nil;
  Contents^.Older := Newest;
  if Newest <> nil then
    Newest^.Newer := Contents
  else
    Oldest := Contents;
  Newest := Contents;
end;

function FindContents(Volume: PFuseVolume; Ino: QWord): PContents;
begin
  Result := Files[Ino mod BUCKETS];
  while (Result <> nil) and ((Result^.Ino <> Ino) or (Result^.Volume <> Volume)) do
    Result := Result^.Next;
end;

{ Takes contents off the list. Returns them if nobody uses them, to be freed; else nil. }
function Unlist(Contents: PContents): PContents;
var
  Link: ^PContents;
begin
  Link := @Files[Contents^.Ino mod BUCKETS];
  while Link^ <> Contents do
    Link := @Link^^.Next;
  Link^ := Contents^.Next;
  Leave(Contents);
  Contents^.IsListed := False;
  Contents^.Expires := 0;
  Result := Contents;
  if Contents^.Users > 0 then
    Result := nil;
end;

{ ---- Memory; without the lock ---- }

{ Bytes of a record and its chunks, without their buffers. }
function RecordSize(ChunkCount: LongInt): PtrUInt;
begin
  Result := SizeOf(TContents) + ChunkCount * SizeOf(TChunk);
end;

{ Bytes of the buffer of a chunk. }
function BufferSize(Contents: PContents; Index: LongInt): PtrUInt;
begin
  Result := Contents^.Stamp.Size - QWord(Index) * CHUNK_SIZE;
  if Result > CHUNK_SIZE then
    Result := CHUNK_SIZE;
end;

procedure Release(Contents: PContents);
var
  I: LongInt;
  Freed: PtrUInt;
begin
  if Contents = nil then
    Exit;
  Freed := RecordSize(Contents^.ChunkCount);
  for I := 0 to Contents^.ChunkCount - 1 do
    if Contents^.Chunks[I].Data <> nil then
    begin
      Inc(Freed, BufferSize(Contents, I));
      ToroFreeMem(Contents^.Chunks[I].Data);
    end;
  ToroFreeMem(Contents);
  AcquireLock(Lock);
  Dec(Kept, Freed);
  ReleaseLock(Lock);
end;

{ Frees contents that nobody uses, those first that were not used for the longest time, until all
  have at most Most bytes. Returns whether any were. }
function Shrink(Most: PtrUInt): Boolean;
var
  Contents: PContents;
begin
  Result := False;
  repeat
    AcquireLock(Lock);
    Contents := nil;
    if Kept > Most then
    begin
      Contents := Oldest;
      while (Contents <> nil) and (Contents^.Users > 0) do
        Contents := Contents^.Newer;
      if Contents <> nil then
        Contents := Unlist(Contents);
    end;
    ReleaseLock(Lock);
    Result := Result or (Contents <> nil);
    Release(Contents);
  until Contents = nil;
end;

function GiveBack(Size: PtrUInt): Boolean;
var
  Most: PtrUInt;
begin
  Most := 0;
  if Kept > Size then
    Most := Kept - Size;
  Result := Shrink(Most);
end;

function MostBytes: PtrUInt;
begin
  if Limit = 0 then
    Limit := HeapStatistics.Total div SHARE;
  Result := Limit;
end;

{ ---- Users ---- }

function StampOf(const Attributes: TFuseAttributes): TStamp;
begin
  Result := Default(TStamp);
  Result.Size := Attributes.Size;
  Result.MTime := Attributes.MTime;
  Result.MTimeNs := Attributes.MTimeNs;
  Result.CTime := Attributes.CTime;
  Result.CTimeNs := Attributes.CTimeNs;
end;

{ Whether a file has been changed just now, or in the future of this clock. }
function IsNew(const Stamp: TStamp): Boolean;
begin
  Result := Stamp.CTime + UNSURE >= UnixTimeNs div NS;
end;

function NewContents(Volume: PFuseVolume; Ino: QWord; const Stamp: TStamp): PContents;
var
  Count: LongInt;
begin
  Count := (Stamp.Size + CHUNK_SIZE - 1) div CHUNK_SIZE;
  Shrink(MostBytes);
  Result := ToroAllocMem(RecordSize(Count));
  if Result = nil then
    Exit;
  AcquireLock(Lock);
  Inc(Kept, RecordSize(Count));
  ReleaseLock(Lock);
  Result^.Volume := Volume;
  Result^.Ino := Ino;
  Result^.Stamp := Stamp;
  Result^.IsUnsure := IsNew(Stamp);
  Result^.ChunkCount := Count;
  Result^.Chunks := PChunk(Result + 1);
end;

function UseContents(Volume: PFuseVolume; const Attributes: TFuseAttributes; Expires: QWord): PContents;
var
  Stamp: TStamp;
  Old, Made: PContents;
begin
  if (Expires = 0) or (Attributes.Mode and MODE_KIND <> MODE_REGULAR) or (Attributes.Size > MostBytes div 2) then
    Exit(nil);
  Stamp := StampOf(Attributes);
  Made := nil;
  repeat
    AcquireLock(Lock);
    Old := nil;
    Result := FindContents(Volume, Attributes.Ino);
    if (Result <> nil) and ((Result^.IsUnsure and (read_rdtsc >= Result^.Expires)) or
       (CompareByte(Result^.Stamp, Stamp, SizeOf(Stamp)) <> 0)) then
    begin
      Old := Unlist(Result);
      Result := nil;
    end;
    if (Result = nil) and (Made <> nil) then
    begin
      Result := Made;
      Made := nil;
      Result^.Next := Files[Result^.Ino mod BUCKETS];
      Files[Result^.Ino mod BUCKETS] := Result;
      Result^.IsListed := True;
      Join(Result);
    end;
    if Result <> nil then
    begin
      Inc(Result^.Users);
      if not Result^.IsUnsure or (Result^.Expires = 0) then
        Result^.Expires := Expires;
      Leave(Result);
      Join(Result);
    end;
    ReleaseLock(Lock);
    Release(Old);
    if Result <> nil then
      Break;
    Made := NewContents(Volume, Attributes.Ino, Stamp);
  until Made = nil;
  Release(Made);
end;

procedure LeaveContents(Contents: PContents);
var
  IsLast: Boolean;
begin
  if Contents = nil then
    Exit;
  AcquireLock(Lock);
  Dec(Contents^.Users);
  IsLast := (Contents^.Users = 0) and not Contents^.IsListed;
  ReleaseLock(Lock);
  if IsLast then
    Release(Contents);
end;

function TakeContents(var Variable: Pointer): PContents;
begin
  AcquireLock(Lock);
  Result := Variable;
  if Result <> nil then
    Inc(Result^.Users);
  ReleaseLock(Lock);
end;

procedure ReplaceContents(var Variable: Pointer; Contents: PContents);
var
  Old: PContents;
begin
  AcquireLock(Lock);
  Old := Variable;
  Variable := Contents;
  ReleaseLock(Lock);
  LeaveContents(Old);
end;

{ ---- Buffers ---- }

function BufferOf(Contents: PContents; Index: LongInt): PByte;
var
  Size: PtrUInt;
  Made: PByte;
begin
  Result := Contents^.Chunks[Index].Data;
  if Result <> nil then
    Exit;
  Size := BufferSize(Contents, Index);
  if Size > MostBytes then
    Exit(nil);
  Shrink(MostBytes - Size);
  if Kept + Size > MostBytes then
    Exit(nil);
  Made := ToroGetMem(Size);
  if Made = nil then
    Exit(nil);
  AcquireLock(Lock);
  Result := Contents^.Chunks[Index].Data;
  if Result = nil then
  begin
    Contents^.Chunks[Index].Data := Made;
    Inc(Kept, Size);
    Result := Made;
    Made := nil;
  end;
  ReleaseLock(Lock);
  ToroFreeMem(Made);
end;

procedure AddFilled(Contents: PContents; Index: LongInt; Pages: QWord);
begin
  AcquireLock(Lock);
  Contents^.Chunks[Index].Filled := Contents^.Chunks[Index].Filled or Pages;
  ReleaseLock(Lock);
end;

{ ---- Dropping ---- }

procedure DropFile(Volume: PFuseVolume; Ino: QWord);
var
  Contents: PContents;
begin
  AcquireLock(Lock);
  Contents := FindContents(Volume, Ino);
  if Contents <> nil then
    Contents := Unlist(Contents);
  ReleaseLock(Lock);
  Release(Contents);
end;

procedure DropContents(Volume: PFuseVolume);
var
  Contents, Unused: PContents;
begin
  repeat
    AcquireLock(Lock);
    Contents := Newest;
    while (Contents <> nil) and (Contents^.Volume <> Volume) do
      Contents := Contents^.Older;
    Unused := nil;
    if Contents <> nil then
      Unused := Unlist(Contents);
    ReleaseLock(Lock);
    Release(Unused);
  until Contents = nil;
end;

initialization
  GiveBackMemory := @GiveBack;
end.
