{ The CPU: cores, interrupts, exceptions, ports, time, and the end of the machine. All
  of it runs in ring 3; what ring 0 does is in toro/boot/nucleus.s. }
unit Arch;

{$mode objfpc}
{$asmmode intel}

interface

uses BootInfo;

const
  CORE_SIZE = $2C0;            { of TCore and what follows it, see nucleus.s }
  EXCEPTION_STACK_SIZE = $4000;
  SCHEDULER_SIZE = $100;       { of what Scheduling keeps in a core's block, at its end }
  GUARD_SIZE = 4096;           { of the unmapped page below a stack }
  REGION_SIZE = 1 shl 21;      { of what SplitRegion splits }

  PAGE_SIZE = REGION_SIZE;     { of the pages that RAM is mapped in }

  MAX_CPU = 255;               { xAPIC ids are a byte, and 255 is all cores }
  BASE_IRQ = 32;               { vectors below are the CPU's exceptions; IRQ n is BASE_IRQ + n }
  IRQ_COUNT = 48;
  INTER_CORE_IRQ = 80;         { wakes a core that another one has work for }
  DEBUG_IRQ = 82;              { stops a core for a debugger }
  TIMER_IRQ = 81;              { wakes a core for a thread that has slept enough }

  { Registers of the local APIC (Intel SDM volume 3, table 11-1) }
  LAPIC_ICR = $FEE00300;       { interrupt command; the destination is in the next one }
  LAPIC_ICR_HIGH = $FEE00310;
  LAPIC_TIMER = $FEE00320;
  LAPIC_TIMER_INITIAL = $FEE00380;
  LAPIC_TIMER_CURRENT = $FEE00390;
  LAPIC_TIMER_DIVIDE = $FEE003E0;

  { Vectors of exceptions (Intel SDM volume 3, table 6-1) }
  EXC_DIVBYZERO = 0;
  EXC_DEBUG = 1;
  EXC_BREAKPOINT = 3;
  EXC_OVERFLOW = 4;
  EXC_BOUND = 5;
  EXC_ILLEGALINS = 6;
  EXC_DEVNOTAVA = 7;
  EXC_DF = 8;
  EXC_STACKFAULT = 12;
  EXC_GENERALP = 13;
  EXC_PAGEFAUL = 14;
  EXC_FPUE = 16;
  EXC_SIMD = 19;

  { Kinds of memory regions }
  MEM_AVAILABLE = 1;
  MEM_RESERVED = 2;

  DEBUG_EXIT_PORT = $F4;
  STATUS_EXCEPTION = 120;      { exit status after an exception nobody handles }

type
  XChar = Char;
  PXChar = PChar;
  UInt32 = Cardinal;

  { A date and time of day, in UTC }
  TNow = record
    Sec, Min, Hour, Day, Month, Year: LongInt;
  end;
  PNow = ^TNow;

  { Guest-physical memory, in bytes }
  TMemoryRegion = record
    Base, Length: QWord;
    Flag: Word; { MEM_* }
  end;
  PMemoryRegion = ^TMemoryRegion;

  { A core as applications see it }
  TCoreState = record
    ApicID: LongInt;
    Present, CPUBoot, InitConfirmation: Boolean;
  end;

  { What the nucleus saves of an exception, in the order it pushes. }
  TExceptionFrame = packed record
    RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15: QWord;
    Vector, ErrorCode, RIP, CS, RFLAGS, RSP, SS, CR2: QWord;
  end;

  { A core's block, which GS points to. The nucleus knows the fields up to Frame. }
  PCore = ^TCore;
  TCore = packed record
    This: PCore;
    Index: QWord;
    Pending: array[0..3] of QWord; { interrupt vectors that came, by bit }
    InException: QWord;
    InCall: QWord;                 { see KernelInterrupt }
    Frame: TExceptionFrame;
    Unused: QWord;
    Captured: array[0..3] of QWord; { vectors with a handler of the application's }
    Route: array[0..IRQ_COUNT - 1] of Byte; { where IRQs go on to: an APIC id plus one }
    Call: record                   { where KernelInterrupt was called }
      Vector, RIP, RFLAGS, RSP: QWord;
    end;
    Raised: array[0..3] of QWord;  { vectors that the scheduler has seen, until TakePending }
    Heap: Pointer;                 { its own, see CoreHeaps }
    LastDestination: LongWord;     { that LAPIC_ICR_HIGH has; none before the first }
    Online: Boolean;               { it has reached Pascal }
  end;

var
  { All that there are, by number; CPU_COUNT of them are present. }
  Cores: array[0..MAX_CPU - 1] of TCoreState;

  { When this kernel started. }
  StartTime: TNow;

  { Handlers of interrupts and exceptions, by vector; nil: the kernel's own. }
  Handlers: array[0..255] of CodePointer;

{ Number of cores. }
function CPU_COUNT: LongInt; inline;

{ Bytes of RAM that the machine has. }
function AvailableMemory: QWord;

{ Index of the core that this runs on, from 0. }
function GetCoreId: Byte; inline;

{ The same: a core's APIC id is its index. }
function GetApicId: Byte; inline;

{ The block of this core, and of any (0 to CPU_COUNT - 1). }
function ThisCore: PCore; assembler;
function CoreAt(Index: LongInt): PCore;

{ The core's first stack: the guard page below it, and its end. }
function StackGuard(Core: PCore): PtrUInt;
function StackTop(Core: PCore): PtrUInt;

{ ---- Time ---- }

{ The time-stamp counter, and how much it counts in a microsecond. }
function read_rdtsc: QWord; assembler;
function LocalCpuSpeed: Int64;

{ Milliseconds, and microseconds, in ticks of the TSC. }
function TicksOf(Milliseconds: QWord): QWord;
function TicksOfMicro(Microseconds: LongWord): QWord;

{ Unix time in ns: the TSC since the wall clock that the VMM told at the start, so it is
  the same on all cores and never goes back. }
function UnixTimeNs: QWord;

{ Days from 1970-01-01 to a date of the Gregorian calendar. }
function DaysOf(Year, Month, Day: LongInt): LongInt;

{ Date and time, in UTC; and how many seconds from AThen to ANow. }
procedure Now(Data: PNow);
function SecondsBetween(const ANow, AThen: TNow): LongInt;

{ Wait for this many milliseconds, or microseconds, by the TSC. No other thread of
  the core runs meanwhile; Sleep of the unit Process lets them. }
procedure Delay(ms: LongInt);
procedure DelayMicro(us: LongInt);

{ ---- Interrupts ---- }

{ Waits until an interrupt comes; returns at once when one is pending. }
procedure hlt;

{ The same, and no handler is called. }
procedure HaltCore; assembler;

{ Makes Handler serve a vector from 32 on, or an exception below, on this core and the
  others; nil gives it back to the kernel. It is what the CPU calls by its interrupt
  table: it preserves all registers, and ends with IRETQ. On its stack are RIP, CS,
  RFLAGS, RSP and SS of what was interrupted; below them the error code, if the exception
  has one (which it then takes off before it returns). An interrupt needs no EOI. It comes
  at any time, so the handler does not call what it may have interrupted. }
procedure CaptureInt(int: Byte; Handler: Pointer);
procedure CaptureException(Exception: Byte; Handler: Pointer);

{ Calls the handlers of captured vectors that are pending. }
procedure CallHandlers;

{ The end of an interrupt: the nucleus has told the APIC already. }
procedure eoi_apic; inline;

{ Makes the interrupts of an IRQ come to this core, or those of a vector to any. }
procedure IOApicIrqOn(irq: Byte);
procedure RouteInterrupt(Vector, Core: Byte);

{ Resets a core; makes a core that was reset start at page Vector, in real mode. The
  kernel's own cores must not be meant. }
procedure send_apic_init(apicid: Byte);
procedure send_apic_startup(apicid, vector: Byte);

{ Whether an interrupt of this vector has come to this core since the last call. }
function TakePending(Vector: Byte): Boolean; assembler;

{ The same, but it stays pending. }
function IsPending(Vector: Byte): Boolean; assembler;

{ Whether hlt would return at once. }
function AnythingPending: Boolean; assembler;

{ Moves what is pending to Raised, where it does not keep the core from halting. }
procedure CollectPending; assembler;

{ Sends an interrupt to the core of this APIC id, which is the core's index. }
procedure send_apic_int(apicid, vector: Byte);

{ Order memory accesses: loads before loads, stores before stores, all before all
  that follow. On x86 only the last can be missing. }
procedure ReadBarrier; assembler;
procedure WriteBarrier; assembler;
procedure ReadWriteBarrier; assembler;

{ Turns 2 MiB of RAM, at a multiple of 2 MiB, into pages of 4 KiB. The first two
  are lost to ring 3, and of the others each whose number is a multiple of
  GuardDistance (2 or more). False when it is not all RAM or is split already. This
  core has forgotten all it knew of the page tables; see ForgetPageTables. }
function SplitRegion(Region: Pointer; GuardDistance: PtrUInt): Boolean; assembler;

{ Makes this core see what another one did with SplitRegion. }
procedure ForgetPageTables;

{ A spin lock, 0 when it is free, for some instructions that must not be taken
  apart by another core. Its holder must not give way to another thread. }
procedure AcquireLock(var Lock: LongInt);
procedure ReleaseLock(var Lock: LongInt);

{ A hint that this core spins. }
procedure NOP; assembler;

{ Wait until memory changes. As on any CPU the wait may end early; here, in ring 3 where
  there is no MWAIT, it ends at once. }
procedure monitor(addr: Pointer; ext, hint: LongWord);
procedure mwait(ext, hint: LongWord);

{ The time that the host has kept a virtual CPU from running, in ns: not known, so 0. }
function GetStealCPU: QWord;

{ Bits in memory, which may be changed by several cores. }
function bit_test(Val: Pointer; Pos: QWord): Boolean; assembler;
procedure bit_set(Value: Pointer; Offset: QWord); assembler;
procedure bit_reset(Value: Pointer; Offset: QWord); assembler;

{ The highest bit that is set, or 0. }
function find_msb_set(Value: QWord): Byte;

{ ---- Text ---- }

{ Writes a number in decimal, and a zero behind it. }
procedure InttoStr(Value: PtrUInt; buff: PChar);

{ Whether the first Len characters are the same. }
function StrCmp(p1, p2: PChar; Len: LongInt): Boolean;

{ Writes left, right and a zero to dst, which may be left. }
procedure StrConcat(left, right, dst: PChar);

{ ---- Memory ---- }

{ The ID-th region of memory, from 1. Returns its size as a record, or 0 when there is
  none. }
function GetMemoryRegion(ID: LongInt; Buffer: PMemoryRegion): LongInt;

{ ---- Ports ---- }

{ One access to an I/O port; those of 32 bits go from and to memory. }
function read_portb(Port: Word): Byte; assembler;
function read_portw(Port: Word): Word; assembler;
procedure read_portd(Data: Pointer; Port: Word); assembler;
procedure write_portb(Data: Byte; Port: Word); assembler;
procedure write_portw(Data: Word; Port: Word); assembler;
procedure write_portd(Data: Pointer; Port: Word); assembler;

{ Sends Count bytes to a port. A hypervisor can take them in one exit. }
procedure write_portsb(Data: Pointer; Count: PtrUInt; Port: Word); assembler;

{ Ends the machine with an exit status, 0 to 255; with 0. }
procedure PowerOff(Status: Byte); noreturn;
procedure ShutdownInQemu;

implementation

{$if SizeOf(TCore) > CORE_SIZE - SCHEDULER_SIZE}
  {$error TCore reaches into the scheduler's part}
{$endif}

function CPU_COUNT: LongInt;
begin
  Result := TheBootInfo^.CpuCount;
end;

function AvailableMemory: QWord;
var
  I: LongInt;
begin
  Result := 0;
  for I := 0 to TheBootInfo^.MemoryMapCount - 1 do
    Result := Result + TheBootInfo^.MemoryMap[I].Size;
end;

function ThisCore: PCore; assembler; nostackframe;
asm
  mov rax, gs:[0]
end;

function GetCoreId: Byte;
begin
  Result := ThisCore^.Index;
end;

function GetApicId: Byte;
begin
  Result := GetCoreId;
end;

function StackTop(Core: PCore): PtrUInt;
begin
  Result := PtrUInt(Core) - EXCEPTION_STACK_SIZE;
end;

function StackGuard(Core: PCore): PtrUInt;
begin
  Result := PtrUInt(Core) + CORE_SIZE - TheBootInfo^.StackSize - GUARD_SIZE;
end;

function CoreAt(Index: LongInt): PCore;
begin
  with TheBootInfo^ do
    Result := PCore(CpuAreas + (QWord(Index) + 1) * CpuAreaSize - CORE_SIZE);
end;

{$I arch/clock.inc}
{$I arch/interrupts.inc}
{$I arch/ports.inc}
{$I arch/bits.inc}

procedure ReadBarrier; assembler; nostackframe;
asm
  lfence
end;

procedure WriteBarrier; assembler; nostackframe;
asm
  sfence
end;

procedure ReadWriteBarrier; assembler; nostackframe;
asm
  mfence
end;

function SplitRegion(Region: Pointer; GuardDistance: PtrUInt): Boolean; assembler; nostackframe;
asm
  mov rax, $74696C7073206F54 { split_magic in nucleus.s }
  ud2
end;

procedure ForgetPageTables;
begin
  SplitRegion(Pointer(1), 0);
end;

procedure AcquireLock(var Lock: LongInt);
begin
  while InterlockedExchange(Lock, 1) <> 0 do
    NOP;
end;

procedure ReleaseLock(var Lock: LongInt);
begin
  InterlockedExchange(Lock, 0);
end;

procedure NOP; assembler; nostackframe;
asm
  pause
end;

procedure monitor(addr: Pointer; ext, hint: LongWord);
begin
end;

procedure mwait(ext, hint: LongWord);
begin
  NOP;
end;

function GetStealCPU: QWord;
begin
  Result := 0;
end;

function GetMemoryRegion(ID: LongInt; Buffer: PMemoryRegion): LongInt;
begin
  if (ID < 1) or (LongWord(ID) > TheBootInfo^.MemoryMapCount) then
    Exit(0);
  with TheBootInfo^.MemoryMap[ID - 1] do
  begin
    Buffer^.Base := Start;
    Buffer^.Length := Size;
    if Kind = MEMORY_FREE then
      Buffer^.Flag := MEM_AVAILABLE
    else
      Buffer^.Flag := MEM_RESERVED;
  end;
  Result := SizeOf(TMemoryRegion);
end;

procedure PowerOff(Status: Byte);
begin
  TheBootInfo^.Marks[MARK_EXIT] := read_rdtsc;
  write_portb(Status, DEBUG_EXIT_PORT);
  while True do
    hlt;
end;

procedure ShutdownInQemu;
begin
  PowerOff(0);
end;

procedure DescribeCores;
var
  I: LongInt;
begin
  for I := 0 to CPU_COUNT - 1 do
  begin
    Cores[I].ApicID := I;
    Cores[I].Present := True;
    Cores[I].CPUBoot := I = 0;
    Cores[I].InitConfirmation := True;
  end;
end;

initialization
  DescribeCores;
  Now(@StartTime);
end.
