{ The Pascal counterpart of timing.h: measures a collective operation; rank 0 prints the
  result. }
unit MpiTiming;

{$mode delphi}

interface

const
  ROUNDS = 100;

{ Cycles is the duration of ROUNDS calls on this rank. }
procedure Tell(Name: PChar; Length: LongInt; Cycles: Int64; Good: Boolean);

{ Runs Rank on all cores, waits for all, and ends the program. }
procedure RunRanks(Rank: TThreadFunc);

implementation

uses
  Arch, Console, Process, ToroMPI;

procedure Tell(Name: PChar; Length: LongInt; Cycles: Int64; Good: Boolean);
var
  Rank, Size, AllGood: LongInt;
  Mean, Least, Most, Sum: Int64;
begin
  MPI_Comm_rank(MPI_COMM_WORLD, Rank);
  MPI_Comm_size(MPI_COMM_WORLD, Size);
  Mean := Cycles div ROUNDS;
  MPI_Reduce(@Mean, @Least, 1, MPI_LONG, MPI_MIN, 0, MPI_COMM_WORLD);
  MPI_Reduce(@Mean, @Most, 1, MPI_LONG, MPI_MAX, 0, MPI_COMM_WORLD);
  MPI_Reduce(@Mean, @Sum, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
  AllGood := Ord(Good);
  MPI_Allreduce(MPI_IN_PLACE, @AllGood, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  if AllGood = 0 then
    ExitCode := 1;
  if Rank <> 0 then
    Exit;
  if AllGood = 0 then
    WriteConsoleF('%p(%d): verification has failed\n', [PtrUInt(Name), Length])
  else
    WriteConsoleF('%p(%d): min_time: %d cycles, max_time: %d cycles, avg_time: %d cycles\n',
      [PtrUInt(Name), Length, Least, Most, Sum div Size]);
end;

procedure RunRanks(Rank: TThreadFunc);
var
  IDs: array of TThreadID;
  I: LongInt;
begin
  SetLength(IDs, CPU_COUNT);
  for I := 0 to High(IDs) do
    BeginThread(nil, 65536, Rank, nil, I, IDs[I]);
  for I := 0 to High(IDs) do
    WaitForThreadTerminate(IDs[I], 0);
end;

end.
