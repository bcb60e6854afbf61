{ Virtio devices for drivers that manage their queues themselves, and the registers of every device
  over MMIO (virtio 1.2, sections 2.1 and 4.2.2).

  Such a driver calls InitVirtIODriver when it is initialized, and is called for each device of its
  type. It sets up its queues by VirtIOInitQueue, links them by Next from the device's Vqs, and
  returns True; then the device runs. When the device has used a buffer, VqHandler of that queue is
  called for it, by the scheduler of the core that called InitVirtIODriver. It must not yield.

    procedure Came(Vq: PVirtQueue);
    begin
      Element := @Vq^.used^.rings[VirtIOGetBuffer(Vq)];
      Data := Pointer(Vq^.buffers[Element^.index].address);
      ... }
unit VirtIO;

{$mode objfpc}

interface

const
  { Registers (section 4.2.2); those of the transport before version 1 are not in any device here }
  MMIO_SIGNATURE = $74726976; { "virt", at the beginning }
  MMIO_VERSION = $04;
  MMIO_MODERN = 2;            { its value }
  MMIO_DEVICEID = $08;
  MMIO_FEATURES = $10;
  MMIO_GUESTFEATURES = $20;
  MMIO_SELGUESTFEATURES = $24;
  MMIO_GUESTPAGESIZE = $28;
  MMIO_QUEUESEL = $30;
  MMIO_QUEUENUMMAX = $34;
  MMIO_QUEUENUM = $38;
  MMIO_QUEUEALIGN = $3C;
  MMIO_QUEUEPFN = $40;
  MMIO_QUEUEREADY = $44;
  MMIO_READY = MMIO_QUEUEREADY;
  MMIO_QUEUENOTIFY = $50;
  MMIO_INTSTATUS = $60;
  MMIO_INTACK = $64;
  MMIO_STATUS = $70;
  MMIO_DESCLOW = $80;
  MMIO_DESCHIGH = $84;
  MMIO_AVAILLOW = $90;
  MMIO_AVAILHIGH = $94;
  MMIO_USEDLOW = $A0;
  MMIO_USEDHIGH = $A4;
  MMIO_CONFIG = $100;

  { Bits of MMIO_STATUS (section 2.1), of descriptors (2.7.5), and numbers of feature bits }
  VIRTIO_ACKNOWLEDGE = 1;
  VIRTIO_DRIVER = 2;
  VIRTIO_DRIVER_OK = 4;
  VIRTIO_FEATURES_OK = 8;
  VIRTIO_DESC_FLAG_NEXT = 1;
  VIRTIO_DESC_FLAG_WRITE_ONLY = 2;
  VIRTIO_F_VERSION_1 = 32;
  VIRTIO_CSUM = 0;
  VIRTIO_MRG_RXBUF = 15;
  VIRTIO_CTRL_VQ = 17;

  MAX_MMIO_DEVICES = 4;       { that such drivers may have }

