{ MPI, the Message Passing Interface, for programs in Pascal and C. A rank is a core; the
  calling thread acts for it. All ranks must call a collective operation, in the same order and
  with the same root.

  Routines with a type and a communicator are those of the MPI standard; for C they are declared
  in mpi.h. MPI_COMM_WORLD is the only communicator. They return MPI_SUCCESS, or MPI_ERR_* and
  then have done nothing. The shorter routines of the same names are Toro's own, for vectors of
  LongInt. }
unit ToroMPI;

{$mode objfpc}

interface

uses MpiMessages, MpiTypes;

const
  MPI_COMM_WORLD = MpiTypes.MPI_COMM_WORLD;

  MPI_BYTE = MpiTypes.MPI_BYTE;
  MPI_CHAR = MpiTypes.MPI_CHAR;
  MPI_INT = MpiTypes.MPI_INT;
  MPI_LONG = MpiTypes.MPI_LONG;
  MPI_FLOAT = MpiTypes.MPI_FLOAT;
  MPI_DOUBLE = MpiTypes.MPI_DOUBLE;

  MPI_SUM = MpiTypes.MPI_SUM;
  MPI_MIN = MpiTypes.MPI_MIN;
  MPI_MAX = MpiTypes.MPI_MAX;
  MPI_PROD = MpiTypes.MPI_PROD;

  MPI_SUCCESS = MpiTypes.MPI_SUCCESS;
  MPI_ERR_BUFFER = MpiTypes.MPI_ERR_BUFFER;
  MPI_ERR_COUNT = MpiTypes.MPI_ERR_COUNT;
  MPI_ERR_TYPE = MpiTypes.MPI_ERR_TYPE;
  MPI_ERR_TAG = MpiTypes.MPI_ERR_TAG;
  MPI_ERR_COMM = MpiTypes.MPI_ERR_COMM;
  MPI_ERR_RANK = MpiTypes.MPI_ERR_RANK;
  MPI_ERR_ROOT = MpiTypes.MPI_ERR_ROOT;
  MPI_ERR_OP = MpiTypes.MPI_ERR_OP;
  MPI_ERR_TRUNCATE = MpiTypes.MPI_ERR_TRUNCATE;

  MPI_ANY_SOURCE = ANY;
  MPI_ANY_TAG = ANY;

type
  TMpiStatus = MpiTypes.TMpiStatus;
  PMpiStatus = MpiTypes.PMpiStatus;

var
  { As a send buffer: the data are in the receive buffer. }
  MPI_IN_PLACE: Pointer = Pointer(-1);
  MPI_STATUS_IGNORE: PMpiStatus = nil;

