{ Threads as applications know them: Toro's routines, and those behind FPC's
  run-time library (BeginThread, critical sections, events, thread variables).

  Each core runs its threads one at a time, until the one that runs gives way: with
  SysThreadSwitch, Sleep, or by waiting for something. A thread stays on its core. }
unit Process;

{$mode objfpc}

interface

uses CoreThreads;

type
  TThread = CoreThreads.TThread;
  PThread = CoreThreads.PThread;
  TCPU = CoreThreads.TCPU;
  PCPU = CoreThreads.PCPU;

const
  WAIT_FAILED = DWord(-1);

{ Starts ThreadFunction(Parameter) as a thread of core CPU, from 0, with a stack of
  at least StackSize bytes. Returns its id, which ThreadID gets as well, or 0 when
  there is no such core or not enough memory. }
function BeginThread(SecurityAttributes: Pointer; StackSize: SizeUInt; ThreadFunction: TThreadFunc;
  Parameter: Pointer; CPU: DWord; var ThreadID: TThreadID): TThreadID;

{ Lets the other threads of this core run that are ready. }
procedure SysThreadSwitch;

{ Lets other threads run for this long; with 0 those that are ready. }
procedure Sleep(ms: Cardinal);

{ Ends the current thread. }
procedure SysEndThread(ExitCode: DWord); noreturn;

{ Ends the current thread: now, or if not Schedule when it gives way next. }
procedure ThreadExit(Schedule: Boolean);

{ Suspend a thread (0 is the current one), let it go on, end it. Another thread than
  the current one is suspended or ended when it gives way next. What is resumed
  before it is suspended will not be. They return 0, or WAIT_FAILED when the thread is
  over. }
function SysSuspendThread(ThreadID: TThreadID): DWord;
function SysResumeThread(ThreadID: TThreadID): DWord;
function SysKillThread(ThreadID: TThreadID): DWord;

{ The thread that runs here, and what the scheduler knows of this core. }
function GetCurrentThread: PThread; inline;
function GetCPU: PCPU; inline;

{ Gives way, and if no thread of this core is ready halts it until an interrupt. }
procedure SysSetCoreIdle;

{ Stops the machine with a message (see WriteConsoleF) if Condition holds. }
procedure Panic(Condition: Boolean; const Format: AnsiString; const Args: array of PtrUInt);

var
  { What runs when the program ends, or is asked to (SIGTERM), before the machine does. }
  ShutdownProcedure: TProcedure = nil;

implementation

uses Arch, heapmgr, Console, Scheduling, Symbols, ThreadLife, ThreadLocks, ThreadVars;

type
  TSleepHandler = procedure(ms: Cardinal);

var
  { SysUtils' SleepHandler if the program uses that unit (see toro.ld). }
  SleepHandler: TSleepHandler; external name 'TC_$SYSUTILS_$$_SLEEPHANDLER';

procedure Panic(Condition: Boolean; const Format: AnsiString; const Args: array of PtrUInt);
begin
  if not Condition then
    Exit;
  HeadLess := False;
  WriteConsoleF('Panic: ' + Format + '\n', Args);
  WriteText('Backtrace:'#10);
  with GetCurrentThread^ do
    WriteBacktrace(PtrUInt(get_frame), StackLow, StackHigh);
  PowerOff(STATUS_EXCEPTION);
end;

function BeginThread(SecurityAttributes: Pointer; StackSize: SizeUInt; ThreadFunction: TThreadFunc;
  Parameter: Pointer; CPU: DWord; var ThreadID: TThreadID): TThreadID;
begin
  Result := CreateThread(ThreadFunction, Parameter, StackSize, CPU);
  ThreadID := Result;
end;

procedure SysThreadSwitch;
begin
  Yield;
  Checkpoint;
end;

procedure Sleep(ms: Cardinal);
var
  Deadline: QWord;
begin
  if ms = 0 then
    SysThreadSwitch
  else
  begin
    Deadline := read_rdtsc + TicksOf(ms);
    repeat
      Block(Deadline);
      Checkpoint;
    until read_rdtsc >= Deadline;
  end;
end;

procedure SysEndThread(ExitCode: DWord);
begin
  EndCurrentThread(ExitCode);
end;

procedure ThreadExit(Schedule: Boolean);
begin
  if Schedule then
    EndCurrentThread(0);
  GetCurrentThread^.Killed := True;
end;

function StatusOf(Done: Boolean): DWord; inline;
begin
  if Done then
    Result := 0
  else
    Result := WAIT_FAILED;
end;

function SysSuspendThread(ThreadID: TThreadID): DWord;
begin
  Result := StatusOf(Suspend(ThreadID));
end;

function SysResumeThread(ThreadID: TThreadID): DWord;
begin
  Result := StatusOf(Resume(ThreadID));
end;

function SysKillThread(ThreadID: TThreadID): DWord;
begin
  Result := StatusOf(Kill(ThreadID));
end;

function GetCurrentThread: PThread;
begin
  Result := CoreThreads.GetCurrentThread;
end;

function GetCPU: PCPU;
begin
  Result := CoreThreads.GetCPU;
end;

procedure SysSetCoreIdle;
begin
  Yield;
  Idle(GetCPU);
  Checkpoint;
end;

function CurrentThread: TThreadID;
begin
  Result := GetCurrentThread^.ThreadID;
end;

{ A time-out of 0 is none. }
function WaitForThread(ThreadID: TThreadID; Milliseconds: LongInt): DWord;
var
  Deadline: QWord;
begin
  Deadline := 0;
  if Milliseconds > 0 then
    Deadline := read_rdtsc + TicksOf(Milliseconds);
  if not Join(ThreadID, Deadline, Result) then
    Result := WAIT_FAILED;
end;

{ A thread that is over has nothing left to close. }
function CloseThread(ThreadID: TThreadID): DWord;
begin
  Result := 0;
end;

function SetPriority(ThreadID: TThreadID; Priority: LongInt): Boolean;
begin
  Result := Priority = 0;
end;

function GetPriority(ThreadID: TThreadID): LongInt;
begin
  Result := 0;
end;

procedure SetName(ThreadID: TThreadID; const Name: AnsiString);
begin
  NameThread(ThreadID, Name);
end;

procedure SetUnicodeName(ThreadID: TThreadID; const Name: UnicodeString);
begin
  NameThread(ThreadID, AnsiString(Name));
end;

procedure Install;
var
  Manager: TThreadManager;
begin
  Manager := Default(TThreadManager);
  Manager.BeginThread := @BeginThread;
  Manager.EndThread := @SysEndThread;
  Manager.SuspendThread := @SysSuspendThread;
  Manager.ResumeThread := @SysResumeThread;
  Manager.KillThread := @SysKillThread;
  Manager.CloseThread := @CloseThread;
  Manager.ThreadSwitch := @SysThreadSwitch;
  Manager.WaitForThreadTerminate := @WaitForThread;
  Manager.ThreadSetPriority := @SetPriority;
  Manager.ThreadGetPriority := @GetPriority;
  Manager.GetCurrentThreadId := @CurrentThread;
  Manager.SetThreadDebugNameA := @SetName;
  Manager.SetThreadDebugNameU := @SetUnicodeName;
  InstallLocks(Manager);
  InstallThreadVars(Manager);
  StartThreadVars;
  if @SleepHandler <> nil then
    SleepHandler := @Sleep;
end;

initialization
  Install;
end.