type
  PBufferInfo = ^TBufferInfo;
  TBufferInfo = record
    buffer: PByte;
    size: QWord;
    flags: Byte;               { VIRTIO_DESC_FLAG_WRITE_ONLY: the device writes it }
    copy: Boolean;             { what is in it is copied to the queue's own memory }
  end;

  VirtIOUsedItem = record
    index, length: DWord;      { first descriptor, bytes that the device has written }
  end;
  PVirtIOUsed = ^TVirtIOUsed;
  TVirtIOUsed = record
    flags, index: Word;
    rings: array[0..0] of VirtIOUsedItem;
  end;

  PVirtIOAvailable = ^TVirtIOAvailable;
  TVirtIOAvailable = record
    flags, index: Word;
    rings: array[0..0] of Word;
  end;

  PQueueBuffer = ^TQueueBuffer;
  TQueueBuffer = record
    address: QWord;
    length: DWord;
    flags, next: Word;
  end;

  PVirtQueue = ^TVirtQueue;
  TVirtQueue = record
    index: Word;               { its number }
    queue_size: Word;
    buffers: PQueueBuffer;     { descriptors; they are taken one after the other }
    available: PVirtIOAvailable;
    used: PVirtIOUsed;
    last_desc_index: Word;     { the next descriptor to take }
    last_used_index: Word;     { used elements that were taken }
    last_available_index: Word; { available ones, where the driver plays the device }
    free_nr_desc: Word;        { descriptors that are free }
    buffer: PByte;             { memory of its own, chunk_size bytes for each descriptor; or nil }
    chunk_size: DWord;
    lock: QWord;
    VqHandler: procedure(Vq: PVirtQueue);
    Device: Pointer;           { the driver's }
    Next: PVirtQueue;          { of the same device }
  end;

  PVirtIOMMIODevice = ^TVirtIOMMIODevice;
  TVirtIOMMIODevice = record
    Base: QWord;               { address of its registers }
    Irq: Byte;                 { for IOApicIrqOn }
    Vqs: PVirtQueue;           { the first queue }
  end;
  TVirtIODriver = function(Device: PVirtIOMMIODevice): Boolean;

var
  { The devices of such drivers. }
  VirtIOMMIODevices: array[0..MAX_MMIO_DEVICES - 1] of TVirtIOMMIODevice;
  VirtIOMMIODevicesCount: LongInt = 0;

{ Starts each device of type ID that no driver has: with VERSION_1 alone, unless the driver
  negotiates more. }
procedure InitVirtIODriver(ID: DWord; InitDriver: TVirtIODriver); external name 'InitVirtIODriver';

{ Sets up queue QueueId with at most QueueLen entries. With a HeaderLen, each gets a buffer of so
  many bytes, for the device to write. False: no such queue, or no memory. }
function VirtIOInitQueue(Base: QWord; QueueId: Word; Queue: PVirtQueue; QueueLen: Word; HeaderLen: DWord): Boolean;
  external name 'VirtIOInitQueue';

{ Gives the device a chain of Count buffers, and notifies it. Waits while the queue is full. }
procedure VirtIOAddBuffer(Base: QWord; Queue: PVirtQueue; bi: PBufferInfo; Count: QWord); external name 'VirtIOAddBuffer';

{ Takes a used element, which must be there, and frees its descriptors; returns its place in
  used^.rings. }
function VirtIOGetBuffer(Queue: PVirtQueue): Word; external name 'VirtIOGetBuffer';

{ The device's side, for queues between cores: takes an available buffer (nil: there is none), and
  gives it back with Len bytes in it. }
function VirtIOGetAvailBuffer(Queue: PVirtQueue; var buffer_index: Word): PQueueBuffer;
  external name 'VirtIOGetAvailBuffer';
procedure VirtIOAddConsumedBuffer(Queue: PVirtQueue; buffer_index: Word; Len: DWord);
  external name 'VirtIOAddConsumedBuffer';

{ Registers of a device. }
procedure SetDeviceStatus(Base: QWord; Value: DWord); inline;
procedure SetDeviceGuestPageSize(Base: QWord; Value: DWord); inline;
function GetIntStatus(Base: QWord): DWord; inline;
procedure SetIntACK(Base: QWord; Value: DWord); inline;
function GetDeviceFeatures(Base: QWord): DWord; inline;
procedure SetDriverFeatures(Base: QWord; Value: DWord); inline;
procedure SelDriverFeatures(Base, Value: DWord); inline;

implementation

uses PlainQueues;

function RegisterOf(Base, Offset: QWord): PDWord; inline;
begin
  Result := PDWord(Base + Offset);
end;

procedure SetDeviceStatus(Base: QWord; Value: DWord);
begin
  RegisterOf(Base, MMIO_STATUS)^ := Value;
end;

procedure SetDeviceGuestPageSize(Base: QWord; Value: DWord);
begin
  RegisterOf(Base, MMIO_GUESTPAGESIZE)^ := Value;
end;

function GetIntStatus(Base: QWord): DWord;
begin
  Result := RegisterOf(Base, MMIO_INTSTATUS)^;
end;

procedure SetIntACK(Base: QWord; Value: DWord);
begin
  RegisterOf(Base, MMIO_INTACK)^ := Value;
end;

function GetDeviceFeatures(Base: QWord): DWord;
begin
  Result := RegisterOf(Base, MMIO_FEATURES)^;
end;

procedure SetDriverFeatures(Base: QWord; Value: DWord);
begin
  RegisterOf(Base, MMIO_GUESTFEATURES)^ := Value;
end;

procedure SelDriverFeatures(Base, Value: DWord);
begin
  RegisterOf(Base, MMIO_SELGUESTFEATURES)^ := Value;
end;

end.
