{ Packets between cores, delivered in the order in which they are sent. }
unit VirtIOBus;

{$mode objfpc}

interface

const
  { Bytes of a packet, and of its payload }
  VIRTIO_CPU_MAX_PKT_SIZE = 1024;
  VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE = VIRTIO_CPU_MAX_PKT_SIZE - SizeOf(LongInt);
  VIRTIO_CPU_MAX_PKT_BUF_SIZE = VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE;

{ Sends Len bytes to a core. Blocks while 16 packets to it are under way. Does nothing if there
  is no such core, or Len exceeds VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE. }
procedure SendTo(Core: DWORD; Buffer: Pointer; Len: DWORD);

{ Waits for a packet from a core and copies its payload to Buffer, which has room for
  VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE bytes. Returns at once if there is no such core. }
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
