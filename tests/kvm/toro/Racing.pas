{ Threads on all cores read files that the host replaces meanwhile, each of one byte repeated. Says how
  many were read, and each that has different bytes. }
program Racing;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Filesystem, Console, VirtIO, VirtIOFS, SysUtils;

const
  THREADS = 8;
  ROUNDS = 300;
  FILES = 6;
  SIZE_MAX = 400000;

var
  Read, Wrong: LongInt;

procedure ReadOne(Number: LongInt; Data: PByte);
var
  F: THandle;
  Count, I: LongInt;
begin
  F := SysOpenFile(PChar('/file' + IntToStr(Number)), O_RDONLY);
  Count := SysReadFile(F, SIZE_MAX, Data);
  SysCloseFile(F);
  for I := 1 to Count - 1 do
    if Data[I] <> Data[0] then
    begin
      InterlockedIncrement(Wrong);
      WriteLn('file ', Number, ' at ', I, ': ', Data[I], ' after ', Data[0]);
      Break;
    end;
  if Count > 0 then
    InterlockedIncrement(Read);
end;

function Run(Parameter: Pointer): PtrInt;
var
  Data: PByte;
  I: LongInt;
begin
  Data := ToroGetMem(SIZE_MAX);
  for I := 1 to ROUNDS do
    ReadOne((I * 7 + PtrInt(Parameter)) mod FILES, Data);
  ToroFreeMem(Data);
  Result := 0;
end;

var
  Ids: array[0..THREADS - 1] of TThreadID;
  I: LongInt;
begin
  DedicateBlockDriver('FS', 0);
  SysMount('virtiofs', 'FS', 0);
  for I := 0 to THREADS - 1 do
    BeginThread(nil, 65536, Run, Pointer(PtrInt(I)), I mod CPU_COUNT, Ids[I]);
  for I := 0 to THREADS - 1 do
    WaitForThreadTerminate(Ids[I], 0);
  WriteLn(Read, ' read, ', Wrong, ' wrong');
end.
