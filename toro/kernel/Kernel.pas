{ Start and end of Toro: a core's way from the nucleus to Pascal, and the
  program's to the exit status. }
unit Kernel;

{$mode objfpc}

interface

{ How many cores have reached the kernel so far. }
function OnlineCores: LongInt;

{ The words of the command line, which commas and spaces part: their number, and each
  from 0 (nil: there are no more). Those that name devices come last. }
function KernelParamCount: LongInt;
function GetKernelParam(I: LongInt): PChar;

implementation

uses BootInfo, Arch, Memory, heapmgr, Console, consoleio, CoreThreads, Exceptions, Process, Scheduling, ThreadLife;

const
  END_STACK = 65536;
  STATUS_TERMINATED = 143; { what a shell says of a process that SIGTERM has ended }

procedure PascalMain; external name 'PASCALMAIN';
procedure InitializeUnits; external name '__real_fpc_initializeunits';

var
  OnlineCount: LongInt;

function OnlineCores: LongInt;
begin
  Result := InterlockedExchangeAdd(OnlineCount, 0);
end;

var
  Words: PPChar;
  WordCount: LongInt = -1; { not parted yet }

{ Copies the command line, with zeroes for what parts its words. }
procedure PartCommandLine;
var
  Copy: PChar;
  I: LongInt;
begin
  WordCount := 0;
  with TheBootInfo^ do
  begin
    Copy := ToroGetMem(CommandLineSize + 1);
    Words := ToroGetMem((CommandLineSize div 2 + 1) * SizeOf(PChar));
    if (Copy = nil) or (Words = nil) then
      Exit;
    Move(CommandLine^, Copy^, CommandLineSize);
    Copy[CommandLineSize] := #0;
    for I := 0 to LongInt(CommandLineSize) - 1 do
      if Copy[I] in [',', ' '] then
        Copy[I] := #0
      else if (I = 0) or (Copy[I - 1] = #0) then
      begin
        Words[WordCount] := Copy + I;
        Inc(WordCount);
      end;
  end;
end;

function KernelParamCount: LongInt;
begin
  if WordCount < 0 then
    PartCommandLine;
  Result := WordCount;
end;

function GetKernelParam(I: LongInt): PChar;
begin
  if (I >= 0) and (I < KernelParamCount) then
    Result := Words[I]
  else
    Result := nil;
end;

{ ---- The VMM asks for an end ---- }

{ A program says another status, if it likes, in its ShutdownProcedure. }
function EndProgram(Parameter: Pointer): PtrInt;
begin
  Halt(STATUS_TERMINATED);
  Result := 0;
end;

procedure StartEndOfProgram;
begin
  CreateThread(@EndProgram, nil, END_STACK, 0);
end;

{ ---- Start and end ---- }

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
  {$ifdef ProfileBootTime}
  if Index = 0 then
    ShutdownInQemu;
  {$endif}
  ShutdownAsked := @StartEndOfProgram;
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
  WatchUncaught;
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
