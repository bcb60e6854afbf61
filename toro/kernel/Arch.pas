{ The machine: cores, interrupts, exceptions, ports, time, and power-off. All of this runs in
  ring 3; the ring-0 part is toro/boot/nucleus.s. The parts of this unit are in arch/.

  Each core has a block of CORE_SIZE bytes, which GS points to: what the nucleus and this unit
  keep (TCore), such as pending vectors and the frame of an exception. It leads to what the
  scheduler keeps, which consists of threads and is declared in CoreThreads; applications know it
  as Process.CPU. }
unit Arch;

{$mode objfpc}
{$asmmode intel}

interface

uses BootInfo;

const
  CORE_SIZE = $240;            { a core's block; see nucleus.s }
  EXCEPTION_STACK_SIZE = $4000;
  GUARD_SIZE = 4096;           { the unmapped page below a stack }
  REGION_SIZE = 1 shl 21;      { what SplitRegion splits }

  PAGE_SIZE = REGION_SIZE;     { the pages that RAM is mapped with }

  MAX_CPU = 255;               { an xAPIC id has 8 bits, and 255 means all cores }
  BASE_IRQ = 32;               { lower vectors are exceptions; IRQ n is vector BASE_IRQ + n }
  IRQ_COUNT = 48;
  INTER_CORE_IRQ = 80;         { wakes a core to which another one has given work }
  DEBUG_IRQ = 82;              { stops a core for the debugger }
  TIMER_IRQ = 81;              { wakes a core when a thread's sleep ends }

  { Registers of the local APIC (Intel SDM volume 3, table 11-1) }
  LAPIC = $FEE00000;
  LAPIC_ICR = $FEE00300;       { interrupt command; the destination is in ICR_HIGH }
  LAPIC_ICR_HIGH = $FEE00310;
  LAPIC_TIMER = $FEE00320;
  LAPIC_TIMER_INITIAL = $FEE00380;
  LAPIC_TIMER_CURRENT = $FEE00390;
  LAPIC_TIMER_DIVIDE = $FEE003E0;

  { Vectors of exceptions (Intel SDM volume 3, table 6-1) }
  EXC_DIVBYZERO = 0;
  EXC_DEBUG = 1;
  EXC_INT1 = 1;
  EXC_NMI = 2;
  EXC_INT3 = 3;
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

  { Bits of a page's entry (Intel SDM volume 3, section 4.5) }
  PAGE_WRITABLE = 2;
  PAGE_UNCACHED = 16;

  NUCLEUS_CALL = $6C6C6163006F5400; { in RAX at an ud2, plus the call's number; see nucleus.s }

  DEBUG_EXIT_PORT = $F4;
  STATUS_EXCEPTION = 120;      { exit status after an exception that nothing handled }

  CACHELINE_LEN = 8;           { a cache line, in QWords }
  MAX_PERCPU_VAR = 2 * CACHELINE_LEN;
  PERCPUAPICID = 0;            { of PerCPUVar: the core's APIC id }

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
    Flag: Word; { MEM_AVAILABLE or MEM_RESERVED }
  end;
  PMemoryRegion = ^TMemoryRegion;

  { A core as applications see it }
  TCoreState = record
    ApicID: LongInt;
    Present, CPUBoot, InitConfirmation: Boolean;
  end;

  { The registers at an exception, in the order in which the nucleus saves them. }
  TExceptionFrame = packed record
    RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15: QWord;
    Vector, ErrorCode, RIP, CS, RFLAGS, RSP, SS, CR2: QWord;
  end;

  { The first part of a core's block. The nucleus uses the fields up to Special: their offsets are
    in nucleus.s. }
  PCore = ^TCore;
  TCore = packed record
    This: PCore;
    Index: QWord;
    Pending: array[0..3] of QWord; { interrupts that have arrived: one bit a vector }
    InException: QWord;
    InCall: QWord;                 { KernelInterrupt has not yet read Call }
    Frame: TExceptionFrame;
    Captured: array[0..3] of QWord; { vectors with a handler of the application }
    Route: array[0..IRQ_COUNT - 1] of Byte; { core that each IRQ is sent on to: its APIC id plus one }
    Call: record                   { what KernelInterrupt was called for, and where }
      Vector, RIP, RFLAGS, RSP: QWord;
    end;
    Special: array[0..3] of QWord; { vectors that are captured, or sent on }
    Raised: array[0..3] of QWord;  { taken from Pending by the scheduler; see CollectPending }
    Heap: Pointer;                 { this core's heap: see CoreHeaps }
    LastDestination: LongWord;     { the contents of LAPIC_ICR_HIGH; 0 at first }
    Online: Boolean;               { it has reached Pascal code }
    Scheduler: Pointer;            { its part of Process.CPU }
    HasSteal: Boolean;             { the nucleus has been asked for Steal }
    Unused: array[$1BE..$1FF] of Byte;
    Steal: packed record           { KVM's steal clock (Documentation/virt/kvm/x86/msr.rst) }
      Time: QWord;                 { in ns; KVM changes it while this core does not run }
      Rest: array[1..7] of QWord;
    end;
  end;

var
  { All possible cores, by index; the first CPU_COUNT of them are present. }
  Cores: array[0..MAX_CPU - 1] of TCoreState;

{$push}{$codealign varmin=64}
  { The application's own variables of each core: each core's are in cache lines of their own.
    Number PERCPUAPICID is the kernel's. }
  PerCPUVar: array[0..MAX_CPU - 1] of array[0..MAX_PERCPU_VAR - 1] of QWord;
{$pop}

  { The time at which this kernel started. }
  StartTime: TNow;

  { Handlers of the application, by vector; nil: the kernel handles it. }
  Handlers: array[0..255] of CodePointer;

{ Number of cores. }
function CPU_COUNT: LongInt; inline;

{ Bytes of RAM in the machine. }
function AvailableMemory: QWord;

{ Index of the core that runs this code, from 0. }
function GetCoreId: Byte; inline;

{ Its APIC id, which is the same number. }
function GetApicId: Byte; inline;

{ Sets this core's PerCPUVar number Off; returns the one at byte Off. }
procedure SetPerCPUVar(Off: Byte; Value: QWord);
function GetGSOffset(Off: Byte): QWord;

{ The block of this core, and of any core (0 to CPU_COUNT - 1). }
function ThisCore: PCore; assembler;
function CoreAt(Index: LongInt): PCore;

{ The stack on which a core starts: the guard page below it, and its upper end. }
function StackGuard(Core: PCore): PtrUInt;
function StackTop(Core: PCore): PtrUInt;

{ ---- Time ---- }

{ The time-stamp counter, and its frequency in MHz. }
function read_rdtsc: QWord; assembler;
function LocalCpuSpeed: Int64;

{ Milliseconds and microseconds, converted to TSC ticks. }
function TicksOf(Milliseconds: QWord): QWord;
function TicksOfMicro(Microseconds: LongWord): QWord;

{ Unix time in ns: what the VMM has told at the boot or at the last thaw, plus the TSC since then.
  It is the same on all cores. It goes back only in a machine that is thawed on a host whose
  clock is behind. }
function UnixTimeNs: QWord;

{ Time in ns from some point in the past. It is the same on all cores and never goes back. It
  does not run while the machine is frozen. }
function MonotonicNs: QWord;

{ Makes MonotonicNs go on with the TSC's new frequency after a thaw. }
procedure RenewClock;

{ Days from 1970-01-01 to a date of the Gregorian calendar. }
function DaysOf(Year, Month, Day: LongInt): LongInt;

{ The date and time in UTC, and the seconds from AThen to ANow. }
procedure Now(Data: PNow);
function SecondsBetween(const ANow, AThen: TNow): LongInt;

{ Busy-waits by the TSC. Other threads of this core do not run meanwhile; use Process.Sleep
  where they should. }
procedure Delay(ms: LongInt);
procedure DelayMicro(us: LongInt);

{ ---- Interrupts ---- }

{ Waits for an interrupt, or returns at once if one is pending. Then calls the handlers of
  captured vectors. }
procedure hlt;

{ The same without calling handlers. }
procedure HaltCore;

{ Installs Handler for a vector from 32 on, or for an exception below, on all cores; nil restores
  the kernel's. The handler is written like an entry of an interrupt table: it preserves all
  registers and ends with IRETQ. On its stack are RIP, CS, RFLAGS, RSP and SS of the interrupted
  code, and below them the error code of an exception that has one, which the handler removes
  before IRETQ. An interrupt needs no EOI. It may arrive at any instruction, so the handler must
  not call code that is not reentrant: no memory allocation, no console. }
procedure CaptureInt(int: Byte; Handler: Pointer);
procedure CaptureException(Exception: Byte; Handler: Pointer);

{ Calls the handlers of captured vectors that are pending, and sends those on that are routed. }
procedure CallHandlers;

{ Does nothing: the nucleus has sent the EOI. }
procedure eoi_apic; inline;

{ Route an IRQ to this core, and a vector to any core. }
procedure IOApicIrqOn(irq: Byte);
procedure RouteInterrupt(Vector, Core: Byte);

{ Reset another core, and start it at real-mode page Vector. Not for cores that run the
  kernel. }
procedure send_apic_init(apicid: Byte);
procedure send_apic_startup(apicid, vector: Byte);

{ Whether an interrupt of this vector has arrived on this core since the last call. }
function TakePending(Vector: Byte): Boolean; assembler;

{ The same, and the vector stays pending. }
function IsPending(Vector: Byte): Boolean; assembler;

{ Whether hlt would return at once. }
function AnythingPending: Boolean; assembler;

{ Moves pending vectors to Raised: they can still be taken, but do not keep the core from
  halting. }
procedure CollectPending; assembler;

{ Sends an interrupt to the core with this APIC id. }
procedure send_apic_int(apicid, vector: Byte);

{ The local APIC's registers, and whether it has sent the last interrupt. }
function GetApicBaseAddr: Pointer;
function is_apic_ready: Boolean;

{ A register of the IOAPIC. A machine without one reads all ones. }
function read_ioapic_reg(offset: DWord): DWord;
procedure write_ioapic_reg(offset, val: DWord);

{ Memory barriers: loads before loads, stores before stores, and everything before everything.
  x86 guarantees the first two anyway. }
procedure ReadBarrier; assembler;
procedure WriteBarrier; assembler;
procedure ReadWriteBarrier; assembler;

{ Make the page at Add read-only, cached, and uncached: 2 MiB of RAM, or 4 KiB in the image and
  in stacks. What is not mapped for ring 3 stays as it is. This core sees it at once, another one
  after ForgetPageTables. }
procedure SetPageReadOnly(Add: Pointer);
procedure SetPageCache(Add: Pointer);
procedure RemovePageCache(Add: Pointer);

{ Splits the 2 MiB of RAM at Region, a multiple of 2 MiB, into 4 KiB pages. The first two become
  page tables, which ring 3 cannot access; every page whose number is a multiple of
  GuardDistance (2 or more) becomes a guard. False: the region is not all RAM, or is split
  already. Flushes this core's TLB; for the other cores see ForgetPageTables. }
function SplitRegion(Region: Pointer; GuardDistance: PtrUInt): Boolean;

{ Flushes this core's TLB, so that it sees what another core has done with SplitRegion, or with a
  page. }
procedure ForgetPageTables;

{ Gives this core page tables of its own, which differ from the shared ones in Count times 2 MiB
  of the first GiB, from number First. Region was split; its pages from the sixth on are the page
  tables of these, which this routine takes away from ring 3. To be called once on a core. }
procedure TakeOwnTables(Region: Pointer; First, Count: PtrUInt); assembler;

{ A spin lock; 0 is free. It protects a few instructions against other cores. The holder must
  not yield to another thread. }
procedure AcquireLock(var Lock: LongInt);
procedure ReleaseLock(var Lock: LongInt);

{ Spins until AddVal is CmpVal, and sets it to NewVal at that moment. Returns CmpVal. }
function SpinLock(CmpVal, NewVal: QWord; var AddVal: QWord): QWord;

{ Tells the CPU that this core spins. }
procedure NOP; assembler;

{ Wait for a change of memory. MWAIT is not available in ring 3, and may return early anyway:
  here it returns at once. }
procedure monitor(addr: Pointer; ext, hint: LongWord);
procedure mwait(ext, hint: LongWord);

{ The time in ns during which this core could have run, and the host ran something else, as KVM
  tells it; from the first call on this core at the latest. Not on KVM: 0. }
function GetStealCPU: QWord;

{ Saves where this stack is at Save, a pointer to a pointer, and goes on with the one of which
  Load^ was saved: it returns to where that was left. Load^ of a new stack points to two words on
  it: RBP, and the address at which it starts. The registers that a callee must preserve are
  saved; they have no meaning on a new stack. }
procedure SwitchStack(Save, Load: Pointer); assembler;

{ Bit operations on memory, atomic with respect to other cores. }
function bit_test(Val: Pointer; Pos: QWord): Boolean; assembler;
procedure bit_set(Value: Pointer; Offset: QWord); assembler;
procedure bit_reset(Value: Pointer; Offset: QWord); assembler;

{ The number of the lowest bit that is set; 32 if none is. (Programs rely on that, whatever the
  name says.) }
function find_msb_set(Value: DWord): LongInt;

{ ---- Text ---- }

{ Writes a number in decimal, with a terminating zero. }
procedure InttoStr(Value: PtrUInt; buff: PChar);

{ Whether the first Len characters are equal. }
function StrCmp(p1, p2: PChar; Len: LongInt): Boolean;

{ Writes left, then right, with a terminating zero, to dst, which may be left itself. }
procedure StrConcat(left, right, dst: PChar);

{ ---- Memory ---- }

{ Describes memory region ID, from 0. Returns the size of the record, or 0 if there is no such
  region. }
function GetMemoryRegion(ID: LongInt; Buffer: PMemoryRegion): LongInt;

{ The first available memory region behind Curr; 0 if there is none. }
function GetNextUsableMemoryRegion(Curr: LongInt): LongInt;

{ ---- Ports ---- }

{ Access an I/O port. The 32-bit variants read and write memory. }
function read_portb(Port: Word): Byte; assembler;
function read_portw(Port: Word): Word; assembler;
procedure read_portd(Data: Pointer; Port: Word); assembler;
procedure write_portb(Data: Byte; Port: Word); assembler;
procedure write_portw(Data: Word; Port: Word); assembler;
procedure write_portd(Data: Pointer; Port: Word); assembler;

{ Writes Count bytes to a port with one string instruction, which a hypervisor can serve in one
  exit. }
procedure write_portsb(Data: Pointer; Count: PtrUInt; Port: Word); assembler;

{ Tells the VMM that the kernel is about to report a failure (pvpanic, docs/boot-protocol.md).
  Frame: the TExceptionFrame of an exception, or nil. }
procedure TellCrash(Frame: Pointer); assembler;

var
  { Called before the machine ends, on the core that ends it; it must not yield. }
  BeforePowerOff: TProcedure;

{ End the machine, with an exit status of 0 to 255 or with 0. }
procedure PowerOff(Status: Byte); noreturn;
procedure ShutdownInQemu;

implementation

{$if SizeOf(TCore) > CORE_SIZE}
  {$error TCore does not fit in a core's block}
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

procedure SetPerCPUVar(Off: Byte; Value: QWord);
begin
  if Off < MAX_PERCPU_VAR then
    PerCPUVar[GetCoreId][Off] := Value;
end;

function GetGSOffset(Off: Byte): QWord;
begin
  Result := 0;
  if Off <= SizeOf(PerCPUVar[0]) - SizeOf(Result) then
    Move(PByte(@PerCPUVar[GetCoreId])[Off], Result, SizeOf(Result));
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

{ Calls of the nucleus, by number: see nucleus.s. }
function Split(Region: Pointer; GuardDistance: PtrUInt): Boolean; assembler; nostackframe;
asm
  mov rax, NUCLEUS_CALL
  ud2
end;

procedure TakeOwnTables(Region: Pointer; First, Count: PtrUInt); assembler; nostackframe;
asm
  mov rax, NUCLEUS_CALL + 1
  ud2
end;

function Change(Page: Pointer; Rights: PtrUInt; Table: Pointer): PtrUInt; assembler; nostackframe;
asm
  mov rax, NUCLEUS_CALL + 3
  ud2
end;

procedure TakeSteal; assembler; nostackframe;
asm
  mov rax, NUCLEUS_CALL + 4
  ud2
end;

var
  TablesLock: LongInt;
  SpareTables, SpareTablesEnd: Pointer; { pages for tables }

function SplitRegion(Region: Pointer; GuardDistance: PtrUInt): Boolean;
begin
  AcquireLock(TablesLock);
  Result := Split(Region, GuardDistance);
  ReleaseLock(TablesLock);
end;

procedure ForgetPageTables;
begin
  Split(Pointer(1), 0);
end;

{ A page for Change; nil: no memory. }
function SpareTable: Pointer;
const
  TABLE = 4096;
begin
  if SpareTables = SpareTablesEnd then
  begin
    Result := GetMem(2 * REGION_SIZE);
    if Result = nil then
      Exit;
    Result := Align(Result, REGION_SIZE);
    if not Split(Result, REGION_SIZE div TABLE) then
      Exit(nil);
    SpareTables := Result + 2 * TABLE;
    SpareTablesEnd := Result + REGION_SIZE;
  end;
  Result := SpareTables;
  Inc(SpareTables, TABLE);
end;

{ Takes Rights, bits of an entry, from the page at Add, and gives it those in the second byte. }
procedure ChangePage(Add: Pointer; Rights: PtrUInt);
const
  NEEDS_TABLE = 2;
var
  Table: Pointer;
begin
  AcquireLock(TablesLock);
  if Change(Add, Rights, nil) = NEEDS_TABLE then
  begin
    Table := SpareTable;
    if Table <> nil then
      Change(Add, Rights, Table);
  end;
  ReleaseLock(TablesLock);
end;

procedure SetPageReadOnly(Add: Pointer);
begin
  ChangePage(Add, PAGE_WRITABLE);
end;

procedure SetPageCache(Add: Pointer);
begin
  ChangePage(Add, PAGE_UNCACHED);
end;

procedure RemovePageCache(Add: Pointer);
begin
  ChangePage(Add, PAGE_UNCACHED shl 8);
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

function SpinLock(CmpVal, NewVal: QWord; var AddVal: QWord): QWord;
begin
  while InterlockedCompareExchange64(AddVal, NewVal, CmpVal) <> CmpVal do
    NOP;
  Result := CmpVal;
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
var
  Core: PCore;
begin
  Core := ThisCore;
  if not Core^.HasSteal then
  begin
    Core^.HasSteal := True;
    TakeSteal;
  end;
  Result := Core^.Steal.Time;
end;

{ The words of Load^ are above the registers, as on a stack that this routine has left. }
procedure SwitchStack(Save, Load: Pointer); assembler; nostackframe;
asm
  push rbp
  mov [rdi], rsp
  push rbx
  push r12
  push r13
  push r14
  push r15
  mov rax, [rsi]
  mov rbx, [rax - 8]
  mov r12, [rax - 16]
  mov r13, [rax - 24]
  mov r14, [rax - 32]
  mov r15, [rax - 40]
  mov rsp, rax
  pop rbp
end;

function GetMemoryRegion(ID: LongInt; Buffer: PMemoryRegion): LongInt;
begin
  if (ID < 0) or (LongWord(ID) >= TheBootInfo^.MemoryMapCount) then
    Exit(0);
  with TheBootInfo^.MemoryMap[ID] do
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

function GetNextUsableMemoryRegion(Curr: LongInt): LongInt;
var
  Region: TMemoryRegion;
begin
  for Result := Curr + 1 to LongInt(TheBootInfo^.MemoryMapCount) - 1 do
    if (GetMemoryRegion(Result, @Region) <> 0) and (Region.Flag = MEM_AVAILABLE) then
      Exit;
  Result := 0;
end;

var
  Ending: LongInt = -1; { the core that does what comes before the end: an exception in it ends here, too }

procedure PowerOff(Status: Byte);
begin
  if Ending <> GetCoreId then
  begin
    Ending := GetCoreId;
    if BeforePowerOff <> nil then
      BeforePowerOff();
    TheBootInfo^.Marks[MARK_EXIT] := read_rdtsc;
  end;
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
    if I > 0 then
      PerCPUVar[I][PERCPUAPICID] := I;
  end;
end;

initialization
  DescribeCores;
  RenewClock;
  Now(@StartTime);
end.
