{ Calling the drivers of virtio devices.

  A device belongs to one core. Its driver is never called from an interrupt: whenever a thread
  yields or blocks, the scheduler of that core looks at the used rings, and calls the driver if
  something is there. Interrupts are enabled only when the core is about to halt. Devices
  interrupt core 0, from where the nucleus sends the interrupt on to the device's core. }
unit VirtIOPolling;

{$mode objfpc}

interface

uses VirtIODevices;

{ Sets DRIVER_OK; from now on Serve is called on this core. }
procedure RunDevice(Device: PVirtIODevice);

{ Makes a Quiet queue interrupt its core, even one that is halted already. To be called under
  the driver's lock, on any core; the driver sets Quiet again. }
procedure WantUsed(Device: PVirtIODevice; Queue: LongInt);

{ Sets Due: Serve, which clears it, is called when the TSC reaches Deadline. To be called on any
  core, under the driver's lock. }
procedure ServeBy(Device: PVirtIODevice; Deadline: QWord);

implementation

uses Arch, CoreThreads, Scheduling, VirtIO, VirtQueues;

const
  CONFIGURATION_CHANGED = 2; { bit of MMIO_INTSTATUS }

procedure RunDevice(Device: PVirtIODevice);
begin
  Device^.Core := GetCoreId;
  RouteInterrupt(Device^.Vector, Device^.Core);
  Device^.Next := GetCPU^.Devices;
  GetCPU^.Devices := Device;
  WriteRegister(Device^.Base, MMIO_STATUS, STATUS_RUNNING);
end;

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
  Reason := ReadRegister(Device^.Base, MMIO_INTSTATUS);
  if Reason <> 0 then
    WriteRegister(Device^.Base, MMIO_INTACK, Reason);
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
