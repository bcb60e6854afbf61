{ What the boot loader tells about the machine: the PVH start info (Xen:
  public/arch-x86/hvm/start_info.h) or Linux's zero page (Documentation/arch/x86/zero-page.rst),
  and the processors in the MP table (Intel MultiProcessor Specification 1.4) or in ACPI's MADT.
  }
unit LoaderTables;

{$mode objfpc}

interface

const
  RANGES_MAX = 32;

type
  TRange = record
    Start, Size: QWord;
  end;

  TMachineTables = record
    RangeCount: LongInt;
    Ranges: array[0..RANGES_MAX - 1] of TRange; { RAM, ascending }
    CommandLine: PChar;
    Rsdp: PtrUInt; { ACPI's root pointer; 0: unknown }
  end;

procedure ReadStartInfo(Info: Pointer; out Machine: TMachineTables);
procedure ReadZeroPage(Info: Pointer; out Machine: TMachineTables);

{ Number of CPUs with the APIC ids 0, 1, 2 and so on without a gap; at least 1. }
function CountCpus(const Machine: TMachineTables): LongInt;

implementation

const
  RAM = 1; { in the memory maps of both protocols }
  CPUS_MAX = 255;

type
  TStartInfo = packed record
    Magic, Version, Flags, ModuleCount: LongWord;
    Modules, CommandLine, Rsdp: QWord;
    MemoryMap: QWord; { from version 1 }
    MemoryMapCount, Reserved: LongWord;
  end;
  PStartInfo = ^TStartInfo;

  TMapEntry = packed record
    Start, Size: QWord;
    Kind, Reserved: LongWord;
  end;
  PMapEntry = ^TMapEntry;

  TE820Entry = packed record
    Start, Size: QWord;
    Kind: LongWord;
  end;
  PE820Entry = ^TE820Entry;

  TFound = record
    Present: array[0..CPUS_MAX] of Boolean; { indexed by APIC id }
  end;

procedure Begin_(out Machine: TMachineTables; CommandLine, Rsdp: QWord);
begin
  Machine.RangeCount := 0;
  Machine.Rsdp := Rsdp;
  Machine.CommandLine := PChar('');
  if CommandLine <> 0 then
    Machine.CommandLine := PChar(CommandLine);
end;

procedure AddRange(var Machine: TMachineTables; Start, Size: QWord; Kind: LongWord);
begin
  if (Kind <> RAM) or (Machine.RangeCount = RANGES_MAX) then
    Exit;
  Machine.Ranges[Machine.RangeCount].Start := Start;
  Machine.Ranges[Machine.RangeCount].Size := Size;
  Inc(Machine.RangeCount);
end;

procedure ReadStartInfo(Info: Pointer; out Machine: TMachineTables);
var
  I: LongWord;
  Entry: PMapEntry;
begin
  with PStartInfo(Info)^ do
  begin
    Begin_(Machine, CommandLine, Rsdp);
    Entry := PMapEntry(MemoryMap);
    I := 0;
    while I < MemoryMapCount do
    begin
      AddRange(Machine, Entry^.Start, Entry^.Size, Entry^.Kind);
      Inc(Entry);
      Inc(I);
    end;
  end;
end;

procedure ReadZeroPage(Info: Pointer; out Machine: TMachineTables);
var
  I: LongInt;
  Entry: PE820Entry;
begin
  Begin_(Machine, PLongWord(Info + $228)^ or QWord(PLongWord(Info + $C8)^) shl 32, PQWord(Info + $70)^);
  Entry := Info + $2D0;
  for I := 1 to PByte(Info + $1E8)^ do
  begin
    AddRange(Machine, Entry^.Start, Entry^.Size, Entry^.Kind);
    Inc(Entry);
  end;
end;

{ ---- Processors ---- }

{ Reads the processors of the MP table. Their entries have 20 bytes, all others 8. The table's
  length tells where they end: qboot leaves the count of entries 0. }
procedure ReadMpTable(Table: PByte; var Found: TFound);
const
  ENABLED = 1;
var
  Entry, Stop: PByte;
begin
  if PLongWord(Table)^ <> $504D4350 { "PCMP" } then
    Exit;
  Entry := Table + 44;
  Stop := Table + PWord(Table + 4)^;
  while Entry < Stop do
    if Entry^ = 0 then
    begin
      Found.Present[Entry[1]] := Entry[3] and ENABLED <> 0;
      Inc(Entry, 20);
    end
    else
      Inc(Entry, 8);
end;

function FindMpTable(Start, Stop: PtrUInt; var Found: TFound): Boolean;
begin
  Result := False;
  while not Result and (Start < Stop) do
  begin
    Result := PLongWord(Start)^ = $5F504D5F; { "_MP_" }
    if Result then
      ReadMpTable(PByte(PtrUInt(PLongWord(Start + 4)^)), Found);
    Inc(Start, 16);
  end;
end;

{ ACPI 6.5, section 5.2.12: entries of type 0 are local APICs. }
procedure ReadMadt(Table: PByte; var Found: TFound);
const
  ENABLED = 1;
var
  Entry, Stop: PByte;
begin
  Entry := Table + 44;
  Stop := Table + PLongWord(Table + 4)^;
  while (Entry < Stop) and (Entry[1] > 0) do
  begin
    if (Entry^ = 0) and (PLongWord(Entry + 4)^ and ENABLED <> 0) then
      Found.Present[Entry[3]] := True;
    Inc(Entry, Entry[1]);
  end;
end;

procedure ReadAcpi(Rsdp: PByte; var Found: TFound);
var
  Root, Table: PByte;
  Step, I: LongInt;
begin
  { From revision 2 on, the XSDT has 64-bit addresses. }
  if Rsdp[15] >= 2 then
  begin
    Root := PByte(PQWord(Rsdp + 24)^);
    Step := 8;
  end
  else
  begin
    Root := PByte(PtrUInt(PLongWord(Rsdp + 16)^));
    Step := 4;
  end;
  I := 36;
  while I < LongInt(PLongWord(Root + 4)^) do
  begin
    Table := PByte(PtrUInt(PLongWord(Root + I)^));
    if PLongWord(Table)^ = $43495041 { "APIC" } then
      ReadMadt(Table, Found);
    Inc(I, Step);
  end;
end;

function CountCpus(const Machine: TMachineTables): LongInt;
var
  Found: TFound;
  I: LongInt;
begin
  for I := 0 to CPUS_MAX do
    Found.Present[I] := False;
  Found.Present[0] := True;
  { The places that the specification names: the extended BIOS data area, the end of base
    memory, the BIOS. }
  if Machine.Rsdp <> 0 then
    ReadAcpi(PByte(Machine.Rsdp), Found)
  else if not FindMpTable($9FC00, $A0000, Found) then
    FindMpTable($F0000, $100000, Found);
  Result := 1;
  while (Result < CPUS_MAX) and Found.Present[Result] do
    Inc(Result);
end;

end.
