{ CPU exceptions. The first of these that exists handles one:

    1. the application's handler (CaptureException)
    2. an attached debugger (Gdbstub)
    3. a `try` of the thread, if the program uses SysUtils: the CPU's exception becomes a Pascal
       exception, such as EDivByZero or EAccessViolation

  Otherwise the kernel reports it on the console, with the registers and a backtrace. It is then a
  run-time error of FPC's library, which ends the program with its number as the status, or 217 in
  a program with SysUtils. A stack overflow ends the machine at once, with status 202. }
unit Exceptions;

{$mode objfpc}
{$asmmode intel}

interface

uses Arch;

{ Makes Pascal exceptions that began as CPU exceptions be reported like those if nothing catches
  them. To be called when all units are initialized. }
procedure WatchUncaught;

{ Leaves the exception stack and resumes with the registers in the core's frame. }
procedure Continue(Core: PCore); assembler; noreturn;

var
  { The debugger. True: it has handled the exception, and the core resumes. }
  DebugException: function(Core: PCore): Boolean;

implementation

uses Console, CoreThreads, Symbols, ThreadLife;

const
  { Intel SDM volume 3, table 6-1 }
  NAMES: array[0..21] of PChar = (
    'divide error', 'debug', 'non-maskable interrupt', 'breakpoint', 'overflow',
    'bound range exceeded', 'invalid opcode', 'device not available', 'double fault', '',
    'invalid TSS', 'segment not present', 'stack fault', 'general protection', 'page fault',
    '', 'x87 floating-point error', 'alignment check', 'machine check',
    'SIMD floating-point error', 'virtualization', 'control protection');
  { Bits of a page fault's error code, section 4.7 }
  FAULT_PRESENT = 1;
  FAULT_WRITE = 2;
  FAULT_FETCH = 16;
  STACK_OVERFLOW = 202; { the library's error }

{ ---- Telling ---- }

{ Whether an address is in the guard page of the current thread's stack. }
function InGuard(Address: PtrUInt): Boolean;
begin
  with GetCurrentThread^ do
    Result := (Address < StackLow) and (Address >= StackLow - GUARD_SIZE);
end;

function StackOverflow(const Frame: TExceptionFrame): Boolean;
begin
  Result := (Frame.Vector = EXC_PAGEFAUL) and InGuard(Frame.CR2);
end;

procedure WritePageFault(const Frame: TExceptionFrame);
begin
  with Frame do
  begin
    if ErrorCode and FAULT_FETCH <> 0 then
      WriteText('executing ')
    else if ErrorCode and FAULT_WRITE <> 0 then
      WriteText('writing to ')
    else
      WriteText('reading from ');
    WriteAddress(CR2);
    if InGuard(CR2) then
      WriteText(': stack overflow')
    else if ErrorCode and FAULT_PRESENT <> 0 then
      WriteText(': not allowed there')
    else if CR2 < GUARD_SIZE then
      WriteText(': nil pointer')
    else
      WriteText(': nothing is there');
  end;
end;

procedure WriteRegister(const Name: ShortString; Value: QWord; Last: Boolean);
begin
  WriteText('  ');
  WriteText(Name);
  WriteText(' ');
  WriteAddress(Value);
  if Last then
    WriteText(#10);
end;

procedure WriteRegisters(const Frame: TExceptionFrame);
begin
  with Frame do
  begin
    WriteRegister('RAX', RAX, False);
    WriteRegister('RBX', RBX, False);
    WriteRegister('RCX', RCX, False);
    WriteRegister('RDX', RDX, True);
    WriteRegister('RSI', RSI, False);
    WriteRegister('RDI', RDI, False);
    WriteRegister('RBP', RBP, False);
    WriteRegister('RSP', RSP, True);
    WriteRegister('R8 ', R8, False);
    WriteRegister('R9 ', R9, False);
    WriteRegister('R10', R10, False);
    WriteRegister('R11', R11, True);
    WriteRegister('R12', R12, False);
    WriteRegister('R13', R13, False);
    WriteRegister('R14', R14, False);
    WriteRegister('R15', R15, True);
    WriteRegister('RIP', RIP, False);
    WriteRegister('CR2', CR2, False);
    WriteRegister('FLG', RFLAGS, False);
    WriteRegister('ERR', ErrorCode, True);
  end;
end;

{ A thread's number, and its name or function. }
procedure WriteThread(Thread: PThread);
begin
  WriteText(' in thread ');
  PrintDecimal(Thread^.Number);
  WriteText(' ');
  if Thread^.Name <> '' then
    WriteText(Thread^.Name)
  else
    WriteText(SymbolName(CodePointer(Thread^.ThreadFunc)));
end;

procedure Tell(const Frame: TExceptionFrame);
begin
  TellCrash(@Frame);
  HeadLess := False;
  FlushConsole;
  with Frame do
  begin
    WriteText('Exception ');
    PrintDecimal(Vector);
    if Vector <= High(NAMES) then
    begin
      WriteText(' (');
      WriteText(NAMES[Vector]);
      WriteText(')');
    end;
    WriteText(' on core ');
    PrintDecimal(GetCoreId);
    if GetCurrentThread^.Number <> 0 then
      WriteThread(GetCurrentThread);
    if Vector = EXC_PAGEFAUL then
    begin
      WriteText(', ');
      WritePageFault(Frame);
    end;
    WriteText(#10);
    WriteRegisters(Frame);
    WriteText('Backtrace:'#10);
    WriteText(SymbolText(CodePointer(RIP)));
    WriteText(#10);
    WriteBacktrace(RBP, GetCurrentThread^.StackLow, GetCurrentThread^.StackHigh);
  end;
end;

{ ---- Going on ---- }

procedure Continue(Core: PCore); assembler; nostackframe;
asm
  { IRETQ's operands go below the red zone, the 128 bytes under RSP that a leaf function may
    use. Once RSP points to that stack, InException may be cleared: the core can then be
    interrupted. }
  mov rsi, [rdi + TCore.Frame.RSP]
  lea rsi, [rsi - 128 - 40]
  mov ax, ss
  movzx eax, ax
  mov [rsi + 32], rax
  mov rax, [rdi + TCore.Frame.RSP]
  mov [rsi + 24], rax
  mov rax, [rdi + TCore.Frame.RFLAGS]
  mov [rsi + 16], rax
  mov ax, cs
  movzx eax, ax
  mov [rsi + 8], rax
  mov rax, [rdi + TCore.Frame.RIP]
  mov [rsi], rax
  mov rsp, rsi
  mov rax, [rdi + TCore.Frame.RAX]
  mov rcx, [rdi + TCore.Frame.RCX]
  mov rdx, [rdi + TCore.Frame.RDX]
  mov rbx, [rdi + TCore.Frame.RBX]
  mov rbp, [rdi + TCore.Frame.RBP]
  mov rsi, [rdi + TCore.Frame.RSI]
  mov r8, [rdi + TCore.Frame.R8]
  mov r9, [rdi + TCore.Frame.R9]
  mov r10, [rdi + TCore.Frame.R10]
  mov r11, [rdi + TCore.Frame.R11]
  mov r12, [rdi + TCore.Frame.R12]
  mov r13, [rdi + TCore.Frame.R13]
  mov r14, [rdi + TCore.Frame.R14]
  mov r15, [rdi + TCore.Frame.R15]
  mov rdi, [rdi + TCore.Frame.RDI]
  mov qword ptr gs:[TCore.InException], 0
  iretq
end;

{ The selectors as ring 3 sees them; they may differ from those that the nucleus has set. }
function CodeSelector: QWord; assembler; nostackframe;
asm
  mov ax, cs
  movzx eax, ax
end;

function StackSelector: QWord; assembler; nostackframe;
asm
  mov ax, ss
  movzx eax, ax
end;

{ Pushes a word on the stack of the code that raised the exception. }
procedure Push(var Frame: TExceptionFrame; Value: QWord);
begin
  Dec(Frame.RSP, 8);
  PQWord(Frame.RSP)^ := Value;
end;

{ Moves RSP below the red zone and aligns it. }
procedure LeaveRoom(var Frame: TExceptionFrame);
begin
  Frame.RSP := (Frame.RSP - 128) and not QWord(15);
end;

{ Resumes in the application's handler, with the stack as the CPU would leave it for one. }
procedure CallHandler(Core: PCore); noreturn;
const
  WITH_ERROR_CODE = [8, 10..14, 17, 21, 29, 30]; { Intel SDM volume 3, table 6-1 }
var
  Old: QWord;
begin
  with Core^ do
  begin
    Old := Frame.RSP;
    LeaveRoom(Frame);
    Push(Frame, StackSelector);
    Push(Frame, Old);
    Push(Frame, Frame.RFLAGS);
    Push(Frame, CodeSelector);
    Push(Frame, Frame.RIP);
    if Byte(Frame.Vector) in WITH_ERROR_CODE then
      Push(Frame, Frame.ErrorCode);
    Frame.RIP := PtrUInt(Handlers[Frame.Vector]);
  end;
  Continue(Core);
end;

{ ---- Pascal exceptions ---- }

procedure HandleError(Error: LongInt; Address: CodePointer; Frame: Pointer);
  external name 'SYSTEM_$$_HANDLEERRORADDRFRAME$LONGINT$POINTER$POINTER';

{ The library's error number for a floating-point exception. The flags of MXCSR and of the x87
  status word have the same positions, and so have the bits that mask them in the upper half of
  MXCSR's word and in the x87 control word (Intel SDM volume 1, sections 8.1.3 and 10.2.3). }
function FloatError(Vector: QWord): LongInt;
var
  Flags: LongWord;
begin
  if Vector = EXC_FPUE then
  begin
    asm
      fnstsw ax
      movzx eax, ax
      mov Flags, eax
    end;
    Flags := Flags and not LongWord(Get8087CW);
  end
  else
    Flags := GetMXCSR and not (GetMXCSR shr 7);
  if Flags and 4 <> 0 then
    Result := 208 { division by zero }
  else if Flags and 8 <> 0 then
    Result := 205 { overflow }
  else if Flags and 16 <> 0 then
    Result := 206 { underflow }
  else
    Result := 207;
end;

function RuntimeError(const Frame: TExceptionFrame): LongInt;
begin
  case Frame.Vector of
    EXC_DIVBYZERO: Result := 200;
    EXC_OVERFLOW: Result := 215;
    EXC_BOUND: Result := 201;
    EXC_ILLEGALINS: Result := 218;
    EXC_FPUE, EXC_SIMD: Result := FloatError(Frame.Vector);
  else
    Result := 216;
  end;
end;

var
  { The last CPU exception that became a Pascal exception, by core }
  Raised: array[0..MAX_CPU - 1] of TExceptionFrame;
  LibraryUncaught: TExceptProc;

{ The thread resumes here. }
procedure RaiseError(Error: LongInt; Address: CodePointer; Frame: Pointer);
begin
  SysResetFPU;
  HandleError(Error, Address, Frame);
end;

procedure RaiseInThread(Core: PCore); noreturn;
begin
  Raised[Core^.Index] := Core^.Frame;
  with Core^.Frame do
  begin
    RDI := RuntimeError(Core^.Frame);
    RSI := RIP;
    RDX := RBP;
    LeaveRoom(Core^.Frame);
    Push(Core^.Frame, RIP);
    RIP := PtrUInt(@RaiseError);
  end;
  Continue(Core);
end;

var
  Told: Boolean;

{ Tells what ends the program. An exception while it ends stops the machine. }
procedure TellOnce(const Frame: TExceptionFrame);
begin
  Tell(Frame);
  if Told then
    PowerOff(RuntimeError(Frame));
  Told := True;
end;

{ If the uncaught exception is the CPU exception that this core raised last, reports that one. }
procedure TellUncaught(Obj: TObject; Addr: CodePointer; FrameCount: LongInt; Frames: PCodePointer);
begin
  if Addr = CodePointer(Raised[GetCoreId].RIP) then
    TellOnce(Raised[GetCoreId]);
  LibraryUncaught(Obj, Addr, FrameCount, Frames);
end;

procedure WatchUncaught;
begin
  if Assigned(ExceptProc) then
  begin
    LibraryUncaught := ExceptProc;
    ExceptProc := @TellUncaught;
  end;
end;

{ ---- Entry ---- }

{ Entry from the nucleus, on the core's exception stack. }
procedure KernelException(Core: PCore); public name 'KernelException';
begin
  if Core^.Frame.Vector <= High(Handlers) then
    if Handlers[Core^.Frame.Vector] <> nil then
      CallHandler(Core);
  if Assigned(DebugException) and DebugException(Core) then
    Continue(Core);
  if StackOverflow(Core^.Frame) then
  begin
    Tell(Core^.Frame);
    PowerOff(STACK_OVERFLOW);
  end;
  if not Assigned(ErrorProc) then
    TellOnce(Core^.Frame);
  RaiseInThread(Core);
end;

end.