{ ---- Toro's ---- }

{ The number of ranks, and the caller's rank. Value is MPI_COMM_WORLD. }
function MPI_Comm_size(Value: LongInt; out Param: LongInt): LongInt; cdecl;
function MPI_Comm_rank(Value: LongInt; out Param: LongInt): LongInt; cdecl;

{ Waits for all ranks. }
procedure MPI_Barrier(Value: LongInt); cdecl;

{ Copies Count LongInts at Data from the root to all ranks. }
procedure Mpi_Bcast(Data: Pointer; Count, Root: LongInt); cdecl; overload;

{ Scatter gives each rank an equal part of the root's Send_count LongInts; Gather collects
  Send_count LongInts of each rank at the root, in the order of ranks. Recv_count is set to the
  bytes of one part. }
function Mpi_Scatter(Send_data: Pointer; Send_count: LongInt; Recv_data: Pointer;
  var Recv_count: LongInt; Root: LongInt): LongInt; cdecl; overload;
function Mpi_Gather(Send_data: Pointer; Send_count: LongInt; Recv_data: Pointer;
  var Recv_count: LongInt; Root: LongInt): LongInt; cdecl; overload;

{ Combine vectors of all ranks element by element, for the root or for all ranks. }
function Mpi_Reduce(Send_data, Recv_data: Pointer; Send_count, Operation, Root: LongInt): LongInt; cdecl; overload;
function Mpi_AllReduce(Send_data, Recv_data: Pointer; Send_count, Operation, Root: LongInt): LongInt; cdecl; overload;

{ Send Count bytes to a rank, and receive up to Count bytes from one. }
function Mpi_Send(Data: Pointer; Count, Dest: LongInt): LongInt; cdecl; overload;
function Mpi_Recv(Data: Pointer; Count, Source: LongInt): LongInt; cdecl; overload;

{ TSC ticks. The standard's MPI_Wtime, in mpi.h, returns seconds. }
function Mpi_Wtime: PtrUInt; cdecl;

{ ---- The standard's ---- }

function MPI_Bcast(Data: Pointer; Count, DataType, Root, Comm: LongInt): LongInt; cdecl; overload;
function MPI_Scatter(Send_data: Pointer; Send_count, Send_type: LongInt; Recv_data: Pointer;
  Recv_count, Recv_type, Root, Comm: LongInt): LongInt; cdecl; overload;
function MPI_Gather(Send_data: Pointer; Send_count, Send_type: LongInt; Recv_data: Pointer;
  Recv_count, Recv_type, Root, Comm: LongInt): LongInt; cdecl; overload;
function MPI_Allgather(Send_data: Pointer; Send_count, Send_type: LongInt; Recv_data: Pointer;
  Recv_count, Recv_type, Comm: LongInt): LongInt; cdecl;
function MPI_Reduce(Send_data, Recv_data: Pointer; Count, DataType, Operation, Root, Comm: LongInt): LongInt;
  cdecl; overload;
function MPI_Allreduce(Send_data, Recv_data: Pointer; Count, DataType, Operation, Comm: LongInt): LongInt;
  cdecl; overload;
function MPI_Send(Data: Pointer; Count, DataType, Dest, Tag, Comm: LongInt): LongInt; cdecl; overload;
function MPI_Recv(Data: Pointer; Count, DataType, Source, Tag, Comm: LongInt; Status: PMpiStatus): LongInt;
  cdecl; overload;

implementation

uses Arch, MpiCollectives, MpiForC;

const
  POINT_TO_POINT = 0;

function IsRank(Rank: LongInt): Boolean; inline;
begin
  Result := (Rank >= 0) and (Rank < CPU_COUNT);
end;

{ The error in the arguments that most routines have, or MPI_SUCCESS. }
function Mistake(Data: Pointer; Count, DataType, Root, Comm: LongInt): LongInt;
begin
  if Comm <> MPI_COMM_WORLD then
    Result := MPI_ERR_COMM
  else if Count < 0 then
    Result := MPI_ERR_COUNT
  else if SizeOfType(DataType) = 0 then
    Result := MPI_ERR_TYPE
  else if not IsRank(Root) then
    Result := MPI_ERR_ROOT
  else if (Data = nil) and (Count > 0) then
    Result := MPI_ERR_BUFFER
  else
    Result := MPI_SUCCESS;
end;

{ ---- The standard's ---- }

function MPI_Comm_size(Value: LongInt; out Param: LongInt): LongInt; cdecl; [public, alias: 'MPI_Comm_size'];
begin
  Param := CPU_COUNT;
  Result := MPI_SUCCESS;
end;

function MPI_Comm_rank(Value: LongInt; out Param: LongInt): LongInt; cdecl; [public, alias: 'MPI_Comm_rank'];
begin
  Param := GetCoreId;
  Result := MPI_SUCCESS;
end;

procedure MPI_Barrier(Value: LongInt); cdecl; [public, alias: 'Mpi_Barrier'];
begin
  WaitForAll;
end;

function MPI_Bcast(Data: Pointer; Count, DataType, Root, Comm: LongInt): LongInt; cdecl; [public, alias: 'MPI_Bcast'];
begin
  Result := Mistake(Data, Count, DataType, Root, Comm);
  if Result = MPI_SUCCESS then
    Broadcast(Data, PtrUInt(Count) * SizeOfType(DataType), Root);
end;

function MPI_Scatter(Send_data: Pointer; Send_count, Send_type: LongInt; Recv_data: Pointer;
  Recv_count, Recv_type, Root, Comm: LongInt): LongInt; cdecl; [public, alias: 'MPI_Scatter'];
begin
  if GetCoreId <> Root then
  begin
    Result := Mistake(Recv_data, Recv_count, Recv_type, Root, Comm);
    Send_count := Recv_count;
    Send_type := Recv_type;
  end
  else
  begin
    Result := Mistake(Send_data, Send_count, Send_type, Root, Comm);
    if Recv_data = MPI_IN_PLACE then
      Recv_data := nil;
  end;
  if Result = MPI_SUCCESS then
    Scatter(Send_data, Recv_data, PtrUInt(Send_count) * SizeOfType(Send_type), Root);
end;

function MPI_Gather(Send_data: Pointer; Send_count, Send_type: LongInt; Recv_data: Pointer;
  Recv_count, Recv_type, Root, Comm: LongInt): LongInt; cdecl; [public, alias: 'MPI_Gather'];
begin
  if GetCoreId <> Root then
    Result := Mistake(Send_data, Send_count, Send_type, Root, Comm)
  else
  begin
    Result := Mistake(Recv_data, Recv_count, Recv_type, Root, Comm);
    Send_count := Recv_count;
    Send_type := Recv_type;
    if Send_data = MPI_IN_PLACE then
      Send_data := nil;
  end;
  if Result = MPI_SUCCESS then
    Gather(Send_data, Recv_data, PtrUInt(Send_count) * SizeOfType(Send_type), Root);
end;

function MPI_Allgather(Send_data: Pointer; Send_count, Send_type: LongInt; Recv_data: Pointer;
  Recv_count, Recv_type, Comm: LongInt): LongInt; cdecl; [public, alias: 'MPI_Allgather'];
var
  Bytes: PtrUInt;
begin
  Result := Mistake(Recv_data, Recv_count, Recv_type, 0, Comm);
  if Result <> MPI_SUCCESS then
    Exit;
  Bytes := PtrUInt(Recv_count) * SizeOfType(Recv_type);
  if Send_data = MPI_IN_PLACE then
    Send_data := Recv_data + GetCoreId * Bytes;
  Gather(Send_data, Recv_data, Bytes, 0);
  Broadcast(Recv_data, Bytes * CPU_COUNT, 0);
end;

function MPI_Reduce(Send_data, Recv_data: Pointer; Count, DataType, Operation, Root, Comm: LongInt): LongInt;
  cdecl; [public, alias: 'MPI_Reduce'];
begin
  if (Send_data = MPI_IN_PLACE) and (GetCoreId = Root) then
    Send_data := Recv_data;
  Result := Mistake(Send_data, Count, DataType, Root, Comm);
  if (Result = MPI_SUCCESS) and not CanReduce(DataType, Operation) then
    Result := MPI_ERR_OP;
  if Result = MPI_SUCCESS then
    Reduce(Send_data, Recv_data, Count, DataType, Operation, Root);
end;

function MPI_Allreduce(Send_data, Recv_data: Pointer; Count, DataType, Operation, Comm: LongInt): LongInt;
  cdecl; [public, alias: 'MPI_Allreduce'];
begin
  if Send_data = MPI_IN_PLACE then
    Send_data := Recv_data;
  Result := MPI_Reduce(Send_data, Recv_data, Count, DataType, Operation, 0, Comm);
  if Result = MPI_SUCCESS then
    Broadcast(Recv_data, PtrUInt(Count) * SizeOfType(DataType), 0);
end;

function MPI_Send(Data: Pointer; Count, DataType, Dest, Tag, Comm: LongInt): LongInt; cdecl; [public, alias: 'MPI_Send'];
begin
  Result := Mistake(Data, Count, DataType, 0, Comm);
  if Result <> MPI_SUCCESS then
    Exit;
  if not IsRank(Dest) then
    Exit(MPI_ERR_RANK);
  if Tag < 0 then
    Exit(MPI_ERR_TAG);
  SendMessage(Dest, Tag, POINT_TO_POINT, Data, PtrUInt(Count) * SizeOfType(DataType));
end;

function MPI_Recv(Data: Pointer; Count, DataType, Source, Tag, Comm: LongInt; Status: PMpiStatus): LongInt;
  cdecl; [public, alias: 'MPI_Recv'];
var
  Message: PMessage;
  Bytes: PtrUInt;
begin
  Result := Mistake(Data, Count, DataType, 0, Comm);
  if Result <> MPI_SUCCESS then
    Exit;
  if (Source <> MPI_ANY_SOURCE) and not IsRank(Source) then
    Exit(MPI_ERR_RANK);
  Message := ReceiveMessage(Source, Tag, POINT_TO_POINT);
  Bytes := PtrUInt(Count) * SizeOfType(DataType);
  if Message^.Bytes > Bytes then
    Result := MPI_ERR_TRUNCATE
  else
    Bytes := Message^.Bytes;
  Move(Message^.Data^, Data^, Bytes);
  if Status <> MPI_STATUS_IGNORE then
  begin
    Status^.Source := Message^.Source;
    Status^.Tag := Message^.Tag;
    Status^.Error := Result;
    Status^.Bytes := Bytes;
  end;
  FinishMessage(Message);
end;

{ ---- Toro's ---- }

procedure Mpi_Bcast(Data: Pointer; Count, Root: LongInt); cdecl; [public, alias: 'Mpi_Bcast'];
begin
  MPI_Bcast(Data, Count, MPI_INT, Root, MPI_COMM_WORLD);
end;

function Mpi_Scatter(Send_data: Pointer; Send_count: LongInt; Recv_data: Pointer;
  var Recv_count: LongInt; Root: LongInt): LongInt; cdecl; [public, alias: 'Mpi_Scatter'];
var
  Part: LongInt;
begin
  Part := Send_count div CPU_COUNT;
  Recv_count := Part * SizeOf(LongInt);
  Result := MPI_Scatter(Send_data, Part, MPI_INT, Recv_data, Part, MPI_INT, Root, MPI_COMM_WORLD);
end;

function Mpi_Gather(Send_data: Pointer; Send_count: LongInt; Recv_data: Pointer;
  var Recv_count: LongInt; Root: LongInt): LongInt; cdecl; [public, alias: 'Mpi_Gather'];
begin
  Recv_count := Send_count * SizeOf(LongInt);
  Result := MPI_Gather(Send_data, Send_count, MPI_INT, Recv_data, Send_count, MPI_INT, Root, MPI_COMM_WORLD);
end;

function Mpi_Reduce(Send_data, Recv_data: Pointer; Send_count, Operation, Root: LongInt): LongInt; cdecl;
  [public, alias: 'Mpi_Reduce'];
begin
  Result := MPI_Reduce(Send_data, Recv_data, Send_count, MPI_INT, Operation, Root, MPI_COMM_WORLD);
end;

function Mpi_AllReduce(Send_data, Recv_data: Pointer; Send_count, Operation, Root: LongInt): LongInt; cdecl;
  [public, alias: 'Mpi_AllReduce'];
begin
  Result := MPI_Allreduce(Send_data, Recv_data, Send_count, MPI_INT, Operation, MPI_COMM_WORLD);
end;

function Mpi_Send(Data: Pointer; Count, Dest: LongInt): LongInt; cdecl; [public, alias: 'Mpi_Send'];
begin
  Result := MPI_Send(Data, Count, MPI_BYTE, Dest, 0, MPI_COMM_WORLD);
end;

function Mpi_Recv(Data: Pointer; Count, Source: LongInt): LongInt; cdecl; [public, alias: 'Mpi_Recv'];
begin
  Result := MPI_Recv(Data, Count, MPI_BYTE, Source, MPI_ANY_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
end;

function Mpi_Wtime: PtrUInt; cdecl; [public, alias: 'Mpi_Wtime'];
begin
  Result := read_rdtsc;
end;

end.
