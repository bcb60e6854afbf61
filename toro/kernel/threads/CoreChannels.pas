{ Channels from core to core: for each ordered pair a ring of slots in memory that both
  see. One core writes, one reads, so there is no lock; who has to wait lets the other
  threads of its core run, and blocks when it takes longer.

  A channel has memory from its first use. }
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

  { What the two cores write is a cache line apart. }
  PChannel = ^TChannel;
  TChannel = record
    Written: LongWord; { slots, ever }
    Line1: array[1..15] of LongWord;
    Read: LongWord;
    Line2: array[1..15] of LongWord;
    Readers, Writers: TWaitQueue;
    Line3: array[1..2] of QWord;
    Data: array[0..SLOTS - 1] of TSlot;
  end;

  { A set of channels between all cores; all zero at the beginning. }
  TChannelRow = array[0..MAX_CPU - 1] of PChannel;
  TChannels = array[0..MAX_CPU - 1] of ^TChannelRow;

{ The channel of a set from one core to another. When there is no memory for it: a
  run-time error, or EOutOfMemory. }
function ChannelOf(var Channels: TChannels; Source, Destination: LongInt): PChannel;

{ Waits for a free slot. What is written there goes on its way with SendSlot; the thread
  must not give way in between. }
function FreeSlot(Channel: PChannel): PSlot;
procedure SendSlot(Channel: PChannel);

{ Waits for a slot that was sent. It stays until FinishSlot, and the thread must not give
  way in between. }
function ReceiveSlot(Channel: PChannel): PSlot;
procedure FinishSlot(Channel: PChannel);

implementation

uses Memory, WaitQueues;

{ Allocates zeroed memory for Place, unless another core is first. }
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
