program MpiBcast;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, ToroMPI, MpiTiming, Console;

const
  LONGEST = 65536;

procedure Run(Length: LongInt);
var
  Data: array of Byte;
  Round: LongInt;
  Start: QWord;
  Cycles: Int64;
  Good: Boolean;
begin
  SetLength(Data, Length);
  Cycles := 0;
  Good := True;
  for Round := 1 to ROUNDS do
  begin
    if GetCoreId = 0 then
      FillChar(Data[0], Length, Round)
    else
      FillChar(Data[0], Length, 255);
    Mpi_Barrier(MPI_COMM_WORLD);
    Start := Mpi_Wtime;
    MPI_Bcast(@Data[0], Length, MPI_BYTE, 0, MPI_COMM_WORLD);
    Cycles := Cycles + Int64(Mpi_Wtime - Start);
    Good := Good and (Data[0] = Round) and (Data[Length - 1] = Round);
  end;
  Tell('MPI_BCAST', Length, Cycles, Good);
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
