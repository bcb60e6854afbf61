{ Start and end of Toro: a core's way from the nucleus to Pascal, and the
  program's to the exit status. }
unit Kernel;

{$mode objfpc}

interface

{ How many cores have reached the kernel so far. }
function OnlineCores: LongInt;

implementation

uses BootInfo, Arch, heapmgr, Console, consoleio, CoreThreads, Exceptions, Process, Scheduling;

procedure PascalMain; external name 'PASCALMAIN';
procedure InitializeUnits; external name '__real_fpc_initializeunits';

var
  OnlineCount: LongInt;

function OnlineCores: LongInt;
begin
  Result := InterlockedExchangeAdd(OnlineCount, 0);
end;

{ The nucleus enters ring 3 here, on each core's own stack. On core 0 no unit is
  initialized yet. }
procedure KernelEntry(Info: PBootInfo; Index: PtrUInt); public name 'KernelEntry';
var
  Thread: TThread;
begin
  { All cores say the same, and some may be first. }
  TheBootInfo := Info;
  if Index = 0 then
    Info^.Marks[MARK_KERNEL] := read_rdtsc;
  StartScheduler(Thread);
  ThisCore^.Online := True;
  InterlockedIncrement(OnlineCount);
  if Index = 0 then
    PascalMain;
  { Nobody wakes this thread: whatever comes to the core runs in another one. }
  while True do
    Block(0);
end;

{ The linker puts this in the place of FPC's own: between the last unit's
  initialization and the program's first line. }
procedure StartProgram; public name '__wrap_fpc_initializeunits';
begin
  InitializeUnits;
  TheBootInfo^.Marks[MARK_APPLICATION] := read_rdtsc;
end;

{ Where Halt, a run-time error and the program's end lead to. }
procedure HaltProcedure; public name '_haltproc';
begin
  if Assigned(ShutdownProcedure) then
    ShutdownProcedure();
  FlushConsole;
  PowerOff(ExitCode and $FF);
end;

end.
