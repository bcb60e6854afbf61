{ Routines for C programs only: the rest of mpi.h, and what toro/c needs of the kernel. }
unit MpiForC;

{$mode objfpc}

interface

implementation

uses BootInfo, Arch, Console, Memory, MpiMessages, MpiTypes;

{ ---- mpi.h ---- }

function MPI_Init(Count, Words: Pointer): LongInt; cdecl; public name 'MPI_Init';
begin
  Result := MPI_SUCCESS;
end;

function MPI_Finalize: LongInt; cdecl; public name 'MPI_Finalize';
begin
  WaitForAll;
  Result := MPI_SUCCESS;
end;

function MPI_Barrier(Comm: LongInt): LongInt; cdecl; public name 'MPI_Barrier';
begin
  WaitForAll;
  Result := MPI_SUCCESS;
end;

function MPI_Abort(Comm, Status: LongInt): LongInt; cdecl; public name 'MPI_Abort';
begin
  Halt(Status);
  Result := MPI_SUCCESS;
end;

function MPI_Wtime: Double; cdecl; public name 'MPI_Wtime';
begin
  Result := MonotonicNs / 1e9;
end;

function MPI_Wtick: Double; cdecl; public name 'MPI_Wtick';
begin
  Result := 1 / TheBootInfo^.TscHz;
end;

function MPI_Get_count(Status: PMpiStatus; DataType: LongInt; Count: PLongInt): LongInt; cdecl;
  public name 'MPI_Get_count';
begin
  if (SizeOfType(DataType) = 0) or (Status^.Bytes mod SizeOfType(DataType) <> 0) then
    Count^ := MPI_UNDEFINED
  else
    Count^ := Status^.Bytes div SizeOfType(DataType);
  Result := MPI_SUCCESS;
end;

{ ---- clib.c ---- }

procedure ToroWrite(Data: PChar; Count: PtrUInt); cdecl; public name 'toro_write';
begin
  WriteConsole(Data, Count);
end;

function ToroMalloc(Size: PtrUInt): Pointer; cdecl; public name 'malloc';
begin
  Result := ToroGetMem(Size);
end;

procedure ToroFree(P: Pointer); cdecl; public name 'free';
begin
  ToroFreeMem(P);
end;

function ToroRealloc(P: Pointer; Size: PtrUInt): Pointer; cdecl; public name 'realloc';
begin
  Result := ToroReAllocMem(P, Size);
end;

procedure ToroExit(Status: LongInt); cdecl; public name 'exit';
begin
  Halt(Status);
end;

end.
