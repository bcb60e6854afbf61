{ Makes in the guest what direct boot gets from the VMM: the CPU areas, the boot-info block and
  the final page tables, all behind the image (docs/boot-protocol.md). startup.s calls
  LoaderMain on the first CPU, in ring 0 and before any unit is initialized. So this code relies
  on no unit's initialization, and on no instruction that a hypervisor might fail to emulate. }
unit Loader;

{$mode objfpc}
{$asmmode intel}

interface

implementation

uses BootInfo, Arch, LoaderClock, LoaderPaging, LoaderTables;

const
  KIND_PVH = 0;

  DEVICES_MAX = 32;

  { Rights of pages besides PRESENT (Intel SDM volume 3, section 4.5) }
  WRITABLE = 2;
  USER = 4;
  WRITE_THROUGH = 8;
  UNCACHED = 16;
  NO_EXECUTE = QWord(1) shl 63;
  DATA = PRESENT or WRITABLE or USER or NO_EXECUTE;

  IOAPIC = $FEC00000;
  IOAPIC_REDIRECTION = $10;
  SERIAL_IRQ = 4;
  INIT_ALL_OTHERS = $C4500;
  STARTUP_ALL_OTHERS = $C4600;
  TRAMPOLINE_PAGE = $8000;

type
  { The ELF note of direct boot in this image. }
  TToroNote = packed record
    NameSize, DescriptionSize, Kind: LongWord;
    Name: array[0..7] of Char;
    Version, Reserved: LongWord;
    Entry: QWord;
    SupervisorSize, StackSize: LongWord;
  end;

  TBytes = array[0..MaxInt - 1] of Byte;

var
  { For startup.s }
  Root: QWord; public name 'LoaderRoot';
  Areas: QWord; public name 'LoaderAreas';
  AreaSize: QWord; public name 'LoaderAreaSize';
  SupervisorSize: QWord; public name 'LoaderSupervisorSize';
  Block: PBootInfo; public name 'LoaderBootInfo';
  Cpus: LongInt; public name 'LoaderCpus';

  { From the linker script }
  Note: TToroNote; external name 'toro_note';
  ImageStart: Byte; external name 'toro_start';
  NucleusData: Byte; external name 'toro_nucleus_rodata';
  Text: Byte; external name 'toro_text';
  Constants: Byte; external name 'toro_rodata';
  Variables: Byte; external name 'toro_data';
  Guard: Byte; external name 'toro_guard';
  ImageEnd: Byte; external name 'toro_end';
  Trampoline: TBytes; external name 'loader_trampoline';
  TrampolineEnd: Byte; external name 'loader_trampoline_end';

function PageUp(Address: QWord): QWord; inline;
begin
  Result := (Address + PAGE - 1) and not QWord(PAGE - 1);
end;

{ ---- The command line's devices ---- }

{ Parses a decimal number, or a hexadecimal one after 0x. False: no digit. }
function TakeNumber(var P: PChar; out Value: QWord): Boolean;
var
  Base, Digit: LongWord;
begin
  Value := 0;
  Base := 10;
  if (P[0] = '0') and (P[1] = 'x') then
  begin
    Base := 16;
    Inc(P, 2);
  end;
  Result := False;
  repeat
    case P^ of
      '0'..'9': Digit := Ord(P^) - Ord('0');
      'a'..'f': Digit := Ord(P^) - Ord('a') + 10;
    else
      Digit := 16;
    end;
    if Digit >= Base then
      Exit;
    Value := Value * Base + Digit;
    Result := True;
    Inc(P);
  until False;
end;

{ Skips a word; False if it does not come next. }
function TakeWord(var P: PChar; Word_: PChar): Boolean;
var
  I: LongInt;
begin
  I := 0;
  while (Word_[I] <> #0) and (P[I] = Word_[I]) do
    Inc(I);
  Result := Word_[I] = #0;
  if Result then
    Inc(P, I);
end;

{ Parses `virtio_mmio.device=SIZE@BASE:IRQ`; SIZE may end in K. }
function TakeDevice(var P: PChar; out Entry: TDeviceEntry): Boolean;
var
  Size, Base, Irq: QWord;
begin
  Result := False;
  if not TakeWord(P, 'virtio_mmio.device=') or not TakeNumber(P, Size) then
    Exit;
  if TakeWord(P, 'K') then
    Size := Size * 1024;
  if not TakeWord(P, '@') or not TakeNumber(P, Base) or not TakeWord(P, ':') or not TakeNumber(P, Irq) then
    Exit;
  Result := (Base >= MMIO_START) and (Base < MMIO_END - PAGE) and (Irq < 24);
  Entry.Base := Base;
  Entry.Size := Size;
  Entry.Vector := BASE_IRQ + Irq;
  Entry.Reserved := 0;
  if Result then
    Entry.DeviceID := PLongWord(Base + 8)^; { 0: no device in this slot }
end;

{ Routes an IOAPIC pin to core 0, edge-triggered. }
procedure RouteIrq(Irq: LongWord);
begin
  PLongWord(IOAPIC)^ := IOAPIC_REDIRECTION + 2 * Irq + 1;
  PLongWord(IOAPIC + $10)^ := 0;
  PLongWord(IOAPIC)^ := IOAPIC_REDIRECTION + 2 * Irq;
  PLongWord(IOAPIC + $10)^ := BASE_IRQ + Irq;
end;

procedure FindDevices(CommandLine: PChar);
var
  P: PChar;
begin
  P := CommandLine;
  while (P^ <> #0) and (Block^.DeviceCount < DEVICES_MAX) do
    if TakeDevice(P, Block^.Devices[Block^.DeviceCount]) then
    begin
      RouteIrq(Block^.Devices[Block^.DeviceCount].Vector - BASE_IRQ);
      Inc(Block^.DeviceCount);
    end
    else if P^ <> #0 then
      Inc(P);
end;

{ ---- Memory ---- }

procedure AddRange(Start, Stop: QWord; Kind: LongWord);
var
  Entry: PMemoryMapEntry;
begin
  if Stop <= Start then
    Exit;
  Entry := @Block^.MemoryMap[Block^.MemoryMapCount];
  Entry^.Start := Start;
  Entry^.Size := Stop - Start;
  Entry^.Kind := Kind;
  Entry^.Reserved := 0;
  Inc(Block^.MemoryMapCount);
end;

function Least(A, B: QWord): QWord; inline;
begin
  if A < B then
    Result := A
  else
    Result := B;
end;

function Most(A, B: QWord): QWord; inline;
begin
  if A > B then
    Result := A
  else
    Result := B;
end;

{ Lists all RAM. Everything up to UsedEnd is in use: page 0, the image, and what the loader has
  made. }
procedure FillMemoryMap(const Machine: TMachineTables; UsedEnd: QWord);
var
  I: LongInt;
  Start, Stop: QWord;
begin
  for I := 0 to Machine.RangeCount - 1 do
  begin
    Start := PageUp(Machine.Ranges[I].Start);
    Stop := (Machine.Ranges[I].Start + Machine.Ranges[I].Size) and not QWord(PAGE - 1);
    AddRange(Start, Least(Stop, UsedEnd), MEMORY_IN_USE);
    AddRange(Most(Start, UsedEnd), Stop, MEMORY_FREE);
  end;
end;

procedure MapAll(const Machine: TMachineTables);
var
  I: LongInt;
  Area: QWord;
begin
  for I := 0 to Machine.RangeCount - 1 do
    with Machine.Ranges[I] do
      MapPages(PageUp(Start), (Start + Size) and not QWord(PAGE - 1), DATA);
  MapPages(MMIO_START, MMIO_END, DATA or UNCACHED or WRITE_THROUGH);
  MapPages(0, PAGE, 0);
  MapPages(PtrUInt(@ImageStart), PtrUInt(@NucleusData), PRESENT);
  MapPages(PtrUInt(@NucleusData), PtrUInt(@Text), PRESENT or NO_EXECUTE);
  MapPages(PtrUInt(@Text), PtrUInt(@Constants), PRESENT or USER);
  MapPages(PtrUInt(@Constants), PtrUInt(@Variables), PRESENT or USER or NO_EXECUTE);
  MapPages(PtrUInt(@Variables), PageUp(PtrUInt(@ImageEnd)), DATA);
  MapPages(PtrUInt(@Guard), PtrUInt(@Guard) + PAGE, 0);
  for I := 0 to Cpus - 1 do
  begin
    Area := Areas + LongWord(I) * AreaSize;
    MapPages(Area, Area + SupervisorSize, DATA and not USER);
    MapPages(Area + SupervisorSize, Area + SupervisorSize + PAGE, 0);
  end;
end;

{ ---- All of it ---- }

procedure StartOthers;
var
  I: PtrUInt;
begin
  if Cpus = 1 then
    Exit;
  for I := 0 to PtrUInt(@TrampolineEnd) - PtrUInt(@Trampoline) - 1 do
    PByte(TRAMPOLINE_PAGE)[I] := Trampoline[I];
  PLongWord(LAPIC_ICR)^ := INIT_ALL_OTHERS;
  DelayMicro(10000);
  PLongWord(LAPIC_ICR)^ := STARTUP_ALL_OTHERS or TRAMPOLINE_PAGE div PAGE;
  DelayMicro(200);
  PLongWord(LAPIC_ICR)^ := STARTUP_ALL_OTHERS or TRAMPOLINE_PAGE div PAGE;
end;

procedure CopyCommandLine(From: PChar);
var
  I: LongInt;
begin
  I := 0;
  while From[I] <> #0 do
  begin
    Block^.CommandLine[I] := From[I];
    Inc(I);
  end;
  Block^.CommandLine[I] := #0;
  Block^.CommandLineSize := I;
end;

procedure LoaderMain(Info: Pointer; Kind: LongInt); public name 'LoaderMain';
var
  Machine: TMachineTables;
  Tables, TablesEnd: QWord;
  I: LongInt;
begin
  if Kind = KIND_PVH then
    ReadStartInfo(Info, Machine)
  else
    ReadZeroPage(Info, Machine);
  Cpus := CountCpus(Machine);
  SupervisorSize := Note.SupervisorSize;
  AreaSize := SupervisorSize + PAGE + Note.StackSize;
  Areas := PageUp(PtrUInt(@ImageEnd));
  Block := PBootInfo(Areas + LongWord(Cpus) * AreaSize);
  TheBootInfo := Block;
  for I := 0 to SizeOf(TBootInfo) div 8 - 1 do
    PQWord(Block)[I] := 0;
  Block^.MemoryMap := PMemoryMapEntry(Block + 1);
  Block^.Devices := PDeviceEntry(Block^.MemoryMap + 2 * RANGES_MAX);
  Block^.CommandLine := PChar(Block^.Devices + DEVICES_MAX);
  CopyCommandLine(Machine.CommandLine);
  Tables := PageUp(PtrUInt(Block^.CommandLine) + Block^.CommandLineSize + 1);

  StartPaging(Tables);
  MapAll(Machine);
  { Mapping the tables as supervisor pages may allocate up to four more. }
  TablesEnd := NextTable + 4 * PAGE;
  MapPages(Tables, TablesEnd, DATA and not USER);
  Root := Tables;

  Block^.Magic := BOOT_INFO_MAGIC;
  Block^.Version := BOOT_INFO_VERSION;
  Block^.Size := SizeOf(TBootInfo);
  Block^.CpuCount := Cpus;
  Block^.ConsoleVector := BASE_IRQ + SERIAL_IRQ;
  Block^.Flags := BOOT_INFO_LINES;
  Block^.CpuAreas := Areas;
  Block^.CpuAreaSize := AreaSize;
  Block^.SupervisorSize := SupervisorSize;
  Block^.StackSize := Note.StackSize;
  FillMemoryMap(Machine, TablesEnd);
  ReadClock(Block^);
  RouteIrq(SERIAL_IRQ);
  FindDevices(Block^.CommandLine);
  StartOthers;
end;

end.
