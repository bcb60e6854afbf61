{ Virtio devices over MMIO (virtio 1.2, sections 3.1 and 4.2): finding them, starting them, and
  calling their drivers.

  A device belongs to one core. Its driver is never called from an interrupt: whenever a thread
  yields or blocks, the scheduler of that core looks at the used rings, and calls the driver if
  something is there. Interrupts are enabled only when the core is about to halt. Devices
  interrupt core 0, from where the nucleus sends the interrupt on to the device's core. }
unit VirtIO;

{$mode objfpc}

interface

uses CoreThreads, VirtQueues;

const
  { Device types (section 5) }
  ID_CONSOLE = 3;
  ID_VSOCK = 19;
  ID_FS = 26;

  { Feature bits (section 6) }
  F_INDIRECT_DESC = VirtQueues.F_INDIRECT_DESC;
  F_EVENT_IDX = VirtQueues.F_EVENT_IDX;
  F_VERSION_1 = QWord(1) shl 32;
  RING_FEATURES = F_INDIRECT_DESC or F_EVENT_IDX or F_VERSION_1;

  DEVICE_QUEUES = 10;

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

  MAX_MMIO_DEVICES = 4;       { that drivers of the second kind may have }

type
  PVirtIODevice = ^TVirtIODevice;
  TVirtIODevice = record
    Base: PtrUInt;         { address of its registers }
    DeviceID: LongWord;
    Vector: Byte;          { of its interrupt }
    Messages: Boolean;     { its interrupts are messages, which need no acknowledgement }
    Claimed: Boolean;      { a driver uses it }
    Core: Byte;            { that it belongs to }
    Changed: Boolean;      { its configuration space has changed }
    Broken: Boolean;       { it needs a reset: DEVICE_NEEDS_RESET, or a damaged ring }
    Features: QWord;       { that were negotiated }
    QueueCount: LongInt;
    Queues: array[0..DEVICE_QUEUES - 1] of VirtQueues.TVirtQueue;
    Quiet: set of 0..DEVICE_QUEUES - 1; { queues that do not interrupt a halted core }
    Due: QWord;            { TSC at which Serve is called in any case; 0: never; see ServeBy }
    { Called on the device's core when a queue has used buffers, Changed or Broken is set, or the
      TSC has reached Due. Must not yield. }
    Serve: procedure(Device: PVirtIODevice);
    { Whether queues that are not in Queues have used buffers; nil: there are none (PlainQueues). }
    OthersUsed: function(Device: PVirtIODevice): Boolean;
    Next: PVirtIODevice;   { of the same core }
  end;

{ The unclaimed devices of a type, by Index from 0; nil past the last one. }
function FindDevice(DeviceID: LongWord; Index: LongInt = 0): PVirtIODevice;

{ Resets a device and negotiates the features in Wanted that it offers. False: it refuses them,
  or does not offer VIRTIO_F_VERSION_1. }
function StartDevice(Device: PVirtIODevice; Wanted: QWord): Boolean;

{ Sets up the device's next queue, of at most Size entries. False: no such queue, or no
  memory. }
function AddQueue(Device: PVirtIODevice; Size: Word): Boolean;

{ Sets DRIVER_OK; from now on Serve is called on this core. }
procedure RunDevice(Device: PVirtIODevice);

{ Resets a broken device and starts it again with the same, now empty, queues. May be called on
  any core, while no other one uses the device. False: it is still broken. }
function RestartDevice(Device: PVirtIODevice): Boolean;

{ Resets a device that its driver gives up, so that it uses no more memory, and says so on the
  console. }
procedure GiveUp(Device: PVirtIODevice; const Driver: ShortString);

{ Makes a Quiet queue interrupt its core, even one that is halted already. To be called under
  the driver's lock, on any core; the driver sets Quiet again. }
procedure WantUsed(Device: PVirtIODevice; Queue: LongInt);

{ Sets Due: Serve, which clears it, is called when the TSC reaches Deadline. To be called on any
  core, under the driver's lock. }
procedure ServeBy(Device: PVirtIODevice; Deadline: QWord);

{ Whether the device has set DEVICE_NEEDS_RESET. Costs an exit. }
function NeedsReset(Device: PVirtIODevice): Boolean;

{ Reads Count 32-bit words of configuration space from Offset, consistently. }
procedure ReadConfig(Device: PVirtIODevice; Offset, Count: LongWord; Words: PLongWord);

{ ---- Drivers of the second kind: they manage their queues themselves ----

  Such a driver calls InitVirtIODriver when it is initialized, and is called for each device of its
  type. It sets up its queues by VirtIOInitQueue, links them by Next from the device's Vqs, and
  returns True; then the device runs. When the device has used a buffer, VqHandler of that queue is
  called for it, by the scheduler of the core that called InitVirtIODriver. It must not yield.

    procedure Came(Vq: PVirtQueue);
    begin
      Element := @Vq^.used^.rings[VirtIOGetBuffer(Vq)];
      Data := Pointer(Vq^.buffers[Element^.index].address);
      ... }

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

uses BootInfo, Arch, Console, Memory, PlainQueues, Scheduling;

const
  DEVICE_FEATURES_SEL = $14;
  CONFIG_GENERATION = $FC;

  { Bits of MMIO_STATUS, section 2.1, and of MMIO_INTSTATUS }
  NEEDS_RESET = 64;
  FAILED = 128;
  CONFIGURATION_CHANGED = 2;

var
  Devices: PVirtIODevice;
  DeviceCount: LongInt;

function ReadRegister(Device: PVirtIODevice; Offset: LongWord): LongWord; inline;
begin
  Result := PLongWord(Device^.Base + Offset)^;
end;

procedure WriteRegister(Device: PVirtIODevice; Offset, Value: LongWord); inline;
begin
  PLongWord(Device^.Base + Offset)^ := Value;
end;

procedure WriteAddress(Device: PVirtIODevice; Offset: LongWord; Address: Pointer);
begin
  WriteRegister(Device, Offset, LongWord(PtrUInt(Address)));
  WriteRegister(Device, Offset + 4, PtrUInt(Address) shr 32);
end;

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

{ ---- Finding ---- }

{ The boot-info block lists all devices: nothing is probed. }
procedure FindAll;
var
  I: LongInt;
begin
  DeviceCount := TheBootInfo^.DeviceCount;
  Devices := ToroAllocMem(DeviceCount * SizeOf(TVirtIODevice));
  if Devices = nil then
    DeviceCount := 0;
  for I := 0 to DeviceCount - 1 do
  begin
    Devices[I].Base := TheBootInfo^.Devices[I].Base;
    Devices[I].Vector := TheBootInfo^.Devices[I].Vector;
    Devices[I].DeviceID := TheBootInfo^.Devices[I].DeviceID;
    Devices[I].Messages := TheBootInfo^.Flags and BOOT_INFO_LINES = 0;
  end;
end;

function FindDevice(DeviceID: LongWord; Index: LongInt): PVirtIODevice;
var
  I: LongInt;
begin
  if Devices = nil then
    FindAll;
  for I := 0 to DeviceCount - 1 do
    if (Devices[I].DeviceID = DeviceID) and not Devices[I].Claimed then
    begin
      if Index = 0 then
        Exit(@Devices[I]);
      Dec(Index);
    end;
  Result := nil;
end;

{ ---- Starting ---- }

function StartDevice(Device: PVirtIODevice; Wanted: QWord): Boolean;
var
  Offered: QWord;
begin
  Result := False;
  if (ReadRegister(Device, 0) <> MMIO_SIGNATURE) or (ReadRegister(Device, MMIO_VERSION) <> MMIO_MODERN) then
    Exit;
  Device^.Claimed := True;
  WriteRegister(Device, MMIO_STATUS, 0);
  WriteRegister(Device, MMIO_STATUS, VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER);
  WriteRegister(Device, DEVICE_FEATURES_SEL, 1);
  Offered := QWord(ReadRegister(Device, MMIO_FEATURES)) shl 32;
  WriteRegister(Device, DEVICE_FEATURES_SEL, 0);
  Offered := Offered or ReadRegister(Device, MMIO_FEATURES);
  Device^.Features := Offered and Wanted;
  WriteRegister(Device, MMIO_SELGUESTFEATURES, 1);
  WriteRegister(Device, MMIO_GUESTFEATURES, Device^.Features shr 32);
  WriteRegister(Device, MMIO_SELGUESTFEATURES, 0);
  WriteRegister(Device, MMIO_GUESTFEATURES, LongWord(Device^.Features));
  WriteRegister(Device, MMIO_STATUS, VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER or VIRTIO_FEATURES_OK);
  Result := (Device^.Features and F_VERSION_1 <> 0) and (ReadRegister(Device, MMIO_STATUS) and VIRTIO_FEATURES_OK <> 0);
  if not Result then
    WriteRegister(Device, MMIO_STATUS, VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER or FAILED);
end;

{ Tells the device where the selected queue is, and enables it. }
procedure TellQueue(Device: PVirtIODevice; const Queue: VirtQueues.TVirtQueue);
begin
  WriteRegister(Device, MMIO_QUEUENUM, Queue.Size);
  WriteAddress(Device, MMIO_DESCLOW, Queue.Descriptors);
  WriteAddress(Device, MMIO_AVAILLOW, Queue.Available);
  WriteAddress(Device, MMIO_USEDLOW, Queue.Used);
  WriteRegister(Device, MMIO_QUEUEREADY, 1);
end;

function AddQueue(Device: PVirtIODevice; Size: Word): Boolean;
var
  Most: LongWord;
  Queue: VirtQueues.PVirtQueue;
begin
  Result := False;
  WriteRegister(Device, MMIO_QUEUESEL, Device^.QueueCount);
  Most := ReadRegister(Device, MMIO_QUEUENUMMAX);
  if (Most = 0) or (Device^.QueueCount = DEVICE_QUEUES) then
    Exit;
  if Size > Most then
    Size := Most;
  if Size > QUEUE_SIZE_MAX then
    Size := QUEUE_SIZE_MAX;
  { Rounded down to a power of 2. }
  Size := 1 shl BsrWord(Size);
  Queue := @Device^.Queues[Device^.QueueCount];
  if not MakeQueue(Queue^, Size, Device^.Features) then
    Exit;
  Queue^.Number := Device^.QueueCount;
  Queue^.Notify := PLongWord(Device^.Base + MMIO_QUEUENOTIFY);
  TellQueue(Device, Queue^);
  Inc(Device^.QueueCount);
  Result := True;
end;

procedure RunDevice(Device: PVirtIODevice);
begin
  Device^.Core := GetCoreId;
  RouteInterrupt(Device^.Vector, Device^.Core);
  Device^.Next := GetCPU^.Devices;
  GetCPU^.Devices := Device;
  WriteRegister(Device, MMIO_STATUS, VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER or VIRTIO_FEATURES_OK or VIRTIO_DRIVER_OK);
end;

function NeedsReset(Device: PVirtIODevice): Boolean;
begin
  Result := ReadRegister(Device, MMIO_STATUS) and NEEDS_RESET <> 0;
end;

function RestartDevice(Device: PVirtIODevice): Boolean;
var
  I: LongInt;
begin
  if not StartDevice(Device, Device^.Features) then
    Exit(False);
  for I := 0 to Device^.QueueCount - 1 do
  begin
    ClearQueue(Device^.Queues[I], Device^.Features);
    WriteRegister(Device, MMIO_QUEUESEL, I);
    TellQueue(Device, Device^.Queues[I]);
  end;
  Device^.Broken := False;
  WriteRegister(Device, MMIO_STATUS, VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER or VIRTIO_FEATURES_OK or VIRTIO_DRIVER_OK);
  Device^.Broken := Device^.Broken or NeedsReset(Device);
  Result := not Device^.Broken;
end;

procedure GiveUp(Device: PVirtIODevice; const Driver: ShortString);
var
  I: LongInt;
  Reason: ShortString;
begin
  Reason := 'needs a reset';
  if not NeedsReset(Device) then
    Reason := 'does not answer as it should';
  for I := 0 to Device^.QueueCount - 1 do
    if Device^.Queues[I].Broken then
      Reason := 'has damaged its queue';
  WriteRegister(Device, MMIO_STATUS, 0);
  Device^.Broken := True;
  WriteText(Driver + ': the device ' + Reason + ', and is given up' + LineEnding);
end;

procedure ReadConfig(Device: PVirtIODevice; Offset, Count: LongWord; Words: PLongWord);
var
  I, Generation: LongWord;
begin
  repeat
    Generation := ReadRegister(Device, CONFIG_GENERATION);
    for I := 0 to Count - 1 do
      Words[I] := ReadRegister(Device, MMIO_CONFIG + Offset + 4 * I);
  until ReadRegister(Device, CONFIG_GENERATION) = Generation;
end;

{ ---- Serving ---- }

{ Makes the core of a device look at it, even if it is halted. }
procedure WakeCore(Device: PVirtIODevice);
begin
  if Device^.Core <> GetCoreId then
    send_apic_int(Device^.Core, INTER_CORE_IRQ);
end;

procedure ServeBy(Device: PVirtIODevice; Deadline: QWord);
begin
  Device^.Due := Deadline;
  WakeCore(Device); { it may have halted without a timer }
end;

procedure WantUsed(Device: PVirtIODevice; Queue: LongInt);
begin
  Exclude(Device^.Quiet, Queue);
  WantInterrupt(Device^.Queues[Queue]);
  { What was used before does not interrupt. }
  if HasUsed(Device^.Queues[Queue]) then
    WakeCore(Device);
end;

function AnyUsed(Device: PVirtIODevice): Boolean;
var
  I: LongInt;
begin
  if Device^.OthersUsed <> nil then
    Exit(Device^.OthersUsed(Device));
  for I := 0 to Device^.QueueCount - 1 do
    if HasUsed(Device^.Queues[I]) then
      Exit(True);
  Result := False;
end;

{ Reads the interrupt's cause and acknowledges it. Each access is an exit. So a device with
  messages is asked only if its rings do not explain the interrupt: then its configuration has
  changed, or it needs a reset. }
procedure AcknowledgeInterrupt(Device: PVirtIODevice);
var
  Reason: LongWord;
begin
  Reason := ReadRegister(Device, MMIO_INTSTATUS);
  if Reason <> 0 then
    WriteRegister(Device, MMIO_INTACK, Reason);
  if Reason and CONFIGURATION_CHANGED = 0 then
    Exit;
  Device^.Changed := True;
  if NeedsReset(Device) then
    Device^.Broken := True;
end;

procedure PollAll(CPU: PCPU);
var
  Device: PVirtIODevice;
  Came, Used: Boolean;
begin
  Device := CPU^.Devices;
  while Device <> nil do
  begin
    { The interrupt is taken first: a buffer that is used after the look at the rings raises
      another. }
    Came := TakePending(Device^.Vector);
    if Came and not Device^.Messages then
      AcknowledgeInterrupt(Device);
    Used := AnyUsed(Device);
    if Came and Device^.Messages and not Used then
      AcknowledgeInterrupt(Device);
    if Used or Device^.Changed or ((Device^.Due <> 0) and (read_rdtsc >= Device^.Due)) then
      Device^.Serve(Device);
    Device^.Changed := False;
    Device := Device^.Next;
  end;
end;

function WantInterrupts(CPU: PCPU): Boolean;
var
  Device: PVirtIODevice;
  I: LongInt;
begin
  Result := True;
  CPU^.DevicesDue := 0;
  Device := CPU^.Devices;
  while Device <> nil do
  begin
    if (Device^.OthersUsed <> nil) and Device^.OthersUsed(Device) then
      Result := False;
    if (Device^.Due <> 0) and ((CPU^.DevicesDue = 0) or (Device^.Due < CPU^.DevicesDue)) then
      CPU^.DevicesDue := Device^.Due;
    for I := 0 to Device^.QueueCount - 1 do
      if not (I in Device^.Quiet) then
      begin
        WantInterrupt(Device^.Queues[I]);
        Result := Result and not HasUsed(Device^.Queues[I]);
      end;
    Device := Device^.Next;
  end;
end;

initialization
  PollDevices := @PollAll;
  ArmDevices := @WantInterrupts;
end.
