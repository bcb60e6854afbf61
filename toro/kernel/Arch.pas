{ The CPU: cores, ports, the TSC, and the end of the machine. All of it runs in
  ring 3; what ring 0 does is in toro/boot/nucleus.s. }
unit Arch;

{$mode objfpc}
{$asmmode intel}

interface

uses BootInfo;

const
  CORE_SIZE = $200;            { of TCore, see nucleus.s }
  EXCEPTION_STACK_SIZE = $4000;
  GUARD_SIZE = 4096;          { of the unmapped page below a stack }

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

{ Waits until an interrupt comes; returns at once when one is pending. }
procedure hlt; assembler;

{ Whether an interrupt of this vector has come to this core since the last call. }
function TakePending(Vector: Byte): Boolean; assembler;

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
