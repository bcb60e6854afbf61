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

{ Lets other threads run, for up to some microseconds after Start (a TSC); False when
  they are over and it is time to block. }
function WaitsBriefly(Start: QWord): Boolean;

implementation

uses CoreTimer, Memory, Scheduling, WaitQueues;

const
  BRIEFLY = 10; { microseconds }

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

function WaitsBriefly(Start: QWord): Boolean;
begin
  Result := read_rdtsc - Start < TicksOf(BRIEFLY) div 1000;
  if not Result then
    Exit;
  NOP;
  Yield;
  Checkpoint;
end;

function IsStuck(Channel: PChannel; Limit: LongWord): Boolean; inline;
begin
  Result := Channel^.Written - Channel^.Read = Limit;
end;

{ Waits in a queue of the channel until it does not hold Limit slots. }
procedure Wait(Channel: PChannel; var Queue: TWaitQueue; Limit: LongWord);
var
  Start: QWord;
  Waiter: TWaiter;
begin
  Start := read_rdtsc;
  while IsStuck(Channel, Limit) do
    if not WaitsBriefly(Start) then
    begin
      LockQueue(Queue);
      JoinQueue(Queue, Waiter);
      { The other side changes its counter and then looks at the queue; this side has
        joined the queue and then looks at the counter. One of them sees the other. }
      ReadWriteBarrier;
      if not IsStuck(Channel, Limit) then
      begin
        LeaveQueue(Queue, Waiter);
        UnlockQueue(Queue);
        Exit;
      end;
      UnlockQueue(Queue);
      if WaitInQueue(Queue, Waiter, 0) and GetCurrentThread^.Killed then
        WakeFirst(Queue); { in the place of this one }
      Checkpoint;
    end;
end;

{ Changes a counter, and wakes who waits for that. }
procedure Advance(var Counter: LongWord; var Queue: TWaitQueue); inline;
begin
  InterlockedIncrement(LongInt(Counter));
  if Queue.First <> nil then
    WakeFirst(Queue);
end;

function FreeSlot(Channel: PChannel): PSlot;
begin
  if IsStuck(Channel, SLOTS) then
    Wait(Channel, Channel^.Writers, SLOTS);
  Result := @Channel^.Data[Channel^.Written mod SLOTS];
end;

procedure SendSlot(Channel: PChannel);
begin
  Advance(Channel^.Written, Channel^.Readers);
end;

function ReceiveSlot(Channel: PChannel): PSlot;
begin
  if IsStuck(Channel, 0) then
    Wait(Channel, Channel^.Readers, 0);
  Result := @Channel^.Data[Channel^.Read mod SLOTS];
end;

procedure FinishSlot(Channel: PChannel);
begin
  Advance(Channel^.Read, Channel^.Writers);
end;

end.
