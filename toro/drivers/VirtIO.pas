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

implementation

uses BootInfo, Arch, Memory, Scheduling;

const
  { Registers, section 4.2.2 }
  MAGIC_VALUE = $00;
  VERSION = $04;
  DEVICE_FEATURES = $10;
  DEVICE_FEATURES_SEL = $14;
  DRIVER_FEATURES = $20;
  DRIVER_FEATURES_SEL = $24;
  QUEUE_SEL = $30;
  QUEUE_NUM_MAX = $34;
  QUEUE_NUM = $38;
  QUEUE_READY = $44;
  QUEUE_NOTIFY = $50;
  INTERRUPT_STATUS = $60;
  INTERRUPT_ACK = $64;
  STATUS = $70;
  QUEUE_DESC = $80;
  QUEUE_DRIVER = $90;
  QUEUE_DEVICE = $A0;
  CONFIG_GENERATION = $FC;
  CONFIG = $100;

  MAGIC = $74726976; { "virt" }

  { Bits of STATUS, section 2.1, and of INTERRUPT_STATUS }
  ACKNOWLEDGE = 1;
  DRIVER = 2;
  DRIVER_OK = 4;
  FEATURES_OK = 8;
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
  if (ReadRegister(Device, MAGIC_VALUE) <> MAGIC) or (ReadRegister(Device, VERSION) <> 2) then
    Exit;
  Device^.Claimed := True;
  WriteRegister(Device, STATUS, 0);
  WriteRegister(Device, STATUS, ACKNOWLEDGE or DRIVER);
  WriteRegister(Device, DEVICE_FEATURES_SEL, 1);
  Offered := QWord(ReadRegister(Device, DEVICE_FEATURES)) shl 32;
  WriteRegister(Device, DEVICE_FEATURES_SEL, 0);
  Offered := Offered or ReadRegister(Device, DEVICE_FEATURES);
  Device^.Features := Offered and Wanted;
  WriteRegister(Device, DRIVER_FEATURES_SEL, 1);
  WriteRegister(Device, DRIVER_FEATURES, Device^.Features shr 32);
  WriteRegister(Device, DRIVER_FEATURES_SEL, 0);
  WriteRegister(Device, DRIVER_FEATURES, LongWord(Device^.Features));
  WriteRegister(Device, STATUS, ACKNOWLEDGE or DRIVER or FEATURES_OK);
  Result := (Device^.Features and F_VERSION_1 <> 0) and (ReadRegister(Device, STATUS) and FEATURES_OK <> 0);
  if not Result then
    WriteRegister(Device, STATUS, ACKNOWLEDGE or DRIVER or FAILED);
end;

{ Tells the device where the selected queue is, and enables it. }
procedure TellQueue(Device: PVirtIODevice; const Queue: TVirtQueue);
begin
  WriteRegister(Device, QUEUE_NUM, Queue.Size);
  WriteAddress(Device, QUEUE_DESC, Queue.Descriptors);
  WriteAddress(Device, QUEUE_DRIVER, Queue.Available);
  WriteAddress(Device, QUEUE_DEVICE, Queue.Used);
  WriteRegister(Device, QUEUE_READY, 1);
end;

function AddQueue(Device: PVirtIODevice; Size: Word): Boolean;
var
  Most: LongWord;
  Queue: PVirtQueue;
begin
  Result := False;
  WriteRegister(Device, QUEUE_SEL, Device^.QueueCount);
  Most := ReadRegister(Device, QUEUE_NUM_MAX);
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
  Queue^.Notify := PLongWord(Device^.Base + QUEUE_NOTIFY);
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
  WriteRegister(Device, STATUS, ACKNOWLEDGE or DRIVER or FEATURES_OK or DRIVER_OK);
end;

function NeedsReset(Device: PVirtIODevice): Boolean;
begin
  Result := ReadRegister(Device, STATUS) and NEEDS_RESET <> 0;
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
    WriteRegister(Device, QUEUE_SEL, I);
    TellQueue(Device, Device^.Queues[I]);
  end;
  Device^.Broken := False;
  WriteRegister(Device, STATUS, ACKNOWLEDGE or DRIVER or FEATURES_OK or DRIVER_OK);
  Device^.Broken := Device^.Broken or NeedsReset(Device);
  Result := not Device^.Broken;
end;

procedure ReadConfig(Device: PVirtIODevice; Offset, Count: LongWord; Words: PLongWord);
var
  I, Generation: LongWord;
begin
  repeat
    Generation := ReadRegister(Device, CONFIG_GENERATION);
    for I := 0 to Count - 1 do
      Words[I] := ReadRegister(Device, CONFIG + Offset + 4 * I);
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
  Reason := ReadRegister(Device, INTERRUPT_STATUS);
  if Reason <> 0 then
    WriteRegister(Device, INTERRUPT_ACK, Reason);
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
