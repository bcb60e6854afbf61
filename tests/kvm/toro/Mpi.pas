{ MPI from Pascal: every operation, type and root, checked on all ranks. }
program Mpi;

{$mode objfpc}

uses
  Checks, Arch, HeapCheck, Process, ToroMPI;

const
  LONGEST = 300000; { bytes of what is sent from rank to rank }

var
  Wrong: array[0..15] of LongInt; { by test }

procedure Expect(Condition: Boolean; Test: LongInt);
begin
  if not Condition then
    InterlockedIncrement(Wrong[Test]);
end;

{ ---- 0: reductions, in all types, with all roots; 1: their results everywhere ---- }

procedure ReduceInts(Rank, Size, Root, Count: LongInt);
var
  S, R: array[0..1999] of LongInt;
  I: LongInt;
begin
  for I := 0 to Count - 1 do
    S[I] := Rank + I;
  MPI_Reduce(@S, @R, Count, MPI_INT, MPI_SUM, Root, MPI_COMM_WORLD);
  if Rank = Root then
    for I := 0 to Count - 1 do
      Expect(R[I] = Size * I + Size * (Size - 1) div 2, 0);
  Mpi_Reduce(@S, @R, Count, MPI_MIN, Root);
  Expect((Rank <> Root) or (R[Count - 1] = Count - 1), 0);
  Mpi_AllReduce(@S, @R, Count, MPI_MAX, Root);
  Expect(R[Count - 1] = Size + Count - 2, 1);
  { What is sent is as it was. }
  for I := 0 to Count - 1 do
    Expect(S[I] = Rank + I, 0);
end;

procedure ReduceOthers(Rank, Size: LongInt);
var
  L, LR: array[0..9] of Int64;
  D, DR: array[0..9] of Double;
  F: Single;
  I: LongInt;
