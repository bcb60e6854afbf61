{ Cores under a debugger: how all of them stop when one does, and go on; breakpoints; and
  memory that need not be there.

  A core stops by an exception, and stays in it. The first one has the control: it makes
  the others stop, by an interrupt whose handler is a breakpoint, and serves the debugger.
  What one of the others would have told just then comes again when it goes on, because it
  has not got past it. }
unit GdbCores;

{$mode objfpc}
{$asmmode intel}

interface

uses Arch;

const
  TRAP_FLAG = 1 shl 8; { of RFLAGS: an exception after each instruction }

{ Makes DEBUG_IRQ stop a core. }
procedure PrepareCores;

{ Whether the exception is a core's answer to DEBUG_IRQ: then its frame becomes that of
  what was interrupted. }
function WasAskedToStop(Core: PCore): Boolean;

{ Takes the control if no core has it; gives it up. }
function TakeControl: Boolean;
procedure GiveUpControl;

{ Stops all other cores, as far as they answer within a second; lets them go on. }
procedure StopOthers;
procedure ReleaseOthers;

{ Keeps this core until the one in control lets it go on. }
procedure Park;

{ Whether a core is stopped. }
function IsStopped(Core: LongInt): Boolean;

{ Sets or removes a breakpoint. False: the address is not in the text, or there are too
  many. }
function SetBreakpoint(Address: PtrUInt): Boolean;
function RemoveBreakpoint(Address: PtrUInt): Boolean;
procedure RemoveBreakpoints;
function IsBreakpoint(Address: PtrUInt): Boolean;

{ Copies memory, which may not be there: returns how much. }
function CopyMemory(Target, Source: Pointer; Count: PtrUInt): PtrUInt;

{ Changes a byte of the text. }
function PatchText(Address: PtrUInt; Value: Byte): Boolean; assembler;

implementation

const
  BREAKPOINTS = 256;
  INT3 = $CC;
  PATIENCE = 1000; { ms }

type
  TInterruptFrame = packed record { what IRETQ takes }
    RIP, CS, RFLAGS, RSP, SS: QWord;
  end;
  PInterruptFrame = ^TInterruptFrame;

var
  Control: LongInt;   { the core that has it, plus one; 0: none }
  Released: LongInt;  { how often cores were let go on }
  Parked: array[0..MAX_CPU - 1] of Boolean;
  Addresses: array[0..BREAKPOINTS - 1] of PtrUInt; { 0: none }
  Originals: array[0..BREAKPOINTS - 1] of Byte;

{ ---- Stopping ---- }

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
begin
  Result := InterlockedCompareExchange(Control, GetCoreId + 1, 0) = 0;
end;

procedure GiveUpControl;
begin
  InterlockedExchange(Control, 0);
end;

function IsStopped(Core: LongInt): Boolean;
begin
  Result := (Core >= 0) and (Core < CPU_COUNT) and ((Core = GetCoreId) or Parked[Core]);
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
  I: LongInt;
begin
  InterlockedIncrement(Released);
  for I := 0 to CPU_COUNT - 1 do
    if Parked[I] then
      send_apic_int(I, INTER_CORE_IRQ);
end;

procedure Park;
var
  Before: LongInt;
begin
  Before := Released;
  Parked[GetCoreId] := True;
  { The one in control may have let all go on before it saw this one. }
  while (InterlockedExchangeAdd(Released, 0) = Before) and (Control <> 0) do
  begin
    CollectPending;
    if Released = Before then
      HaltCore;
  end;
  Parked[GetCoreId] := False;
  TakePending(DEBUG_IRQ);
end;

{ ---- Breakpoints ---- }

function PatchText(Address: PtrUInt; Value: Byte): Boolean; assembler; nostackframe;
asm
  mov rax, $68637461706F5254 { patch_magic in nucleus.s }
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

{ Copies Count bytes; returns how many are left where it faulted: the nucleus steps over
  the instruction at toro_debugger_copy then. }
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
