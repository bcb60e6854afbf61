{ How long the kernel's basic operations take. Each line of output is a name, and median
  and minimum of many samples in ns. Needs two cores. }
program KernelSpeed;

{$mode objfpc}

uses
  BootInfo, Arch, Process, VirtIOBus, ToroMPI;

const
  SAMPLES = 201;
  TURNS = 2000;     { for operations that are too short to be timed one by one }
  HALTED = 500;     { microseconds after which an idle core has halted }
  STACK = 32768;

var
  Times: array[0..SAMPLES - 1] of QWord; { cycles }

procedure Tell(const Name: ShortString; Divisor: QWord);
var
  I, J: LongInt;
  Time: QWord;

  function Nanoseconds(Cycles: QWord): QWord;
  begin
    Result := Cycles * 1000000 div (TheBootInfo^.TscHz div 1000) div Divisor;
  end;

begin
  for I := 1 to High(Times) do
  begin
    Time := Times[I];
    J := I;
    while (J > 0) and (Times[J - 1] > Time) do
    begin
      Times[J] := Times[J - 1];
      Dec(J);
    end;
    Times[J] := Time;
  end;
  WriteLn(Name, ' ', Nanoseconds(Times[SAMPLES div 2]), ' ', Nanoseconds(Times[0]));
end;

function Start(Func: TThreadFunc; Core: LongInt): TThreadID;
begin
  BeginThread(nil, STACK, Func, nil, Core, Result);
end;

{ ---- One core ---- }

var
  Stop: Boolean;

function Switch(Parameter: Pointer): PtrInt;
begin
  while not Stop do
    SysThreadSwitch;
  Result := 0;
end;

procedure MeasureSwitch;
var
  ID: TThreadID;
  I, J: LongInt;
  Began: QWord;
begin
  ID := Start(@Switch, 0);
  for I := 0 to SAMPLES - 1 do
  begin
    Began := read_rdtsc;
    for J := 1 to TURNS do
      SysThreadSwitch;
    Times[I] := read_rdtsc - Began;
  end;
  Stop := True;
  WaitForThreadTerminate(ID, 0);
  Tell('thread-switch', 2 * TURNS);
end;

function DoNothing(Parameter: Pointer): PtrInt;
begin
  Result := 0;
end;

procedure MeasureThread;
var
  I, J: LongInt;
  Began: QWord;
begin
  for I := 0 to SAMPLES - 1 do
  begin
    Began := read_rdtsc;
    for J := 1 to 20 do
      WaitForThreadTerminate(Start(@DoNothing, 0), 0);
    Times[I] := read_rdtsc - Began;
  end;
  Tell('thread-life', 20);
end;

procedure MeasureMemory;
var
  I, J: LongInt;
  Began: QWord;
  P: Pointer;
begin
  for I := 0 to SAMPLES - 1 do
  begin
    Began := read_rdtsc;
    for J := 1 to TURNS do
    begin
      GetMem(P, 64);
      FreeMem(P);
    end;
    Times[I] := read_rdtsc - Began;
  end;
  Tell('alloc-free', TURNS);
end;

procedure MeasureSection;
var
  I, J: LongInt;
  Began: QWord;
  Section: TRTLCriticalSection;
begin
  InitCriticalSection(Section);
  for I := 0 to SAMPLES - 1 do
  begin
    Began := read_rdtsc;
    for J := 1 to TURNS do
    begin
      EnterCriticalSection(Section);
      LeaveCriticalSection(Section);
    end;
    Times[I] := read_rdtsc - Began;
  end;
  DoneCriticalSection(Section);
  Tell('critical-section', TURNS);
end;

{ ---- Two cores ---- }

var
  Woken: QWord;

function BeWoken(Parameter: Pointer): PtrInt;
var
  I: LongInt;
begin
  for I := 1 to SAMPLES do
  begin
    SysSuspendThread(0);
    Woken := read_rdtsc;
  end;
  Result := 0;
end;

procedure MeasureWake;
var
  ID: TThreadID;
  I: LongInt;
  Began: QWord;
begin
  ID := Start(@BeWoken, 1);
  for I := 0 to SAMPLES - 1 do
  begin
    DelayMicro(HALTED);
    Woken := 0;
    Began := read_rdtsc;
    SysResumeThread(ID);
    while Woken = 0 do
      NOP;
    Times[I] := Woken - Began;
  end;
  WaitForThreadTerminate(ID, 0);
  Tell('wake-halted-core', 1);
end;

function Echo(Parameter: Pointer): PtrInt;
var
  Buffer: array[0..VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE - 1] of Byte;
  I: LongInt;
begin
  for I := 1 to SAMPLES * 20 do
  begin
    RecvFrom(0, @Buffer);
    SendTo(0, @Buffer, 8);
  end;
  Result := 0;
end;

procedure MeasureRoundTrip;
var
  Buffer: array[0..VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE - 1] of Byte;
  ID: TThreadID;
  I, J: LongInt;
  Began: QWord;
begin
  ID := Start(@Echo, 1);
  for I := 0 to SAMPLES - 1 do
  begin
    Began := read_rdtsc;
    for J := 1 to 20 do
    begin
      SendTo(1, @Buffer, 8);
      RecvFrom(1, @Buffer);
    end;
    Times[I] := read_rdtsc - Began;
  end;
  WaitForThreadTerminate(ID, 0);
  Tell('packet-round-trip', 20);
end;

function Rank(Parameter: Pointer): PtrInt;
var
  I: LongInt;
  Began: QWord;
  Value, Sum: Double;
begin
  Value := 1;
  for I := 0 to SAMPLES - 1 do
  begin
    MPI_Barrier(MPI_COMM_WORLD);
    Began := read_rdtsc;
    MPI_Allreduce(@Value, @Sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if GetCoreId = 0 then
      Times[I] := read_rdtsc - Began;
  end;
  Result := 0;
end;

procedure MeasureAllReduce;
var
  IDs: array of TThreadID;
  I: LongInt;
begin
  SetLength(IDs, CPU_COUNT);
  for I := 0 to High(IDs) do
    IDs[I] := Start(@Rank, I);
  for I := 0 to High(IDs) do
    WaitForThreadTerminate(IDs[I], 0);
  Tell('mpi-allreduce', 1);
end;

begin
  WriteLn('tsc-hz ', TheBootInfo^.TscHz, ' ', TheBootInfo^.TscHz);
  MeasureSwitch;
  MeasureThread;
  MeasureMemory;
  MeasureSection;
  MeasureWake;
  MeasureRoundTrip;
  MeasureAllReduce;
end.
