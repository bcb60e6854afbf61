{ What happens on an exception of the CPU: it is told on the console, with the
  registers and a backtrace, and the machine ends with STATUS_EXCEPTION. }
unit Exceptions;

{$mode objfpc}

interface

implementation

uses Arch, Console, CoreThreads, Symbols, ThreadLife;

const
  { Intel SDM volume 3, table 6-1 }
  NAMES: array[0..21] of String[32] = (
    'divide error', 'debug', 'non-maskable interrupt', 'breakpoint', 'overflow',
    'bound range exceeded', 'invalid opcode', 'device not available', 'double fault', '',
    'invalid TSS', 'segment not present', 'stack fault', 'general protection', 'page fault',
    '', 'x87 floating-point error', 'alignment check', 'machine check',
    'SIMD floating-point error', 'virtualization', 'control protection');
  PAGE_FAULT = 14;
  { Bits of a page fault's error code, section 4.7 }
  FAULT_PRESENT = 1;
  FAULT_WRITE = 2;
  FAULT_FETCH = 16;

{ Whether an address is right below the stack of the current thread. }
function InGuard(Address: PtrUInt): Boolean;
begin
  with GetCurrentThread^ do
    Result := (Address < StackLow) and (Address >= StackLow - GUARD_SIZE);
end;

procedure WritePageFault(Core: PCore);
begin
  with Core^.Frame do
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
  WriteText('  ' + Name + ' ');
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

{ The nucleus comes here, on the exception stack of the core. }
procedure KernelException(Core: PCore); public name 'KernelException';
begin
  HeadLess := False;
  FlushConsole;
  with Core^.Frame do
  begin
    WriteText('Exception ');
    PrintDecimal(Vector);
    if Vector <= High(NAMES) then
      WriteText(' (' + NAMES[Vector] + ')');
    WriteText(' on core ');
    PrintDecimal(Core^.Index);
    if GetCurrentThread^.Number <> 0 then
      WriteText(' in ' + ThreadText(GetCurrentThread));
    if Vector = PAGE_FAULT then
    begin
      WriteText(', ');
      WritePageFault(Core);
    end;
    WriteText(#10);
    WriteRegisters(Core^.Frame);
    WriteText('Backtrace:'#10);
    WriteText('  ' + SymbolText(CodePointer(RIP)) + #10);
    WriteBacktrace(RBP, GetCurrentThread^.StackLow, GetCurrentThread^.StackHigh);
  end;
  PowerOff(STATUS_EXCEPTION);
end;

end.
