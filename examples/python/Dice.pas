{ Throws dice with the bytes of an entropy device (virtio 1.2, section 5.4), by a driver of one
  queue with one buffer. }
program Dice;

{$mode objfpc}

uses
  Kernel, Arch, BootInfo, Console;

const
  ID_ENTROPY = 4;

  { Registers of virtio-mmio (section 4.2.2) }
  DRIVER_FEATURES = $20;
  DRIVER_FEATURES_SEL = $24;
  QUEUE_NUM = $38;
  QUEUE_READY = $44;
  QUEUE_NOTIFY = $50;
  STATUS = $70;
  QUEUE_DESC = $80;
  QUEUE_DRIVER = $90;
  QUEUE_DEVICE = $A0;

  DESC_WRITE = 2;
  NO_INTERRUPT = 1;

type
  TDescriptor = packed record
    Address: QWord;
    Length: LongWord;
    Flags, Next: Word;
  end;

var
  Base: PByte;
  Bytes: array[0..63] of Byte;
  Descriptor: ^TDescriptor; { the queue has one }
  Available, Used: PWord;
  I, Thrown: LongInt;

procedure WriteRegister(Offset, Value: LongWord);
begin
  PLongWord(Base + Offset)^ := Value;
end;

procedure WriteAddress(Offset: LongWord; Address: Pointer);
begin
  WriteRegister(Offset, Lo(PtrUInt(Address)));
  WriteRegister(Offset + 4, Hi(PtrUInt(Address)));
end;

procedure StartDevice;
begin
  WriteRegister(STATUS, 0);
  WriteRegister(STATUS, 3);
  WriteRegister(DRIVER_FEATURES_SEL, 1);
  WriteRegister(DRIVER_FEATURES, 1); { VIRTIO_F_VERSION_1 }
  WriteRegister(STATUS, 11);
  WriteRegister(QUEUE_NUM, 1);
  Descriptor := AllocMem(SizeOf(TDescriptor));
  Available := AllocMem(8);
  Used := AllocMem(16);
  WriteAddress(QUEUE_DESC, Descriptor);
  WriteAddress(QUEUE_DRIVER, Available);
  WriteAddress(QUEUE_DEVICE, Used);
  WriteRegister(QUEUE_READY, 1);
  WriteRegister(STATUS, 15);
end;

procedure Fill;
begin
  Descriptor^.Address := PtrUInt(@Bytes);
  Descriptor^.Length := SizeOf(Bytes);
  Descriptor^.Flags := DESC_WRITE;
  Available[0] := NO_INTERRUPT;
  ReadWriteBarrier;
  Available[1] := 1;
  WriteRegister(QUEUE_NOTIFY, 0);
  while Used[1] = 0 do
    ReadBarrier;
end;

begin
  Base := PByte(PtrUInt(TheBootInfo^.Devices[0].Base));
  if TheBootInfo^.Devices[0].DeviceID <> ID_ENTROPY then
    Halt(1);
  StartDevice;
  Fill;
  Thrown := 0;
  for I := 0 to High(Bytes) do
    if (Bytes[I] < 252) and (Thrown < 10) then { 252 is a multiple of 6 }
    begin
      WriteConsoleF('%d ', [Bytes[I] mod 6 + 1]);
      Inc(Thrown);
    end;
  WriteConsoleF('\n', []);
end.
