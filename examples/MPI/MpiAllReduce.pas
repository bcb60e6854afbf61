program MpiAllReduce;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, ToroMPI, MpiTiming, Console;

const
  LONGEST = 16384;

procedure Run(Length: LongInt);
var
  Vector, Largest: array of Double;
  Round, I: LongInt;
  Start: QWord;
  Cycles: Int64;
  Good: Boolean;
begin
  SetLength(Vector, Length);
  SetLength(Largest, Length);
  for I := 0 to Length - 1 do
    Vector[I] := (I + GetCoreId) mod CPU_COUNT + I / 2;
  Cycles := 0;
  for Round := 1 to ROUNDS do
  begin
    Mpi_Barrier(MPI_COMM_WORLD);
    Start := Mpi_Wtime;
    MPI_Allreduce(@Vector[0], @Largest[0], Length, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    Cycles := Cycles + Int64(Mpi_Wtime - Start);
  end;
  Good := True;
  for I := 0 to Length - 1 do
    Good := Good and (Largest[I] = CPU_COUNT - 1 + I / 2);
  Tell('MPI_ALLREDUCE', Length, Cycles, Good);
end;

function Main(Param: Pointer): PtrInt;
var
  Length: LongInt;
begin
  Length := 1;
  while Length <= LONGEST do
  begin
    Run(Length);
    Length := Length * 4;
  end;
  Result := 0;
end;

begin
  RunRanks(Main);
end.
