{ Reads more files than memory can keep, and then wants most of the memory for itself. }
program Crowded;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Filesystem, Console, VirtIO, VirtIOFS, SysUtils, Checks;

const
  FILES = 40;
  SIZE = 1 shl 20;
  PART = 100000;

function ReadAll: Boolean;
var
  I, Count, J: LongInt;
  F: THandle;
  Data: PByte;
  Total: Int64;
begin
  Result := True;
  Data := ToroGetMem(PART);
  for I := 0 to FILES - 1 do
  begin
    F := SysOpenFile(PChar('/file' + IntToStr(I)), O_RDONLY);
    Total := 0;
    repeat
      Count := SysReadFile(F, PART, Data);
      for J := 0 to Count - 1 do
        Result := Result and (Data[J] = I);
      Inc(Total, Count);
    until Count <= 0;
    Result := Result and (Total = SIZE);
    SysCloseFile(F);
  end;
  ToroFreeMem(Data);
end;

{ Whether nine tenths of the heap can be allocated. }
function TakeMost: Boolean;
var
  Most: Pointer;
begin
  Most := ToroGetMem(HeapStatistics.Total div 10 * 9);
  Result := Most <> nil;
  ToroFreeMem(Most);
end;

begin
  DedicateBlockDriver('FS', 0);
  SysMount('virtiofs', 'FS', 0);
  Check(ReadAll, 'the files are right');
  Check(TakeMost, 'most of the memory can be had');
  Check(ReadAll and TakeMost, 'and again');
end.
