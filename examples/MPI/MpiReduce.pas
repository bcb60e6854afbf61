program MpiReduce;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, ToroMPI, MpiTiming, Console;

const
  LONGEST = 16384;

procedure Run(Length: LongInt);
var
  Vector, Sums: array of LongInt;
  Rank, Round, I: LongInt;
  Start: QWord;
  Cycles: Int64;
  Good: Boolean;
begin
  Rank := GetCoreId;
  SetLength(Vector, Length);
  SetLength(Sums, Length);
  for I := 0 to Length - 1 do
    Vector[I] := Rank + I;
  Cycles := 0;
  for Round := 1 to ROUNDS do
  begin
    Mpi_Barrier(MPI_COMM_WORLD);
    Start := Mpi_Wtime;
    Mpi_Reduce(@Vector[0], @Sums[0], Length, MPI_SUM, 0);
    Cycles := Cycles + Int64(Mpi_Wtime - Start);
  end;
  Good := True;
  if Rank = 0 then
    for I := 0 to Length - 1 do
      Good := Good and (Sums[I] = CPU_COUNT * (CPU_COUNT - 1) div 2 + CPU_COUNT * I);
  Tell('MPI_REDUCE', Length, Cycles, Good);
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
