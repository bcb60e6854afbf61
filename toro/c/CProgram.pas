{ The Pascal program around a C program, compiled by `pyvmm build PROGRAM.c`. It runs main on
  every core, as an MPI rank, and exits with the first non-zero status in the order of ranks. }
program CProgram;

{$mode objfpc}

uses
  Kernel, Arch, Memory, Process, ToroMPI;

const
  STACK_SIZE = 1 shl 20;
  MXCSR_MASKED = $1F80;
  FPU_MASKED = $37F;

function RunC(Count: LongInt; Words: PPChar): LongInt; cdecl; external name 'toro_run_c';

var
  { argv: the program's name, the kernel parameters, nil. }
  Words: PPChar;

procedure CopyWords;
var
  I: LongInt;
begin
  Words := ToroAllocMem((KernelParamCount + 2) * SizeOf(PChar));
  if Words = nil then
    OutOfMemory;
  Words[0] := 'program';
  for I := 0 to KernelParamCount - 1 do
    Words[I + 1] := GetKernelParam(I);
end;

function RunRank(Parameter: Pointer): PtrInt;
begin
  { C expects that floating-point exceptions are masked. }
  SetMXCSR(MXCSR_MASKED);
  Set8087CW(FPU_MASKED);
  Result := RunC(KernelParamCount + 1, Words);
end;

procedure RunAll;
var
  Ranks: array[0..MAX_CPU - 1] of TThreadID;
  I: LongInt;
  Status: DWord;
begin
  for I := 0 to CPU_COUNT - 1 do
    if BeginThread(nil, STACK_SIZE, @RunRank, nil, I, Ranks[I]) = 0 then
      OutOfMemory;
  for I := 0 to CPU_COUNT - 1 do
  begin
    Status := WaitForThreadTerminate(Ranks[I], 0);
    if ExitCode = 0 then
      ExitCode := LongInt(Status);
  end;
end;

begin
  CopyWords;
  RunAll;
end.
