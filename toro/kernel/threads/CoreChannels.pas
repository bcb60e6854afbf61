{ Channels between cores: for each ordered pair of cores a ring of slots in shared memory. One
  core writes and one reads, so no lock is needed. A thread that has to wait yields at first,
  and blocks if that takes long.

  A channel is allocated at its first use. }
unit CoreChannels;

{$mode objfpc}

interface

uses Arch, CoreThreads;

const
  SLOT_SIZE = 1024; { bytes }
  SLOTS = 16;

type
  PSlot = ^TSlot;
  TSlot = array[0..SLOT_SIZE - 1] of Byte;

  { The two counters are in different cache lines, since different cores write them. }
  PChannel = ^TChannel;
  TChannel = record
    Written: LongWord; { slots so far, modulo 2^32 }
    Line1: array[1..15] of LongWord;
    Read: LongWord;
    Line2: array[1..15] of LongWord;
    Readers, Writers: TWaitQueue;
    Line3: array[1..2] of QWord;
    Data: array[0..SLOTS - 1] of TSlot;
  end;

  { The channels between all cores; initially zero. }
  TChannelRow = array[0..MAX_CPU - 1] of PChannel;
  TChannels = array[0..MAX_CPU - 1] of ^TChannelRow;

{ The channel from one core to another. Without memory for it: run-time error 203, or
  EOutOfMemory. }
function ChannelOf(var Channels: TChannels; Source, Destination: LongInt): PChannel;

{ FreeSlot waits for a free slot, and SendSlot hands it to the receiver. The thread must not
  yield in between. }
function FreeSlot(Channel: PChannel): PSlot;
procedure SendSlot(Channel: PChannel);

{ ReceiveSlot waits for a slot, which is valid until FinishSlot. The thread must not yield in
  between. }
function ReceiveSlot(Channel: PChannel): PSlot;
procedure FinishSlot(Channel: PChannel);

implementation

uses Memory, WaitQueues;

{ Allocates zeroed memory for Place, unless another core has done so meanwhile. }
procedure Provide(var Place: Pointer; Size: PtrUInt);
var
  New: Pointer;
begin
  if Place <> nil then
    Exit;
  New := ToroGetAlignedMem(Size, 64);
  if New = nil then
    OutOfMemory;
  FillChar(New^, Size, 0);
  if InterlockedCompareExchange(Place, New, nil) <> nil then
    ToroFreeMem(New);
end;

function ChannelOf(var Channels: TChannels; Source, Destination: LongInt): PChannel;
begin
  Provide(Pointer(Channels[Source]), SizeOf(PChannel) * CPU_COUNT);
  Provide(Pointer(Channels[Source]^[Destination]), SizeOf(TChannel));
  Result := Channels[Source]^[Destination];
end;

function IsFull(Channel: Pointer): Boolean;
begin
  with PChannel(Channel)^ do
    Result := Written - Read = SLOTS;
end;

function IsEmpty(Channel: Pointer): Boolean;
begin
  with PChannel(Channel)^ do
    Result := Written = Read;
end;

function FreeSlot(Channel: PChannel): PSlot;
begin
  if IsFull(Channel) then
    WaitWhile(@IsFull, Channel, Channel^.Writers);
  Result := @Channel^.Data[Channel^.Written mod SLOTS];
end;

procedure SendSlot(Channel: PChannel);
begin
  InterlockedIncrement(LongInt(Channel^.Written));
  WakeOne(Channel^.Readers);
end;

function ReceiveSlot(Channel: PChannel): PSlot;
begin
  if IsEmpty(Channel) then
    WaitWhile(@IsEmpty, Channel, Channel^.Readers);
  Result := @Channel^.Data[Channel^.Read mod SLOTS];
end;

procedure FinishSlot(Channel: PChannel);
begin
  InterlockedIncrement(LongInt(Channel^.Read));
  WakeOne(Channel^.Writers);
end;

end.
