{ Virtio devices over MMIO (virtio 1.2, sections 3.1 and 4.2): finding and starting them. }
unit VirtIODevices;

{$mode objfpc}

interface

uses VirtIO, VirtQueues;

const
  { Device types (section 5) }
  ID_CONSOLE = 3;
  ID_VSOCK = 19;
  ID_FS = 26;

  { Feature bits (section 6) }
  F_VERSION_1 = QWord(1) shl 32;
  RING_FEATURES = F_INDIRECT_DESC or F_EVENT_IDX or F_VERSION_1;

  { MMIO_STATUS of a device that runs }
  STATUS_RUNNING = VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER or VIRTIO_FEATURES_OK or VIRTIO_DRIVER_OK;

  DEVICE_QUEUES = 10;

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
    Queues: array[0..DEVICE_QUEUES - 1] of TVirtQueue;
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

{ Resets a broken device and starts it again with the same, now empty, queues. May be called on
  any core, while no other one uses the device. False: it is still broken. }
function RestartDevice(Device: PVirtIODevice): Boolean;

{ Resets a device that its driver gives up, so that it uses no more memory, and says so on the
  console. }
procedure GiveUp(Device: PVirtIODevice; const Driver: ShortString);

{ Whether the device has set DEVICE_NEEDS_RESET. Costs an exit. }
function NeedsReset(Device: PVirtIODevice): Boolean;

{ Reads Count 32-bit words of configuration space from Offset, consistently. }
procedure ReadConfig(Device: PVirtIODevice; Offset, Count: LongWord; Words: PLongWord);

{ A register of a device. }
function ReadRegister(Base: PtrUInt; Offset: LongWord): LongWord; inline;
procedure WriteRegister(Base: PtrUInt; Offset, Value: LongWord); inline;

{ Tells a device where the selected queue is, and enables it. }
procedure TellQueue(Base: PtrUInt; Size: Word; Descriptors, Available, Used: Pointer);

implementation

uses BootInfo, Console, Memory;

const
  DEVICE_FEATURES_SEL = $14;
  CONFIG_GENERATION = $FC;

  { Bits of MMIO_STATUS, section 2.1 }
  NEEDS_RESET = 64;
  FAILED = 128;

var
  Devices: PVirtIODevice;
  DeviceCount: LongInt;

function ReadRegister(Base: PtrUInt; Offset: LongWord): LongWord;
begin
  Result := PLongWord(Base + Offset)^;
end;

procedure WriteRegister(Base: PtrUInt; Offset, Value: LongWord);
begin
  PLongWord(Base + Offset)^ := Value;
end;

procedure WriteAddress(Base: PtrUInt; Offset: LongWord; Address: Pointer);
begin
  WriteRegister(Base, Offset, LongWord(PtrUInt(Address)));
  WriteRegister(Base, Offset + 4, PtrUInt(Address) shr 32);
end;

procedure TellQueue(Base: PtrUInt; Size: Word; Descriptors, Available, Used: Pointer);
begin
  WriteRegister(Base, MMIO_QUEUENUM, Size);
  WriteAddress(Base, MMIO_DESCLOW, Descriptors);
  WriteAddress(Base, MMIO_AVAILLOW, Available);
  WriteAddress(Base, MMIO_USEDLOW, Used);
  WriteRegister(Base, MMIO_QUEUEREADY, 1);
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
  if (ReadRegister(Device^.Base, 0) <> MMIO_SIGNATURE) or (ReadRegister(Device^.Base, MMIO_VERSION) <> MMIO_MODERN) then
    Exit;
  Device^.Claimed := True;
  WriteRegister(Device^.Base, MMIO_STATUS, 0);
  WriteRegister(Device^.Base, MMIO_STATUS, VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER);
  WriteRegister(Device^.Base, DEVICE_FEATURES_SEL, 1);
  Offered := QWord(ReadRegister(Device^.Base, MMIO_FEATURES)) shl 32;
  WriteRegister(Device^.Base, DEVICE_FEATURES_SEL, 0);
  Offered := Offered or ReadRegister(Device^.Base, MMIO_FEATURES);
  Device^.Features := Offered and Wanted;
  WriteRegister(Device^.Base, MMIO_SELGUESTFEATURES, 1);
  WriteRegister(Device^.Base, MMIO_GUESTFEATURES, Device^.Features shr 32);
  WriteRegister(Device^.Base, MMIO_SELGUESTFEATURES, 0);
  WriteRegister(Device^.Base, MMIO_GUESTFEATURES, LongWord(Device^.Features));
  WriteRegister(Device^.Base, MMIO_STATUS, VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER or VIRTIO_FEATURES_OK);
  Result := (Device^.Features and F_VERSION_1 <> 0) and
            (ReadRegister(Device^.Base, MMIO_STATUS) and VIRTIO_FEATURES_OK <> 0);
  if not Result then
    WriteRegister(Device^.Base, MMIO_STATUS, VIRTIO_ACKNOWLEDGE or VIRTIO_DRIVER or FAILED);
end;

function AddQueue(Device: PVirtIODevice; Size: Word): Boolean;
var
  Most: LongWord;
  Queue: PVirtQueue;
begin
  Result := False;
  WriteRegister(Device^.Base, MMIO_QUEUESEL, Device^.QueueCount);
  Most := ReadRegister(Device^.Base, MMIO_QUEUENUMMAX);
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
  TellQueue(Device^.Base, Size, Queue^.Descriptors, Queue^.Available, Queue^.Used);
  Inc(Device^.QueueCount);
  Result := True;
end;

function NeedsReset(Device: PVirtIODevice): Boolean;
begin
  Result := ReadRegister(Device^.Base, MMIO_STATUS) and NEEDS_RESET <> 0;
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
    WriteRegister(Device^.Base, MMIO_QUEUESEL, I);
    with Device^.Queues[I] do
      TellQueue(Device^.Base, Size, Descriptors, Available, Used);
  end;
  Device^.Broken := False;
  WriteRegister(Device^.Base, MMIO_STATUS, STATUS_RUNNING);
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
  WriteRegister(Device^.Base, MMIO_STATUS, 0);
  Device^.Broken := True;
  WriteText(Driver + ': the device ' + Reason + ', and is given up' + LineEnding);
end;

procedure ReadConfig(Device: PVirtIODevice; Offset, Count: LongWord; Words: PLongWord);
var
  I, Generation: LongWord;
begin
  repeat
    Generation := ReadRegister(Device^.Base, CONFIG_GENERATION);
    for I := 0 to Count - 1 do
      Words[I] := ReadRegister(Device^.Base, MMIO_CONFIG + Offset + 4 * I);
  until ReadRegister(Device^.Base, CONFIG_GENERATION) = Generation;
end;

end.
