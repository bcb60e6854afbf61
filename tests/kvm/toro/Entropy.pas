{ A third-party driver of virtio-rng, which asks for random bytes and writes them; written against
  the driver interface of unit VirtIO alone. }
program Entropy;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Console, VirtIO;

const
  ID_ENTROPY = 4;
  SIZE = 16;

var
  Base: QWord;
  Requests: TVirtQueue;
  Bytes: array[0..SIZE - 1] of Byte;
  Came: LongInt = -1;

procedure Take(Vq: PVirtQueue);
var
  Element: ^VirtIOUsedItem;
begin
  Element := @Vq.used.rings[VirtIOGetBuffer(Vq)];
  if Pointer(Vq.buffers[Element.index].address) = @Bytes then
    Came := Element.length;
end;

function Init(Device: PVirtIOMMIODevice): Boolean;
begin
  Base := Device.Base;
  Result := VirtIOInitQueue(Base, 0, @Requests, 8, 0);
  Requests.VqHandler := Take;
  Device.Vqs := @Requests;
  IOApicIrqOn(Device.Irq);
end;

procedure Ask;
var
  Info: TBufferInfo;
begin
  Info.buffer := @Bytes;
  Info.size := SIZE;
  Info.flags := VIRTIO_DESC_FLAG_WRITE_ONLY;
  Info.copy := False;
  Came := -1;
  VirtIOAddBuffer(Base, @Requests, @Info, 1);
  while Came < 0 do
    Sleep(1);
end;

var
  I, J: LongInt;
begin
  InitVirtIODriver(ID_ENTROPY, Init);
  if VirtIOMMIODevicesCount <> 1 then
    Halt(1);
  for I := 1 to 20 do { more than the queue has entries }
  begin
    Ask;
    for J := 0 to Came - 1 do
      WriteConsoleF('%d ', [Bytes[J]]);
    WriteConsoleF('\n', []);
  end;
end.
