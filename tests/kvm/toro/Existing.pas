{ A program for the existing Toro with its work in C, compiled by whoever wrote it: the
  object is linked, and mainC runs on each core. }
program Existing;

uses
  Kernel, Process, Memory, Arch, ToroMPI, Console;

{$L ExistingC.o}

function mainC(param: Pointer): PtrInt; external name 'mainC';

var
  i: LongInt;
  tmp: array[0..MAX_CPU - 1] of TThreadID;
begin
  for i := 0 to CPU_COUNT - 1 do
    BeginThread(nil, 4096, @mainC, nil, i, tmp[i]);
  for i := 0 to CPU_COUNT - 1 do
    WaitForThreadTerminate(tmp[i], 0);
end.
