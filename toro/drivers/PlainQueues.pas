{ Virtqueues that drivers manage themselves (virtio 1.2, section 2.7). Unit VirtIO declares these
  routines.

  Descriptors are taken one after the other, so a queue serves its buffers in their order; a used
  element that names no descriptor of the queue is taken for its first one. }
unit PlainQueues;

{$mode objfpc}

interface

implementation

uses Arch, Memory, VirtIO, VirtIODevices, VirtIOPolling;

const
  DESCRIPTOR_SIZE = 16; { section 2.7.5; also the alignment of the table }
  RING_ALIGNMENT = 64;

var
  { Whose queues VirtIOMMIODevices has. }
  Owners: array[0..MAX_MMIO_DEVICES - 1] of PVirtIODevice;

procedure Lock(Queue: PVirtQueue);
begin
  SpinLock(0, 1, Queue^.lock);
end;

procedure Unlock(Queue: PVirtQueue);
begin
  WriteBarrier;
  Queue^.lock := 0;
end;

function HasUsedElement(Queue: PVirtQueue): Boolean;
begin
  Result := Queue^.used^.index <> Queue^.last_used_index;
  ReadBarrier;
end;

{ ---- Serving ---- }

{ Calls the handler for each used element; one that takes none is called again later. }
procedure ServeQueue(Queue: PVirtQueue);
var
  Before: Word;
begin
  if Queue^.VqHandler = nil then
    Exit;
  while HasUsedElement(Queue) do
  begin
    Before := Queue^.last_used_index;
    Queue^.VqHandler(Queue);
    if Queue^.last_used_index = Before then
      Exit;
  end;
end;

function QueuesOf(Device: PVirtIODevice): PVirtQueue;
var
  I: LongInt;
begin
  for I := 0 to VirtIOMMIODevicesCount - 1 do
    if Owners[I] = Device then
      Exit(VirtIOMMIODevices[I].Vqs);
  Result := nil;
end;

procedure Serve(Device: PVirtIODevice);
var
  Queue: PVirtQueue;
begin
  Queue := QueuesOf(Device);
  while Queue <> nil do
  begin
    ServeQueue(Queue);
    Queue := Queue^.Next;
  end;
end;

function AnyUsed(Device: PVirtIODevice): Boolean;
var
  Queue: PVirtQueue;
begin
  Result := False;
  Queue := QueuesOf(Device);
  while (Queue <> nil) and not Result do
  begin
    Result := (Queue^.VqHandler <> nil) and HasUsedElement(Queue);
    Queue := Queue^.Next;
  end;
end;

{ ---- Starting ---- }

procedure StartDriver(ID: DWord; InitDriver: TVirtIODriver); public name 'InitVirtIODriver';
var
  Device: PVirtIODevice;
  Own: PVirtIOMMIODevice;
begin
  repeat
    Device := FindDevice(ID);
    if (Device = nil) or (VirtIOMMIODevicesCount = MAX_MMIO_DEVICES) then
      Exit;
    if not StartDevice(Device, F_VERSION_1) then
      Continue; { it is claimed now }
    Own := @VirtIOMMIODevices[VirtIOMMIODevicesCount];
    Own^.Base := Device^.Base;
    Own^.Irq := Device^.Vector - BASE_IRQ;
    Own^.Vqs := nil;
    if not InitDriver(Own) then
    begin
      SetDeviceStatus(Device^.Base, 0);
      Continue;
    end;
    Owners[VirtIOMMIODevicesCount] := Device;
    Inc(VirtIOMMIODevicesCount);
    Device^.Serve := @Serve;
    Device^.OthersUsed := @AnyUsed;
    RunDevice(Device);
  until False;
end;

