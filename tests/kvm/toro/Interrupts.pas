{ Interrupts: they are marked, they wake a core, they change nothing else. }
program Interrupts;

{$mode objfpc}

uses
  Checks, BootInfo, Arch;

const
  LAPIC = $FEE00000;
  TASK_PRIORITY = $80;
  COMMAND = $300;
  COMMAND_SELF = 1 shl 18;
  TIMER = $320;
  TIMER_PERIODIC = 1 shl 17;
  TIMER_INITIAL = $380;
  TIMER_DIVIDE = $3E0;
  DIVIDE_BY_1 = $B;
  TEST_VECTOR = 80;
  TIMER_VECTOR = 81;

procedure WriteRegister(Offset, Value: LongWord);
begin
  PLongWord(PtrUInt(LAPIC + Offset))^ := Value;
end;

procedure SendToSelf(Vector: LongWord);
begin
  WriteRegister(COMMAND, COMMAND_SELF or Vector);
end;

{ Halts until a vector has come. }
procedure WaitFor(Vector: Byte);
begin
  while not TakePending(Vector) do
    hlt;
end;

{ A sum that depends on every register being left alone. }
function Harmonic(Terms: LongInt): Double;
var
  I: LongInt;
begin
  Result := 0;
  for I := 1 to Terms do
    Result := Result + 1 / I;
end;

procedure TestSelf;
var
  Vector: LongInt;
  Each: Boolean;
begin
  Check(not TakePending(TEST_VECTOR), 'nothing is pending at first');
  SendToSelf(TEST_VECTOR);
  WaitFor(TEST_VECTOR);
  Check(not TakePending(TEST_VECTOR), 'an interrupt is taken once');
  Each := True;
  for Vector := 32 to 254 do
  begin
    SendToSelf(Vector);
    WaitFor(Vector);
    with ThisCore^ do
      Each := Each and (Pending[0] or Pending[1] or Pending[2] or Pending[3] = 0);
  end;
  Check(Each, 'each vector is marked as itself');
end;

procedure TestPendingHalt;
var
  Round: LongInt;
begin
  { Each interrupt has come before the halt: it must not sleep through it. }
  for Round := 1 to 1000 do
  begin
    SendToSelf(TEST_VECTOR);
    hlt;
    WaitFor(TEST_VECTOR);
  end;
  Check(True, 'a halt with an interrupt pending returns');
end;

procedure TestTimer;
var
  Round: LongInt;
  Undisturbed: Double;
  Same: Boolean;
  Ticks: LongInt;
begin
  Undisturbed := Harmonic(100000);
  WriteRegister(TIMER_DIVIDE, DIVIDE_BY_1);
  for Round := 1 to 20 do
  begin
    WriteRegister(TIMER, TIMER_VECTOR);
    WriteRegister(TIMER_INITIAL, 1000000);
    WaitFor(TIMER_VECTOR);
  end;
  Check(True, 'the timer wakes a halted core');
  WriteRegister(TIMER, TIMER_PERIODIC or TIMER_VECTOR);
  WriteRegister(TIMER_INITIAL, 500000);
  Same := True;
  Ticks := 0;
  while Ticks < 50 do
  begin
    Same := Same and (Harmonic(100000) = Undisturbed);
    if TakePending(TIMER_VECTOR) then
      Inc(Ticks);
  end;
  WriteRegister(TIMER_INITIAL, 0);
  Check(Same, 'interrupts leave registers and SSE state alone');
end;

begin
  TestSelf;
  TestPendingHalt;
  TestTimer;
end.
