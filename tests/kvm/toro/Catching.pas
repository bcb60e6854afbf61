{ Exceptions and interrupts that the application takes: as Pascal exceptions, and with
  handlers of its own such as the CPU calls. }
program Catching;

{$mode objfpc}
{$asmmode intel}

uses
  Checks, Arch, Kernel, Process, SysUtils;

const
  MY_VECTOR = 100;

var
  Calls, FaultCalls: LongInt;
  Zero: LongInt;
  Nowhere: ^LongInt = nil;

procedure Divide;
begin
  Zero := 5 div Zero;
end;

procedure Reach;
begin
  Nowhere^ := 1;
end;

procedure Illegal;
begin
  asm
    ud2
  end;
end;

procedure DivideFloats;
var
  One, Nothing: Double;
begin
  One := 1;
  Nothing := Zero;
  One := One / Nothing;
  WriteLn(One);
end;

function Raises(What: TProcedure; Kind: ExceptClass): Boolean;
begin
  try
    What();
    Result := False;
  except
    on E: Exception do
      Result := E.ClassType = Kind;
  end;
end;

procedure TestPascal;
var
  I: LongInt;
  Passed, Good: Boolean;
begin
  Check(Raises(@Divide, EDivByZero), 'a division by zero');
  Check(Raises(@Reach, EAccessViolation), 'a nil pointer');
  Check(Raises(@Illegal, EPrivilege), 'an illegal instruction');
  Good := True;
  for I := 1 to 1000 do
    Good := Good and Raises(@Divide, EDivByZero);
  Check(Good, 'a thousand times');
  Passed := False;
  try
    try
      Divide;
    finally
      Passed := True;
    end;
  except
    Good := Passed;
  end;
  Check(Good, 'finally, then except');
end;

function InThread(Parameter: Pointer): PtrInt;
begin
  Result := Ord(Raises(@Reach, EAccessViolation));
end;

procedure TestThreads;
var
  Core: LongInt;
  ID: TThreadID;
  Good: Boolean;
begin
  Good := True;
  for Core := 0 to CPU_COUNT - 1 do
  begin
    BeginThread(nil, 65536, @InThread, nil, Core, ID);
    Good := Good and (WaitForThreadTerminate(ID, 0) = 1);
  end;
  Check(Good, 'in a thread of each core');
end;

{ Counts, and preserves all that it uses. }
procedure OnInterrupt; assembler; nostackframe;
asm
  inc dword ptr [rip + Calls]
  iretq
end;

{ Steps over the two bytes of UD2. }
procedure OnIllegal; assembler; nostackframe;
asm
  inc dword ptr [rip + FaultCalls]
  add qword ptr [rsp], 2
  iretq
end;

{ The same, of the two bytes of `mov eax, [rax]`, behind an error code. }
procedure OnPageFault; assembler; nostackframe;
asm
  inc dword ptr [rip + FaultCalls]
  add qword ptr [rsp + 8], 2
  add rsp, 8
  iretq
end;

procedure TestExceptions;
var
  I: LongInt;
begin
  CaptureException(EXC_ILLEGALINS, @OnIllegal);
  for I := 1 to 100 do
    Illegal;
  Check(FaultCalls = 100, 'an exception handler of ours');
  CaptureException(EXC_PAGEFAUL, @OnPageFault);
  asm
    xor eax, eax
    mov eax, [rax]
  end ['rax'];
  Check(FaultCalls = 101, 'one with an error code');
  CaptureException(EXC_ILLEGALINS, nil);
  CaptureException(EXC_PAGEFAUL, nil);
  Check(Raises(@Illegal, EPrivilege), 'and none again');
end;

function Harmonic(Terms: LongInt): Double;
var
  I: LongInt;
begin
  Result := 0;
  for I := 1 to Terms do
    Result := Result + 1 / I;
end;

function Interrupt(Parameter: Pointer): PtrInt;
var
  I: LongInt;
begin
  for I := 1 to 1000 do
  begin
    send_apic_int(0, MY_VECTOR);
    DelayMicro(20);
  end;
  Result := 0;
end;

procedure TestInterrupts;
var
  I: LongInt;
  ID: TThreadID;
  Undisturbed: Double;
  Good: Boolean;
begin
  CaptureInt(MY_VECTOR, @OnInterrupt);
  for I := 1 to 1000 do
    send_apic_int(0, MY_VECTOR);
  { Where it comes is up to the CPU; that it has come is certain after a look. }
  SysThreadSwitch;
  Check(Calls = 1000, 'an interrupt handler of ours');
  Undisturbed := Harmonic(10000);
  Calls := 0;
  Good := True;
  if CPU_COUNT > 1 then
  begin
    BeginThread(nil, 65536, @Interrupt, nil, 1, ID);
    while Calls = 0 do { gives nothing away, so only the handler can end it }
      ;
    while WaitForThreadTerminate(ID, 1) = WAIT_FAILED do
      Good := Good and (Harmonic(10000) = Undisturbed);
    Good := Good and (Calls <= 1000);
  end;
  Check(Good, 'whatever runs is interrupted, and goes on as it was');
  Calls := 0;
  send_apic_int(0, MY_VECTOR);
  while Calls = 0 do
    hlt;
  CaptureInt(MY_VECTOR, nil);
  send_apic_int(0, MY_VECTOR);
  Check(TakePending(MY_VECTOR) and (Calls = 1), 'given back, it is marked only');
end;

{ An interrupt of a device comes to core 0 and goes on to where it is wanted. }
function Receive(Parameter: Pointer): PtrInt;
var
  I: LongInt;
begin
  RouteInterrupt(BASE_IRQ + 20, GetCoreId);
  for I := 1 to 100 do
  begin
    send_apic_int(0, BASE_IRQ + 20);
    while not TakePending(BASE_IRQ + 20) do
      hlt;
  end;
  RouteInterrupt(BASE_IRQ + 20, 0);
  Result := I;
end;

procedure TestRoute;
var
  ID: TThreadID;
begin
  BeginThread(nil, 65536, @Receive, nil, CPU_COUNT - 1, ID);
  Check(WaitForThreadTerminate(ID, 0) = 100, 'an interrupt is passed on');
end;

begin
  if KernelParamCount > 0 then
    Check(Raises(@DivideFloats, EZeroDivide), 'a floating-point division by zero')
  else
  begin
    TestPascal;
    TestThreads;
    TestExceptions;
    TestInterrupts;
    TestRoute;
  end;
end.
