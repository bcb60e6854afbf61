program MpiBarrier;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, ToroMPI, MpiTiming, Console;

var
  Entered: LongInt; { shared by all ranks }

function Main(Param: Pointer): PtrInt;
var
  Round: LongInt;
  Start: QWord;
  Cycles: Int64;
  Good: Boolean;
begin
  Cycles := 0;
  Good := True;
  for Round := 1 to ROUNDS do
  begin
    InterlockedIncrement(Entered);
    Start := Mpi_Wtime;
    Mpi_Barrier(MPI_COMM_WORLD);
    Cycles := Cycles + Int64(Mpi_Wtime - Start);
    Good := Good and (InterlockedExchangeAdd(Entered, 0) >= Round * CPU_COUNT);
  end;
  Tell('MPI_BARRIER', CPU_COUNT, Cycles, Good);
  Result := 0;
end;

begin
  RunRanks(Main);
end.
