{ The driver's side of a split virtqueue (virtio 1.2, section 2.7).

  A request is a chain of buffers: first those that the device reads, then those that it writes.
  If the chain does not fit in the free part of the descriptor table, it goes into an indirect
  table of its own, provided the device supports that.

  The device is not trusted. A used entry must name a request that is under way; anything else
  marks the queue as broken. Callers check the length. }
unit VirtQueues;

{$mode objfpc}

interface

const
  { Feature bits of rings (section 6) }
  F_INDIRECT_DESC = QWord(1) shl 28;
  F_EVENT_IDX = QWord(1) shl 29;

  QUEUE_SIZE_MAX = 256;
  CHAIN_MAX = 64;      { buffers of one request }

type
  TVirtBuffer = record
    Data: Pointer;
    Size: LongWord;    { bytes; not 0 }
  end;

  PVirtDescriptor = ^TVirtDescriptor;
  TVirtDescriptor = packed record
    Address: QWord;
    Length: LongWord;
    Flags, Next: Word;
  end;

  TVirtUsed = packed record
    Head, Written: LongWord;
  end;

  { A request, indexed by its first descriptor. }
  TVirtRequest = record
    Token: Pointer;    { nil: unused }
    Last: Word;        { its last descriptor }
    Count: Word;       { number of its descriptors in the queue's own table }
    Table: PVirtDescriptor; { indirect table of CHAIN_MAX descriptors, allocated at the first need }
  end;

  PVirtQueue = ^TVirtQueue;
  TVirtQueue = record
    Size: Word;        { a power of 2 }
    FreeCount, FirstFree: Word;
    Offered: Word;     { available index, which the device is shown when it is notified }
    Notified: Word;    { available index at the last notification }
    Seen: Word;        { used index up to which entries were taken }
    EventIdx, Indirect, Broken: Boolean;
    Descriptors: PVirtDescriptor;
    Available, Used: PByte; { flags, index, ring, event index }
    Requests: ^TVirtRequest;
    Notify: PLongWord; { address of the device's register }
    Number: LongWord;
  end;

function MakeBuffer(Data: Pointer; Size: LongWord): TVirtBuffer; inline;

{ Allocates the rings of a queue of Size entries. False: no memory. }
function MakeQueue(out Queue: TVirtQueue; Size: Word; Features: QWord): Boolean;

{ Empties a queue after a reset of its device. All tokens must be nil. The first used buffer
  interrupts. }
procedure ClearQueue(var Queue: TVirtQueue; Features: QWord);

{ Adds a request to the queue. The device reads the first Readable of Buffers and writes the
  others. TakeUsed returns Token, which must not be nil. False: no room. The device sees it at
  NotifyDevice, with all others until then at once. }
function Offer(var Queue: TVirtQueue; const Buffers: array of TVirtBuffer; Readable: LongInt; Token: Pointer): Boolean;

{ Whether there is room for a request of Count buffers. }
function RoomFor(const Queue: TVirtQueue; Count: LongInt): Boolean;

{ Shows new requests to the device, and notifies it, unless it has suppressed that. }
procedure NotifyDevice(var Queue: TVirtQueue);

{ The same for a device that does not run yet: it looks at its queues when it starts. }
procedure Publish(var Queue: TVirtQueue); inline;

{ Whether the device has used buffers that were not taken yet. }
function HasUsed(const Queue: TVirtQueue): Boolean; inline;

{ Takes a used request: returns its token, or nil if there is none. Written is the number of
  bytes that the device claims to have written. }
function TakeUsed(var Queue: TVirtQueue; out Written: LongWord): Pointer;

{ Enables the interrupt for the next used buffer. Call HasUsed afterwards: what was used before
  does not interrupt. }
procedure WantInterrupt(var Queue: TVirtQueue);

{ Disables interrupts. }
procedure RefuseInterrupts(var Queue: TVirtQueue);

implementation

uses Arch, Memory;

const
  { sections 2.7.5, 2.7.6 and 2.7.8 }
  DESC_NEXT = 1;
  DESC_WRITE = 2;
  DESC_INDIRECT = 4;
  AVAIL_NO_INTERRUPT = 1;
  USED_NO_NOTIFY = 1;

type
  PUsed = ^TVirtUsed;

function AvailableFlags(const Queue: TVirtQueue): PWord; inline;
begin
  Result := PWord(Queue.Available);
end;

function AvailableIndex(const Queue: TVirtQueue): PWord; inline;
begin
  Result := PWord(Queue.Available + 2);
end;

function UsedEvent(const Queue: TVirtQueue): PWord; inline;
begin
  Result := PWord(Queue.Available + 4 + 2 * Queue.Size);
end;

function UsedIndex(const Queue: TVirtQueue): PWord; inline;
begin
  Result := PWord(Queue.Used + 2);
end;

function AvailableEvent(const Queue: TVirtQueue): PWord; inline;
begin
  Result := PWord(Queue.Used + 4 + SizeOf(TVirtUsed) * Queue.Size);
end;

procedure LinkDescriptors(var Queue: TVirtQueue; Features: QWord);
var
  I: LongInt;
begin
  Queue.EventIdx := Features and F_EVENT_IDX <> 0;
  Queue.Indirect := Features and F_INDIRECT_DESC <> 0;
  for I := 0 to Queue.Size - 1 do
    Queue.Descriptors[I].Next := I + 1;
  Queue.FreeCount := Queue.Size;
  Queue.FirstFree := 0;
end;

procedure ClearQueue(var Queue: TVirtQueue; Features: QWord);
begin
  FillChar(Queue.Available^, 6 + 2 * Queue.Size, 0);
  FillChar(Queue.Used^, 6 + SizeOf(TVirtUsed) * Queue.Size, 0);
  LinkDescriptors(Queue, Features);
  Queue.Offered := 0;
  Queue.Notified := 0;
  Queue.Seen := 0;
  Queue.Broken := False;
end;

function MakeQueue(out Queue: TVirtQueue; Size: Word; Features: QWord): Boolean;
begin
  Queue := Default(TVirtQueue);
  Queue.Size := Size;
  Queue.Descriptors := ToroAllocMem(Size * SizeOf(TVirtDescriptor));
  Queue.Available := ToroAllocMem(6 + 2 * Size);
  Queue.Used := ToroAllocMem(6 + SizeOf(TVirtUsed) * Size);
  Queue.Requests := ToroAllocMem(Size * SizeOf(TVirtRequest));
  if (Queue.Descriptors = nil) or (Queue.Available = nil) or (Queue.Used = nil) or (Queue.Requests = nil) then
    Exit(False);
  LinkDescriptors(Queue, Features);
  RefuseInterrupts(Queue);
  Result := True;
end;

function MakeBuffer(Data: Pointer; Size: LongWord): TVirtBuffer;
begin
  Result.Data := Data;
  Result.Size := Size;
end;

procedure Fill(out Descriptor: TVirtDescriptor; const Buffer: TVirtBuffer; Flags: Word); inline;
begin
  Descriptor.Address := PtrUInt(Buffer.Data);
  Descriptor.Length := Buffer.Size;
  Descriptor.Flags := Flags;
end;

function FlagsOf(Index, Readable, Count: LongInt): Word; inline;
begin
  Result := 0;
  if Index >= Readable then
    Result := DESC_WRITE;
  if Index < Count - 1 then
    Result := Result or DESC_NEXT;
end;

{ Writes the chain to the queue's own table. Returns its first descriptor. }
function OfferDirect(var Queue: TVirtQueue; const Buffers: array of TVirtBuffer; Readable: LongInt): Word;
var
  I: LongInt;
  At: Word;
begin
  Result := Queue.FirstFree;
  At := Result;
  for I := 0 to High(Buffers) do
  begin
    if I > 0 then
      At := Queue.Descriptors[At].Next;
    Fill(Queue.Descriptors[At], Buffers[I], FlagsOf(I, Readable, Length(Buffers)));
  end;
  Queue.Requests[Result].Last := At;
  Queue.Requests[Result].Count := Length(Buffers);
end;

{ Writes the chain to an indirect table. Returns its descriptor, or High(Word) without memory
  for the table. }
function OfferIndirect(var Queue: TVirtQueue; const Buffers: array of TVirtBuffer; Readable: LongInt): Word;
var
  I: LongInt;
begin
  Result := Queue.FirstFree;
  with Queue.Requests[Result] do
  begin
    if Table = nil then
      Table := ToroGetMem(CHAIN_MAX * SizeOf(TVirtDescriptor));
    if Table = nil then
      Exit(High(Word));
    for I := 0 to High(Buffers) do
    begin
      Fill(Table[I], Buffers[I], FlagsOf(I, Readable, Length(Buffers)));
      Table[I].Next := I + 1;
    end;
    Last := Result;
    Count := 1;
  end;
  Fill(Queue.Descriptors[Result],
    MakeBuffer(Queue.Requests[Result].Table, Length(Buffers) * SizeOf(TVirtDescriptor)), DESC_INDIRECT);
end;

function RoomFor(const Queue: TVirtQueue; Count: LongInt): Boolean;
begin
  Result := (Queue.FreeCount >= Count) or (Queue.Indirect and (Queue.FreeCount > 0));
end;

function Offer(var Queue: TVirtQueue; const Buffers: array of TVirtBuffer; Readable: LongInt; Token: Pointer): Boolean;
var
  Head: Word;
begin
  Result := False;
  if Queue.Broken or (Length(Buffers) > CHAIN_MAX) or not RoomFor(Queue, Length(Buffers)) then
    Exit;
  { Two direct descriptors are cheaper than an indirect table. }
  if Queue.Indirect and ((Length(Buffers) > 2) or (Queue.FreeCount < Length(Buffers))) then
    Head := OfferIndirect(Queue, Buffers, Readable)
  else
    Head := OfferDirect(Queue, Buffers, Readable);
  if Head = High(Word) then
    Exit;
  Queue.Requests[Head].Token := Token;
  Queue.FirstFree := Queue.Descriptors[Queue.Requests[Head].Last].Next;
  Dec(Queue.FreeCount, Queue.Requests[Head].Count);
  PWord(Queue.Available + 4)[Queue.Offered and (Queue.Size - 1)] := Head;
  Inc(Queue.Offered);
  Result := True;
end;

procedure Publish(var Queue: TVirtQueue);
begin
  { x86 does not reorder stores, so the device sees the entries before the index. }
  AvailableIndex(Queue)^ := Queue.Offered;
end;

procedure NotifyDevice(var Queue: TVirtQueue);
var
  Wanted: Boolean;
begin
  if Queue.Notified = Queue.Offered then
    Exit;
  Publish(Queue);
  { The device writes its event index, then reads our index; we have written our index, and now
    read the event index. The barrier ensures that one side sees the other's write. }
  ReadWriteBarrier;
  if Queue.EventIdx then
    Wanted := Word(Queue.Offered - AvailableEvent(Queue)^ - 1) < Word(Queue.Offered - Queue.Notified)
  else
    Wanted := PWord(Queue.Used)^ and USED_NO_NOTIFY = 0;
  Queue.Notified := Queue.Offered;
  if Wanted then
    Queue.Notify^ := Queue.Number;
end;

function HasUsed(const Queue: TVirtQueue): Boolean;
begin
  Result := (UsedIndex(Queue)^ <> Queue.Seen) and not Queue.Broken;
end;

function TakeUsed(var Queue: TVirtQueue; out Written: LongWord): Pointer;
var
  Ahead: Word;
  Entry: TVirtUsed;
begin
  Written := 0;
  Ahead := UsedIndex(Queue)^ - Queue.Seen;
  if (Ahead = 0) or Queue.Broken then
    Exit(nil);
  Entry := PUsed(Queue.Used + 4)[Queue.Seen and (Queue.Size - 1)];
  if (Ahead > Queue.Size) or (Entry.Head >= Queue.Size) or (Queue.Requests[Entry.Head].Token = nil) then
  begin
    Queue.Broken := True;
    Exit(nil);
  end;
  Inc(Queue.Seen);
  Written := Entry.Written;
  with Queue.Requests[Entry.Head] do
  begin
    Result := Token;
    Token := nil;
    Queue.Descriptors[Last].Next := Queue.FirstFree;
    Queue.FirstFree := Entry.Head;
    Inc(Queue.FreeCount, Count);
  end;
end;

procedure WantInterrupt(var Queue: TVirtQueue);
var
  Index: Word;
begin
  { Another core may be taking used buffers: an index behind Seen would not interrupt any more. }
  repeat
    Index := Queue.Seen;
    if Queue.EventIdx then
      UsedEvent(Queue)^ := Index
    else
      AvailableFlags(Queue)^ := 0;
    ReadWriteBarrier;
  until Queue.Seen = Index;
end;

procedure RefuseInterrupts(var Queue: TVirtQueue);
begin
  if Queue.EventIdx then
    UsedEvent(Queue)^ := Queue.Seen - 1
  else
    AvailableFlags(Queue)^ := AVAIL_NO_INTERRUPT;
end;

end.