procedure Offer(Queue: PVirtQueue; Head: Word);
begin
  with Queue^.available^ do
  begin
    rings[index mod Queue^.queue_size] := Head;
    ReadWriteBarrier; { the element before its number, and that before a look at the device's flags }
    Inc(index);
    ReadWriteBarrier;
  end;
end;

function SetUpQueue(Base: QWord; QueueId: Word; Queue: PVirtQueue; QueueLen: Word; HeaderLen: DWord): Boolean;
  public name 'VirtIOInitQueue';
var
  Memory: PByte;
  Size: LongWord;
  I: LongInt;
begin
  Queue^ := Default(TVirtQueue);
  WriteRegister(Base, MMIO_QUEUESEL, QueueId);
  Size := ReadRegister(Base, MMIO_QUEUENUMMAX);
  if Size > QueueLen then
    Size := QueueLen;
  if Size = 0 then
    Exit(False);
  Size := 1 shl BsrDWord(Size); { rounded down to a power of 2 }
  { Descriptors, the available ring, and the used one. }
  Memory := ToroGetAlignedMem(Size * DESCRIPTOR_SIZE + 2 * (RING_ALIGNMENT + 8 + 8 * Size), RING_ALIGNMENT);
  if HeaderLen > 0 then
    Queue^.buffer := ToroGetMem(QWord(Size) * HeaderLen);
  if (Memory = nil) or ((HeaderLen > 0) and (Queue^.buffer = nil)) then
  begin
    ToroFreeMem(Memory);
    ToroFreeMem(Queue^.buffer);
    Exit(False);
  end;
  FillChar(Memory^, Size * DESCRIPTOR_SIZE + 2 * (RING_ALIGNMENT + 8 + 8 * Size), 0);
  Queue^.index := QueueId;
  Queue^.queue_size := Size;
  Queue^.free_nr_desc := Size;
  Queue^.chunk_size := HeaderLen;
  Queue^.buffers := PQueueBuffer(Memory);
  Queue^.available := PVirtIOAvailable(Memory + Size * DESCRIPTOR_SIZE);
  Queue^.used := PVirtIOUsed(Memory + Size * DESCRIPTOR_SIZE + RING_ALIGNMENT + 8 + 8 * Size and not QWord(7));
  if HeaderLen > 0 then
  begin
    for I := 0 to Size - 1 do
    begin
      Queue^.buffers[I].address := PtrUInt(Queue^.buffer) + QWord(I) * HeaderLen;
      Queue^.buffers[I].length := HeaderLen;
      Queue^.buffers[I].flags := VIRTIO_DESC_FLAG_WRITE_ONLY;
      Offer(Queue, I);
    end;
    Queue^.free_nr_desc := 0;
  end;
  TellQueue(Base, Size, Queue^.buffers, Queue^.available, Queue^.used);
  Result := True;
end;

{ ---- Buffers ---- }

procedure AddBuffer(Base: QWord; Queue: PVirtQueue; bi: PBufferInfo; Count: QWord); public name 'VirtIOAddBuffer';
var
  Descriptor: PQueueBuffer;
  Head, At: Word;
  I: QWord;
begin
  if (Count = 0) or (Count > Queue^.queue_size) then
    Exit;
  Lock(Queue);
  while Queue^.free_nr_desc < Count do
  begin
    Unlock(Queue);
    ServeQueue(Queue);
    NOP;
    Lock(Queue);
  end;
  Head := Queue^.last_desc_index;
  for I := 0 to Count - 1 do
  begin
    At := (Head + I) mod Queue^.queue_size;
    Descriptor := @Queue^.buffers[At];
    Descriptor^.address := PtrUInt(bi[I].buffer);
    Descriptor^.length := bi[I].size;
    Descriptor^.flags := bi[I].flags;
    if bi[I].copy and (bi[I].size <= Queue^.chunk_size) then
    begin
      Descriptor^.address := PtrUInt(Queue^.buffer) + QWord(At) * Queue^.chunk_size;
      if bi[I].flags and VIRTIO_DESC_FLAG_WRITE_ONLY = 0 then
        Move(bi[I].buffer^, Pointer(Descriptor^.address)^, bi[I].size);
    end;
    Descriptor^.next := (At + 1) mod Queue^.queue_size;
    if I + 1 < Count then
      Descriptor^.flags := Descriptor^.flags or VIRTIO_DESC_FLAG_NEXT;
  end;
  Queue^.last_desc_index := (Head + Count) mod Queue^.queue_size;
  Dec(Queue^.free_nr_desc, Count);
  Offer(Queue, Head);
  Unlock(Queue);
  if (Base <> 0) and (Queue^.used^.flags and 1 = 0) then
    WriteRegister(Base, MMIO_QUEUENOTIFY, Queue^.index);
end;

function GetBuffer(Queue: PVirtQueue): Word; public name 'VirtIOGetBuffer';
var
  At: LongWord;
begin
  Lock(Queue);
  Result := Queue^.last_used_index mod Queue^.queue_size;
  Inc(Queue^.last_used_index);
  At := Queue^.used^.rings[Result].index;
  if At >= Queue^.queue_size then
  begin
    At := 0;
    Queue^.used^.rings[Result].index := 0;
  end;
  repeat
    Inc(Queue^.free_nr_desc);
    if (Queue^.buffers[At].flags and VIRTIO_DESC_FLAG_NEXT = 0) or (Queue^.free_nr_desc >= Queue^.queue_size) then
      Break;
    At := (At + 1) mod Queue^.queue_size;
  until False;
  Unlock(Queue);
end;

{ ---- The device's side ---- }

function GetAvailable(Queue: PVirtQueue; var buffer_index: Word): PQueueBuffer; public name 'VirtIOGetAvailBuffer';
begin
  Result := nil;
  Lock(Queue);
  if Queue^.last_available_index <> Queue^.available^.index then
  begin
    ReadBarrier;
    buffer_index := Queue^.available^.rings[Queue^.last_available_index mod Queue^.queue_size] mod Queue^.queue_size;
    Inc(Queue^.last_available_index);
    Result := @Queue^.buffers[buffer_index];
  end;
  Unlock(Queue);
end;

procedure AddConsumed(Queue: PVirtQueue; buffer_index: Word; Len: DWord); public name 'VirtIOAddConsumedBuffer';
begin
  Lock(Queue);
  with Queue^.used^ do
  begin
    rings[index mod Queue^.queue_size].index := buffer_index;
    rings[index mod Queue^.queue_size].length := Len;
    WriteBarrier;
    Inc(index);
  end;
  Unlock(Queue);
end;

end.
