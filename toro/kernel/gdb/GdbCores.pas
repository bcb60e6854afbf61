{ Cores under a debugger: how they stop and resume together, breakpoints, and access to memory that
  may be unmapped.

  An exception stops a core. The first core to stop takes control: it interrupts the others with
  DEBUG_IRQ, whose handler is a breakpoint, and serves the debugger. Another core may be about to
  report an exception of its own at that moment; it parks without reporting it. When it resumes, the
  same instruction raises the exception again. }
unit GdbCores;

{$mode objfpc}
{$asmmode intel}

interface

uses Arch;

const
  TRAP_FLAG = 1 shl 8; { bit of RFLAGS: an exception after every instruction }

{ Installs the handler of DEBUG_IRQ. }
procedure PrepareCores;

{ Whether the exception is the breakpoint in DEBUG_IRQ's handler. If so, the core's frame
  becomes that of the interrupted code. }
function WasAskedToStop(Core: PCore): Boolean;

{ Takes control; False: another core has it. }
function TakeControl: Boolean;

{ Stops all other cores, except those that do not answer within a second. }
procedure StopOthers;

{ Gives control up and resumes the others. }
procedure ReleaseOthers;

{ Keeps this core stopped until the one in control releases it. }
procedure Park;

{ Whether a core is stopped, as seen by the one in control. }
function IsStopped(Core: LongInt): Boolean;

{ Set and remove breakpoints. False: the address is not in code, or there are too many. }
function SetBreakpoint(Address: PtrUInt): Boolean;
function RemoveBreakpoint(Address: PtrUInt): Boolean;
procedure RemoveBreakpoints;
function IsBreakpoint(Address: PtrUInt): Boolean;

{ Copies memory that may be unmapped; returns the number of bytes copied. }
function CopyMemory(Target, Source: Pointer; Count: PtrUInt): PtrUInt;

{ Changes a byte of code. }
function PatchText(Address: PtrUInt; Value: Byte): Boolean; assembler;

implementation

const
  BREAKPOINTS = 256;
  INT3 = $CC;
  PATIENCE = 1000; { ms }

type
  TInterruptFrame = packed record { the operands of IRETQ }
    RIP, CS, RFLAGS, RSP, SS: QWord;
  end;
  PInterruptFrame = ^TInterruptFrame;

var
  Control: LongInt; { counts how often it was taken or given up; odd: a core has it }
  Parked: array[0..MAX_CPU - 1] of LongInt; { what Control was when the core last parked }
  Addresses: array[0..BREAKPOINTS - 1] of PtrUInt; { 0: unused }
  Originals: array[0..BREAKPOINTS - 1] of Byte;

{ ---- Stopping ---- }

{ A core that was released runs, even before it has woken up: it is stopped if it has parked for the
  present value of Control. }

procedure StopHere; assembler; nostackframe;
asm
  int3
end;

procedure PrepareCores;
begin
  CaptureInt(DEBUG_IRQ, @StopHere);
end;

function WasAskedToStop(Core: PCore): Boolean;
var
  Interrupted: TInterruptFrame;
begin
  with Core^.Frame do
  begin
    Result := (Vector = EXC_BREAKPOINT) and (RIP = PtrUInt(@StopHere) + 1);
    if not Result then
      Exit;
    Interrupted := PInterruptFrame(RSP)^;
    RIP := Interrupted.RIP;
    RFLAGS := Interrupted.RFLAGS;
    RSP := Interrupted.RSP;
  end;
end;

function TakeControl: Boolean;
var
  Free: LongInt;
begin
  Free := Control;
  Result := not Odd(Free) and (InterlockedCompareExchange(Control, Free + 1, Free) = Free);
end;

function IsStopped(Core: LongInt): Boolean;
begin
  Result := (Core >= 0) and (Core < CPU_COUNT) and ((Core = GetCoreId) or (Parked[Core] = Control));
end;

procedure StopOthers;
var
  I: LongInt;
  Start: QWord;
begin
  for I := 0 to CPU_COUNT - 1 do
    if not IsStopped(I) and CoreAt(I)^.Online then
      send_apic_int(I, DEBUG_IRQ);
  Start := read_rdtsc;
  for I := 0 to CPU_COUNT - 1 do
    while not IsStopped(I) and CoreAt(I)^.Online and (read_rdtsc - Start < TicksOf(PATIENCE)) do
      NOP;
end;

procedure ReleaseOthers;
var
  I, Stop: LongInt;
begin
  Stop := Control;
  InterlockedIncrement(Control);
  for I := 0 to CPU_COUNT - 1 do
    if Parked[I] = Stop then
      send_apic_int(I, INTER_CORE_IRQ);
end;

procedure Park;
var
  Stop: LongInt;
begin
  TakePending(DEBUG_IRQ);
  Stop := Control;
  while Odd(Stop) do
  begin
    InterlockedExchange(Parked[GetCoreId], Stop); { before the look at Control, for ReleaseOthers }
    while Control = Stop do
    begin
      CollectPending;
      if Control = Stop then
        HaltCore;
    end;
    TakePending(DEBUG_IRQ); { a next stop's, if it has begun }
    Stop := Control;
  end;
end;

{ ---- Breakpoints ---- }

function PatchText(Address: PtrUInt; Value: Byte): Boolean; assembler; nostackframe;
asm
  mov rax, NUCLEUS_CALL + 2
  ud2
end;

function Find(Address: PtrUInt): LongInt;
begin
  Result := BREAKPOINTS - 1;
  while (Result >= 0) and (Addresses[Result] <> Address) do
    Dec(Result);
end;

function IsBreakpoint(Address: PtrUInt): Boolean;
begin
  Result := (Address <> 0) and (Find(Address) >= 0);
end;

function SetBreakpoint(Address: PtrUInt): Boolean;
var
  I: LongInt;
begin
  if IsBreakpoint(Address) then
    Exit(True);
  I := Find(0);
  Result := (I >= 0) and (CopyMemory(@Originals[I], Pointer(Address), 1) = 1) and PatchText(Address, INT3);
  if Result then
    Addresses[I] := Address;
end;

function RemoveBreakpoint(Address: PtrUInt): Boolean;
var
  I: LongInt;
begin
  Result := IsBreakpoint(Address);
  if not Result then
    Exit;
  I := Find(Address);
  PatchText(Address, Originals[I]);
  Addresses[I] := 0;
end;

procedure RemoveBreakpoints;
var
  I: LongInt;
begin
  for I := 0 to BREAKPOINTS - 1 do
    if Addresses[I] <> 0 then
      RemoveBreakpoint(Addresses[I]);
end;

{ ---- Memory ---- }

procedure DebuggerCopy; assembler; nostackframe; public name 'toro_debugger_copy';
asm
  rep movsb
end;

{ Copies Count bytes and returns how many are left: after a fault the nucleus skips the
  instruction at toro_debugger_copy. }
function Copy(Target, Source: Pointer; Count: PtrUInt): PtrUInt; assembler; nostackframe;
asm
  mov rcx, rdx
  cld
  call DebuggerCopy
  mov rax, rcx
end;

function CopyMemory(Target, Source: Pointer; Count: PtrUInt): PtrUInt;
begin
  Result := Count - Copy(Target, Source, Count);
end;

end.
