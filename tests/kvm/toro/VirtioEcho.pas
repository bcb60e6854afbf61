{ A small virtio driver: finds the echo device in the boot-info block, sends it
  lines and halts until each comes back. }
program VirtioEcho;

{$mode objfpc}

uses
  Checks, BootInfo, Arch;

const
  { virtio 1.2, section 4.2.2 }
  MAGIC = 0;
  VERSION = 4;
  DEVICE_ID = 8;
  DRIVER_FEATURES = $20;
  DRIVER_FEATURES_SEL = $24;
  QUEUE_SEL = $30;
  QUEUE_NUM = $38;
  QUEUE_READY = $44;
  QUEUE_NOTIFY = $50;
  INTERRUPT_STATUS = $60;
  INTERRUPT_ACK = $64;
  STATUS = $70;
  QUEUE_DESC = $80;
  QUEUE_DRIVER = $90;
  QUEUE_DEVICE = $A0;
  CONFIG = $100;

  ENTRIES = 8;
  ROUNDS = 100;

type
  TDescriptor = packed record
    Address: QWord;
    Length: LongWord;
    Flags, Next: Word;
  end;
  TUsed = packed record
    Head, Written: LongWord;
  end;

var
  Base: PtrUInt;
  Descriptors: ^TDescriptor;
  Available: ^Word;
  Used: PByte;

function ReadRegister(Offset: LongWord): LongWord;
begin
  Result := PLongWord(Base + Offset)^;
end;

procedure WriteRegister(Offset, Value: LongWord);
begin
  PLongWord(Base + Offset)^ := Value;
end;

procedure WriteAddress(Offset: LongWord; Address: Pointer);
begin
  WriteRegister(Offset, PtrUInt(Address) and $FFFFFFFF);
  WriteRegister(Offset + 4, PtrUInt(Address) shr 32);
end;

procedure SetUp;
begin
  WriteRegister(STATUS, 0);
  WriteRegister(STATUS, 3);
  WriteRegister(DRIVER_FEATURES_SEL, 1);
  WriteRegister(DRIVER_FEATURES, 1); { VIRTIO_F_VERSION_1 }
  WriteRegister(STATUS, 11);
  Check(ReadRegister(STATUS) = 11, 'features are accepted');
  Descriptors := AllocMem(ENTRIES * SizeOf(TDescriptor));
  Available := AllocMem(4 + 2 * ENTRIES);
  Used := AllocMem(4 + SizeOf(TUsed) * ENTRIES);
  WriteRegister(QUEUE_SEL, 0);
  WriteRegister(QUEUE_NUM, ENTRIES);
  WriteAddress(QUEUE_DESC, Descriptors);
  WriteAddress(QUEUE_DRIVER, Available);
  WriteAddress(QUEUE_DEVICE, Used);
  WriteRegister(QUEUE_READY, 1);
  WriteRegister(STATUS, 15);
  Check(ReadRegister(STATUS) = 15, 'the device runs');
end;

procedure Describe(Index: LongInt; Data: Pointer; Count: LongWord; Flags: Word);
begin
  Descriptors[Index].Address := PtrUInt(Data);
  Descriptors[Index].Length := Count;
  Descriptors[Index].Flags := Flags;
  Descriptors[Index].Next := Index + 1;
end;

{ Sends Text and waits, halted, for what comes back. }
function Echo(const Text: ShortString; Round: Word; Vector: Byte): ShortString;
begin
  Describe(0, @Text[1], Length(Text), 1);
  Describe(1, @Result[1], 255, 2);
  Available[2 + Round mod ENTRIES] := 0;
  ReadWriteBarrier;
  Available[1] := Round + 1;
  WriteRegister(QUEUE_NOTIFY, 0);
  while PWord(Used + 2)^ <> Word(Round + 1) do
    if not TakePending(Vector) then
      hlt;
  WriteRegister(INTERRUPT_ACK, ReadRegister(INTERRUPT_STATUS));
  SetLength(Result, PLongWord(Used + 8 + SizeOf(TUsed) * (Round mod ENTRIES))^);
end;

var
  Round: LongInt;
  Line: ShortString;
  Good: Boolean;
begin
  Check(TheBootInfo^.DeviceCount = 1, 'one device');
  Base := TheBootInfo^.Devices[0].Base;
  Check((ReadRegister(MAGIC) = $74726976) and (ReadRegister(VERSION) = 2), 'magic and version');
  Check(ReadRegister(DEVICE_ID) = TheBootInfo^.Devices[0].DeviceID, 'the device of the table');
  Check(PChar(Base + CONFIG)^ = 'c', 'configuration');
  SetUp;
  Good := True;
  for Round := 0 to ROUNDS - 1 do
  begin
    Str(Round, Line);
    Good := Good and (Echo('line ' + Line, Round, TheBootInfo^.Devices[0].Vector) = 'LINE ' + Line);
  end;
  Check(Good, 'every line came back');
  WriteLn(TheBootInfo^.CommandLine);
end.
