{ The constants of mpi.h, and operations on vectors. }
unit MpiTypes;

{$mode objfpc}

interface

const
  MPI_COMM_WORLD = 0;
  MPI_UNDEFINED = -1;

  { Results }
  MPI_SUCCESS = 0;
  MPI_ERR_BUFFER = 1;    { the buffer is nil }
  MPI_ERR_COUNT = 2;
  MPI_ERR_TYPE = 3;
  MPI_ERR_TAG = 4;
  MPI_ERR_COMM = 5;
  MPI_ERR_RANK = 6;
  MPI_ERR_ROOT = 7;
  MPI_ERR_OP = 9;
  MPI_ERR_TRUNCATE = 15; { the message was longer than the buffer, which has its beginning }

  { Types; the low byte is the element's size }
  MPI_BYTE = $101;
  MPI_CHAR = $201;
  MPI_INT = $304;    { LongInt }
  MPI_LONG = $408;   { Int64 }
  MPI_FLOAT = $504;  { Single }
  MPI_DOUBLE = $608;

  { Operations }
  MPI_SUM = 0;
  MPI_MIN = 1;
  MPI_MAX = 2;
  MPI_PROD = 3;

type
  { The status of a received message. }
  PMpiStatus = ^TMpiStatus;
  TMpiStatus = record
    Source, Tag, Error, Reserved: LongInt;
    Bytes: PtrUInt;
  end;

{ Bytes of an element; 0: no such type. }
function SizeOfType(DataType: LongInt): LongInt;

{ Whether an operation is defined for elements of a type. }
function CanReduce(DataType, Operation: LongInt): Boolean;

{ Into[I] := Into[I] <operation> From[I] for Count elements. }
procedure Combine(Into, From: Pointer; Count: PtrInt; DataType, Operation: LongInt);

implementation

function SizeOfType(DataType: LongInt): LongInt;
begin
  case DataType of
    MPI_BYTE, MPI_CHAR, MPI_INT, MPI_LONG, MPI_FLOAT, MPI_DOUBLE: Result := DataType and $FF;
  else
    Result := 0;
  end;
end;

function CanReduce(DataType, Operation: LongInt): Boolean;
begin
  case DataType of
    MPI_INT, MPI_LONG, MPI_FLOAT, MPI_DOUBLE: Result := (Operation >= MPI_SUM) and (Operation <= MPI_PROD);
  else
    Result := False;
  end;
end;

generic procedure CombineAs<T>(Into, From: Pointer; Count: PtrInt; Operation: LongInt);
type
  PElement = ^T;
var
  A, B: PElement;
  I: PtrInt;
begin
  A := Into;
  B := From;
  case Operation of
    MPI_SUM:
      for I := 0 to Count - 1 do
        A[I] := A[I] + B[I];
    MPI_PROD:
      for I := 0 to Count - 1 do
        A[I] := A[I] * B[I];
    MPI_MIN:
      for I := 0 to Count - 1 do
        if B[I] < A[I] then
          A[I] := B[I];
    MPI_MAX:
      for I := 0 to Count - 1 do
        if B[I] > A[I] then
          A[I] := B[I];
  end;
end;

procedure Combine(Into, From: Pointer; Count: PtrInt; DataType, Operation: LongInt);
begin
  case DataType of
    MPI_INT: specialize CombineAs<LongInt>(Into, From, Count, Operation);
    MPI_LONG: specialize CombineAs<Int64>(Into, From, Count, Operation);
    MPI_FLOAT: specialize CombineAs<Single>(Into, From, Count, Operation);
    MPI_DOUBLE: specialize CombineAs<Double>(Into, From, Count, Operation);
  end;
end;

end.
