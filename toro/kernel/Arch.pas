{ The CPU: cores, interrupts, ports, the TSC, and the end of the machine. All of it
  runs in ring 3; what ring 0 does is in toro/boot/nucleus.s. }
unit Arch;

{$mode objfpc}
{$asmmode intel}

interface

uses BootInfo;

const
  CORE_SIZE = $240;            { of TCore and what follows it, see nucleus.s }
  EXCEPTION_STACK_SIZE = $4000;
  SCHEDULER_SIZE = $100;       { of what Scheduling keeps in a core's block, at its end }
  GUARD_SIZE = 4096;           { of the unmapped page below a stack }
  REGION_SIZE = 1 shl 21;      { of what SplitRegion splits }

  MAX_CPU = 255;               { xAPIC ids are a byte, and 255 is all cores }
  BASE_IRQ = 32;               { vectors below are the CPU's exceptions }
  INTER_CORE_IRQ = 80;         { wakes a core that another one has work for }
  TIMER_IRQ = 81;              { wakes a core for a thread that has slept enough }

  { Registers of the local APIC (Intel SDM volume 3, table 11-1) }
  LAPIC_ICR = $FEE00300;       { interrupt command; the destination is in the next one }
  LAPIC_ICR_HIGH = $FEE00310;
  LAPIC_TIMER = $FEE00320;
  LAPIC_TIMER_INITIAL = $FEE00380;
  LAPIC_TIMER_CURRENT = $FEE00390;
  LAPIC_TIMER_DIVIDE = $FEE003E0;

  DEBUG_EXIT_PORT = $F4;
  STATUS_EXCEPTION = 120;      { exit status after an exception nobody handles }

type
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
    Padding: QWord;
    Frame: TExceptionFrame;
    Raised: array[0..3] of QWord;  { those the scheduler has seen, until TakePending }
    Destination: LongWord;         { that LAPIC_ICR_HIGH has }
    Online: Boolean;               { it has reached Pascal }
  end;

{ Number of cores. }
function CPU_COUNT: LongInt; inline;

{ Bytes of RAM that the machine has. }
function AvailableMemory: QWord;

{ Index of the core that this runs on, from 0. }
function GetCoreId: Byte; inline;

{ The block of this core, and of any (0 to CPU_COUNT - 1). }
function ThisCore: PCore; assembler;
function CoreAt(Index: LongInt): PCore;

{ The core's first stack: the guard page below it, and its end. }
function StackGuard(Core: PCore): PtrUInt;
function StackTop(Core: PCore): PtrUInt;

{ The time-stamp counter. }
function read_rdtsc: QWord; assembler;

{ Wait for this many milliseconds, or microseconds, by the TSC. No other thread of
  the core runs meanwhile; Sleep of the unit Process lets them. }
procedure Delay(ms: LongInt);
procedure DelayMicro(us: LongInt);

{ Waits until an interrupt comes; returns at once when one is pending. }
procedure hlt; assembler;

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

{ One access to an I/O port. }
function read_portb(Port: Word): Byte; assembler;
procedure write_portb(Data: Byte; Port: Word); assembler;

{ Sends Count bytes to a port. A hypervisor can take them in one exit. }
procedure write_portsb(Data: Pointer; Count: PtrUInt; Port: Word); assembler;

{ Ends the machine with an exit status, 0 to 255. }
procedure PowerOff(Status: Byte); noreturn;

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

function read_rdtsc: QWord; assembler; nostackframe;
asm
  rdtsc
  shl rdx, 32
  or rax, rdx
end;

procedure hlt; assembler; nostackframe;
asm
  hlt
end;

function TakePending(Vector: Byte): Boolean; assembler; nostackframe;
asm
  { One instruction, so no interrupt can come between its reading and writing. }
  movzx edi, dil
  btr qword ptr gs:[TCore.Pending], rdi
  setc al
  btr qword ptr gs:[TCore.Raised], rdi
  setc dl
  or al, dl
end;

function IsPending(Vector: Byte): Boolean; assembler; nostackframe;
asm
  movzx edi, dil
  bt qword ptr gs:[TCore.Pending], rdi
  setc al
  bt qword ptr gs:[TCore.Raised], rdi
  setc dl
  or al, dl
end;

function AnythingPending: Boolean; assembler; nostackframe;
asm
  mov rax, gs:[TCore.Pending]
  or rax, gs:[TCore.Pending + 8]
  or rax, gs:[TCore.Pending + 16]
  or rax, gs:[TCore.Pending + 24]
  setnz al
end;

procedure CollectPending; assembler; nostackframe;
asm
  { An interrupt may mark its vector at any time: what is there is taken and
    cleared in one instruction. }
  xor eax, eax
  xchg rax, gs:[TCore.Pending]
  or gs:[TCore.Raised], rax
  xor eax, eax
  xchg rax, gs:[TCore.Pending + 8]
  or gs:[TCore.Raised + 8], rax
  xor eax, eax
  xchg rax, gs:[TCore.Pending + 16]
  or gs:[TCore.Raised + 16], rax
  xor eax, eax
  xchg rax, gs:[TCore.Pending + 24]
  or gs:[TCore.Raised + 24], rax
end;

procedure send_apic_int(apicid, vector: Byte);
begin
  { The APIC of a virtual machine has delivered before the write is over, so there
    is no need to wait for it; and each write not made saves an exit. }
  with ThisCore^ do
    if Destination <> LongWord(apicid) shl 24 then
    begin
      Destination := LongWord(apicid) shl 24;
      PLongWord(LAPIC_ICR_HIGH)^ := Destination;
    end;
  PLongWord(LAPIC_ICR)^ := vector;
end;

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

procedure WaitTicks(Ticks: QWord);
var
  Start: QWord;
begin
  Start := read_rdtsc;
  while read_rdtsc - Start < Ticks do
    NOP;
end;

procedure Delay(ms: LongInt);
begin
  if ms > 0 then
    WaitTicks(QWord(ms) * (TheBootInfo^.TscHz div 1000));
end;

procedure DelayMicro(us: LongInt);
begin
  if us > 0 then
    WaitTicks(QWord(us) * TheBootInfo^.TscHz div 1000000);
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

function read_portb(Port: Word): Byte; assembler; nostackframe;
asm
  mov edx, edi
  in al, dx
end;

procedure write_portb(Data: Byte; Port: Word); assembler; nostackframe;
asm
  mov eax, edi
  mov edx, esi
  out dx, al
end;

procedure write_portsb(Data: Pointer; Count: PtrUInt; Port: Word); assembler; nostackframe;
asm
  xchg rdi, rsi
  mov rcx, rdi
  rep outsb
end;

procedure PowerOff(Status: Byte);
begin
  TheBootInfo^.Marks[MARK_EXIT] := read_rdtsc;
  write_portb(Status, DEBUG_EXIT_PORT);
  while True do
    hlt;
end;

end.
