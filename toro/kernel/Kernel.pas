{ The start and the end: a core's entry from the nucleus, the program's start, and its exit
  status. }
unit Kernel;

{$mode objfpc}
{$asmmode intel}

interface

{ Number of cores that have entered the kernel so far. }
function OnlineCores: LongInt;

{ The kernel parameters: the words of the command line, which commas and spaces separate. Their
  number, and each from 0 (nil past the end). Words that describe devices come last. }
function KernelParamCount: LongInt;
function GetKernelParam(I: LongInt): PChar;

type
  TFreezeOutcome = (
    foDeclined,  { the VMM does not freeze this machine }
    foContinued, { the machine is frozen in a file, and this is the one that goes on }
    foThawed     { this one has been thawed from that file }
  );

{ Asks the VMM to freeze the machine, and returns in the machine that goes on and in every one
  that is thawed. There, everything that unit Thaw describes has been done before it returns. }
function Freeze: TFreezeOutcome;

implementation

uses
  BootInfo, Arch, Memory, heapmgr, Console, CoreThreads, Exceptions, HeapPool, Process, Scheduling, si_prc, SystemCalls, Thaw,
  ThreadLife;

const
  END_STACK = 65536;
  STATUS_TERMINATED = 143; { the status that a shell reports after SIGTERM }

  FREEZE_PORT = $F8;
  FREEZE_NOW = 1;          { written to it }
  FROZEN = 1;              { read from it: the freeze was done }

procedure SysEntry(constref Information: TEntryInformation); external name 'FPC_SysEntry';
procedure InitializeUnits; external name '__real_fpc_initializeunits';
procedure SetErrno(Error: LongInt); external name 'FPC_SYS_SETERRNO';

var
  OnlineCount: LongInt;

function OnlineCores: LongInt;
begin
  Result := InterlockedExchangeAdd(OnlineCount, 0);
end;

var
  Words: PPChar;
  WordCount: LongInt = -1; { not split yet }

{ Copies the command line and replaces each separator by a zero. }
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

{ ---- Freezing ---- }

function Freeze: TFreezeOutcome;
var
  Generation: QWord;
begin
  Generation := TheBootInfo^.Generation;
  FlushConsole;
  write_portb(FREEZE_NOW, FREEZE_PORT);
  Result := foDeclined;
  if read_portb(FREEZE_PORT) = FROZEN then
    Result := foContinued;
  if TheBootInfo^.Generation = Generation then
    Exit;
  Result := foThawed;
  AwaitRenewal;
end;

{ ---- The VMM asks for an end ---- }

{ A program sets another status, if it wants to, in its ShutdownProcedure. }
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

var
  MainStack: Byte; external name 'toro_stack';
  MainStackEnd: Byte; external name 'toro_stack_end';

{ Leaves the stack on which core 0 started for the program's, at whose upper end Top is. }
procedure EnterProgram(constref Information: TEntryInformation; Top: Pointer); assembler; noreturn; nostackframe;
asm
  mov rsp, rsi
  xor ebp, ebp
  call SysEntry
end;

procedure RunProgram(var Thread: TThread); noreturn;
begin
  Thread.StackLow := PtrUInt(@MainStack);
  Thread.StackHigh := PtrUInt(@MainStackEnd);
  Thread.StackSize := Thread.StackHigh - Thread.StackLow;
  with ProgramInformation.OS do
  begin
    stkptr := Pointer(Thread.StackHigh - 1); { FPC takes the next page for the end }
    stklen := Thread.StackSize;
  end;
  StartPool;
  EnterProgram(ProgramInformation, @MainStackEnd);
end;

{ Entry from the nucleus, for each core on its own stack. Core 0 enters before any unit is
  initialized. }
procedure KernelEntry(Info: PBootInfo; Index: PtrUInt); public name 'KernelEntry';
var
  Thread: TThread;
begin
  { All cores write the same value, in any order. }
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
    RunProgram(Thread);
  { This thread is never woken: work for this core runs in other threads. }
  while True do
    Block(0);
end;

{ Replaces FPC's own (by the linker's --wrap): runs between the last unit's initialization and
  the program's first line. }
procedure StartProgram; public name '__wrap_fpc_initializeunits';
begin
  InitializeUnits;
  SetErrno(0); { units look for files, such as the time zone's }
  WatchUncaught;
  TheBootInfo^.Marks[MARK_APPLICATION] := read_rdtsc;
end;

{ Halt, run-time errors and the program's end all lead here. }
procedure HaltProcedure; public name '_haltproc';
begin
  if Assigned(ShutdownProcedure) then
    ShutdownProcedure();
  if Assigned(DrainNetwork) then
    DrainNetwork();
  FlushConsole;
  PowerOff(ExitCode and $FF);
end;

end.