begin
  for I := 0 to 9 do
  begin
    L[I] := Int64(Rank + 1) shl 40 + I;
    D[I] := -Rank / 4 - I;
  end;
  Expect(MPI_Allreduce(@L, @LR, 10, MPI_LONG, MPI_MIN, MPI_COMM_WORLD) = MPI_SUCCESS, 1);
  Expect(LR[9] = Int64(1) shl 40 + 9, 1);
  MPI_Allreduce(@L, @LR, 10, MPI_LONG, MPI_MAX, MPI_COMM_WORLD);
  Expect(LR[3] = Int64(Size) shl 40 + 3, 1);
  MPI_Allreduce(@D, @DR, 10, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  for I := 0 to 9 do
    Expect(DR[I] = -(Size * (Size - 1) div 2) / 4 - I * Size, 1);
  MPI_Allreduce(MPI_IN_PLACE, @D, 10, MPI_DOUBLE, MPI_MIN, MPI_COMM_WORLD);
  Expect(D[1] = -(Size - 1) / 4 - 1, 1);
  F := 2;
  MPI_Allreduce(MPI_IN_PLACE, @F, 1, MPI_FLOAT, MPI_PROD, MPI_COMM_WORLD);
  Expect(F = LongInt(1) shl Size, 1);
end;

{ ---- 2: broadcasts of many lengths; 3: parts ---- }

procedure Broadcasts(Rank, Root: LongInt);
var
  Data: array of Byte;
  Length: LongInt;
begin
  SetLength(Data, 200001);
  Length := 1;
  while Length < 200000 do
  begin
    FillChar(Data[0], 200001, 255);
    if Rank = Root then
      FillChar(Data[0], Length, Length mod 199);
    MPI_Bcast(@Data[0], Length, MPI_BYTE, Root, MPI_COMM_WORLD);
    Expect((Data[0] = Length mod 199) and (Data[Length - 1] = Length mod 199) and (Data[Length] = 255), 2);
    Length := Length * 3;
  end;
end;

procedure Parts(Rank, Size, Root: LongInt);
const
  PART = 1500;
var
  All, Mine: array of LongInt;
  I, Bytes: LongInt;
begin
  SetLength(All, PART * Size);
  SetLength(Mine, PART);
  if Rank = Root then
    for I := 0 to High(All) do
      All[I] := I;
  Mpi_Scatter(@All[0], PART * Size, @Mine[0], Bytes, Root);
  Expect((Bytes = PART * SizeOf(LongInt)) and (Mine[0] = Rank * PART) and (Mine[PART - 1] = Rank * PART + PART - 1), 3);
  for I := 0 to PART - 1 do
    Mine[I] := -Mine[I];
  Mpi_Gather(@Mine[0], PART, @All[0], Bytes, Root);
  if Rank = Root then
    for I := 0 to High(All) do
      Expect(All[I] = -I, 3);
  MPI_Allgather(@Rank, 1, MPI_INT, @All[0], 1, MPI_INT, MPI_COMM_WORLD);
  for I := 0 to Size - 1 do
    Expect(All[I] = I, 3);
end;

{ ---- 4: from rank to rank ---- }

procedure Ring(Rank, Size: LongInt);
var
  Sent, Received: array of Byte;
  Length: LongInt;
  Status: TMpiStatus;
begin
  SetLength(Sent, LONGEST);
  SetLength(Received, LONGEST);
  Length := 1;
  while Length <= LONGEST do
  begin
    FillChar(Sent[0], Length, Rank + Length);
    { Who sends first must not wait for ever, whatever the length is. }
    if Odd(Rank) or (Size = 1) and (Length > 4096) then
    begin
      if Size > 1 then
        MPI_Recv(@Received[0], LONGEST, MPI_BYTE, Rank - 1, Length, MPI_COMM_WORLD, @Status);
    end;
    if (Size > 1) or (Length <= 4096) then
      MPI_Send(@Sent[0], Length, MPI_BYTE, (Rank + 1) mod Size, Length, MPI_COMM_WORLD);
    if not Odd(Rank) and ((Size > 1) or (Length <= 4096)) then
      MPI_Recv(@Received[0], LONGEST, MPI_BYTE, (Rank + Size - 1) mod Size, MPI_ANY_TAG, MPI_COMM_WORLD, @Status);
    if (Size > 1) or (Length <= 4096) then
      Expect((Status.Tag = Length) and (LongInt(Status.Bytes) = Length) and
        (Received[Length - 1] = Byte((Rank + Size - 1) mod Size + Length)), 4);
    Length := Length * 5;
  end;
end;

{ Messages that wait for another tag or source than comes first. }
procedure Order(Rank, Size: LongInt);
var
  I, Value, Sum: LongInt;
  Status: TMpiStatus;
begin
  for I := 1 to 3 do
    MPI_Send(@I, 1, MPI_INT, 0, I, MPI_COMM_WORLD);
  if Rank = 0 then
  begin
    for I := Size - 1 downto 0 do
    begin
      MPI_Recv(@Value, 1, MPI_INT, I, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      Expect(Value = 2, 5);
    end;
    Sum := 0;
    for I := 1 to 2 * Size do
    begin
      MPI_Recv(@Value, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, @Status);
      Expect((Value = Status.Tag) and (Value <> 2), 5);
      Inc(Sum, Value);
    end;
    Expect(Sum = 4 * Size, 5);
  end;
  MPI_Barrier(MPI_COMM_WORLD);
end;

procedure Mistakes(Rank, Size: LongInt);
var
  Data: array[0..3] of LongInt;
begin
  Expect(MPI_Send(@Data, 1, MPI_INT, Size, 0, MPI_COMM_WORLD) = MPI_ERR_RANK, 6);
  Expect(MPI_Send(@Data, 1, MPI_INT, 0, -5, MPI_COMM_WORLD) = MPI_ERR_TAG, 6);
  Expect(MPI_Send(@Data, -1, MPI_INT, 0, 0, MPI_COMM_WORLD) = MPI_ERR_COUNT, 6);
  Expect(MPI_Bcast(@Data, 1, 77, 0, MPI_COMM_WORLD) = MPI_ERR_TYPE, 6);
  Expect(MPI_Bcast(@Data, 1, MPI_INT, -1, MPI_COMM_WORLD) = MPI_ERR_ROOT, 6);
  Expect(MPI_Bcast(@Data, 1, MPI_INT, 0, 5) = MPI_ERR_COMM, 6);
  Expect(MPI_Bcast(nil, 1, MPI_INT, 0, MPI_COMM_WORLD) = MPI_ERR_BUFFER, 6);
  Expect(MPI_Reduce(@Data, @Data, 1, MPI_INT, 99, 0, MPI_COMM_WORLD) = MPI_ERR_OP, 6);
  MPI_Send(@Data, 3, MPI_INT, Rank, 0, MPI_COMM_WORLD);
  Data[1] := 12345;
  Expect(MPI_Recv(@Data, 1, MPI_INT, Rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE) = MPI_ERR_TRUNCATE, 6);
  Expect(Data[1] = 12345, 6);
end;

{ ---- 7: barriers ---- }

var
  Entered: array[0..MAX_CPU - 1] of LongInt;

procedure Barriers(Rank, Size: LongInt);
var
  I, Other: LongInt;
begin
  for I := 1 to 500 do
  begin
    Entered[Rank] := I;
    if (I + Rank) mod 97 = 0 then
      DelayMicro(60);
    MPI_Barrier(MPI_COMM_WORLD);
    for Other := 0 to Size - 1 do
      Expect((Entered[Other] = I) or (Entered[Other] = I + 1), 7);
  end;
end;

function RunRank(Parameter: Pointer): PtrInt;
var
  Rank, Size, Root: LongInt;
begin
  MPI_Comm_rank(MPI_COMM_WORLD, Rank);
  MPI_Comm_size(MPI_COMM_WORLD, Size);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  Expect((Rank = GetCoreId) and (Size = CPU_COUNT), 0);
  for Root := 0 to Size - 1 do
  begin
    ReduceInts(Rank, Size, Root, 1);
    ReduceInts(Rank, Size, Root, 2000); { more than a small message }
    Broadcasts(Rank, Root);
    Parts(Rank, Size, Root);
  end;
  ReduceOthers(Rank, Size);
  Ring(Rank, Size);
  Order(Rank, Size);
  Mistakes(Rank, Size);
  Barriers(Rank, Size);
  Expect(CheckHeap = '', 8);
  Result := 0;
end;

const
  NAMES: array[0..8] of ShortString = (
    'reductions', 'reductions for all', 'broadcasts', 'scattered and gathered parts', 'messages around a ring',
    'messages by tag and source', 'mistakes are told', 'barriers', 'the heap is healthy');
var
  IDs: array[0..MAX_CPU - 1] of TThreadID;
  I: LongInt;
begin
  for I := 0 to CPU_COUNT - 1 do
    BeginThread(nil, 262144, @RunRank, nil, I, IDs[I]);
  for I := 0 to CPU_COUNT - 1 do
    WaitForThreadTerminate(IDs[I], 0);
  for I := 0 to High(NAMES) do
    Check(Wrong[I] = 0, NAMES[I]);
end.
