{ Packets from core to core. They arrive in the order in which they were sent. }
unit VirtIOBus;

{$mode objfpc}

interface

const
  { Bytes: of a packet, and of what can be sent in it }
  VIRTIO_CPU_MAX_PKT_SIZE = 1024;
  VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE = VIRTIO_CPU_MAX_PKT_SIZE - SizeOf(LongInt);
  VIRTIO_CPU_MAX_PKT_BUF_SIZE = VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE;

{ Sends Len bytes, at most VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE, to a core. Waits while 16
  packets are on their way to it, and lets other threads run. Does nothing when there
  is no such core or Len is too large. }
procedure SendTo(Core: DWORD; Buffer: Pointer; Len: DWORD);

{ Waits for the next packet from a core, and copies it to Buffer, which has room for
  VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE bytes. Returns at once when there is no such core. }
procedure RecvFrom(Core: DWORD; Buffer: Pointer);

implementation

uses Arch, CoreChannels;

type
  PPacket = ^TPacket;
  TPacket = record
    Len: LongInt;
    Payload: array[0..VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE - 1] of Byte;
  end;

{$if SizeOf(TPacket) > SLOT_SIZE}
  {$error a packet does not fit in a slot}
{$endif}

var
  Channels: TChannels;

procedure SendTo(Core: DWORD; Buffer: Pointer; Len: DWORD);
var
  Channel: PChannel;
  Packet: PPacket;
begin
  if (Core >= CPU_COUNT) or (Len > VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE) then
    Exit;
  Channel := ChannelOf(Channels, GetCoreId, Core);
  Packet := PPacket(FreeSlot(Channel));
  Packet^.Len := Len;
  Move(Buffer^, Packet^.Payload, Len);
  SendSlot(Channel);
end;

procedure RecvFrom(Core: DWORD; Buffer: Pointer);
var
  Channel: PChannel;
  Packet: PPacket;
begin
  if Core >= CPU_COUNT then
    Exit;
  Channel := ChannelOf(Channels, Core, GetCoreId);
  Packet := PPacket(ReceiveSlot(Channel));
  Move(Packet^.Payload, Buffer^, Packet^.Len);
  FinishSlot(Channel);
end;

end.
