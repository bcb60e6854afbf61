{ The Pascal program around a C program, compiled by `pyvmm build PROGRAM.c`. It runs main on
  every core, as an MPI rank, and exits with the first non-zero status in the order of ranks. }
program CProgram;

{$mode objfpc}

uses
  Kernel, Arch, Memory, Process, Descriptors, ToroFiles, Ranks;

const
  { Bytes of a rank's stack: as on Linux, or less where there are many ranks for the memory }
  STACK_MAX = 8 shl 20;
  STACK_MIN = 1 shl 20;
  MXCSR_MASKED = $1F80;
  FPU_MASKED = $37F;
  NO_FSGSBASE = 126; { exit status }

procedure RunC(Count: LongInt; Words, Environment: PPChar); cdecl; external name 'toro_run_c';

{ CPUID leaf 7 says whether RDFSBASE and its siblings exist: C finds its thread-local variables
  through FS. }
function HasFsGsBase: Boolean; assembler; nostackframe;
{$asmmode intel}
asm
  push rbx
  mov eax, 7
  xor ecx, ecx
  cpuid
  test ebx, 1
  setnz al
  pop rbx
end;

{ RunC ends the thread by musl's exit. }
function RunRank(Parameter: Pointer): PtrInt;
begin
  { C expects that floating-point exceptions are masked. }
  SetMXCSR(MXCSR_MASKED);
  Set8087CW(FPU_MASKED);
  RunC(argc, argv, envp);
  Result := 0;
end;

function RankStack: PtrUInt;
begin
  Result := AvailableMemory div PtrUInt(4 * CPU_COUNT);
  if Result > STACK_MAX then
    Result := STACK_MAX;
  if Result < STACK_MIN then
    Result := STACK_MIN;
end;

procedure RunAll;
var
  Stack: PtrUInt;
  Threads: array[0..MAX_CPU - 1] of TThreadID;
  I: LongInt;
  Status: DWord;
begin
  Stack := RankStack;
  for I := 0 to CPU_COUNT - 1 do
    if BeginThread(nil, Stack, @RunRank, nil, I, Threads[I]) = 0 then
      OutOfMemory;
  for I := 0 to CPU_COUNT - 1 do
  begin
    Status := WaitForThreadTerminate(Threads[I], 0);
    if ExitCode = 0 then
      ExitCode := LongInt(Status);
  end;
end;

begin
  if not HasFsGsBase then
  begin
    WriteLn('A program in C needs a CPU with FSGSBASE.');
    Halt(NO_FSGSBASE);
  end;
  RunAll;
end.
