{ Threads: Toro's routines, and those that FPC's run-time library needs (BeginThread, critical
  sections, events, thread variables).

  Threads are cooperative. Each core runs one thread until it yields: by SysThreadSwitch, by
  Sleep, or by waiting for something. A thread stays on its core. }
unit Process;

{$mode objfpc}
{$asmmode intel}

interface

uses Arch, CoreThreads;

type
  TThread = CoreThreads.TThread;
  PThread = CoreThreads.PThread;
  TCPU = CoreThreads.TCPU;
  TPerCPU = TCPU;
  PCPU = CoreThreads.PCPU;

const
  WAIT_FAILED = DWord(-1);

{ Starts ThreadFunction(Parameter) as a thread on core CPU (from 0; DWord(-1) is this one), with a
  stack of at least StackSize bytes. Returns its id, which is also stored in ThreadID; 0: no such core, or no
  memory. }
function BeginThread(SecurityAttributes: Pointer; StackSize: SizeUInt; ThreadFunction: TThreadFunc;
  Parameter: Pointer; CPU: DWord; var ThreadID: TThreadID): TThreadID;

{ The core on which the next thread starts that this one begins by FPC's own means (TThread,
  BeginThread of unit System). Without this call, such threads go to the cores in turn. }
procedure NextThreadOn(Core: LongInt);

{ Yields to the other ready threads of this core. Also keeps the registers RDI and RSI. }
procedure SysThreadSwitch; assembler;

{ Blocks the thread for ms milliseconds; 0 yields. }
procedure Sleep(ms: Cardinal);

{ Blocks the thread until the TSC reaches Deadline. }
procedure SleepUntil(Deadline: QWord);

{ Ends the current thread. }
procedure SysEndThread(ExitCode: DWord); noreturn;

{ Ends the current thread: at once, or, if not Schedule, when it yields next. }
procedure ThreadExit(Schedule: Boolean);

{ Suspend, resume and kill a thread; 0 is the current one. Another thread is suspended or killed
  when it yields next. Resuming a thread that is not suspended cancels its next suspension.
  Return 0, or WAIT_FAILED if the thread has ended. }
function SysSuspendThread(ThreadID: TThreadID): DWord;
function SysResumeThread(ThreadID: TThreadID): DWord;
function SysKillThread(ThreadID: TThreadID): DWord;

{ The running thread, and the scheduler's data of this core. }
function GetCurrentThread: PThread; inline;
function GetCPU: PCPU; inline;

{ Sets GetCPU^.LastIrq to the present TSC, as an interrupt does that ends a halt. }
procedure UpdateLastIrq;

{ Yields; if no thread of this core is ready, halts it until an interrupt. }
procedure SysSetCoreIdle;

{ Stops the machine with a message (see WriteConsoleF) if Condition is True. }
procedure Panic(Condition: Boolean; const Format: AnsiString; const Args: array of PtrUInt);

threadvar
  NextCore: LongInt; { what NextThreadOn has chosen, plus one; 0: nothing }

var
  { What the scheduler keeps for each core, in cache lines of its own. }
  CPU: array[0..MAX_CPU - 1] of TPerCPU; external name 'TORO_CPUS';

  { Called when the program ends, or is asked to by SIGTERM, before the machine stops. }
  ShutdownProcedure: TProcedure;

implementation

uses Console, Scheduling, Symbols, ThreadLife, ThreadLocks, ThreadVars;

const
  THIS_CORE = DWord(-1);

procedure Panic(Condition: Boolean; const Format: AnsiString; const Args: array of PtrUInt);
begin
  if not Condition then
    Exit;
  TellCrash(nil);
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
  if CPU = THIS_CORE then
    CPU := GetCoreId;
  Result := CreateThread(ThreadFunction, Parameter, StackSize, CPU);
  ThreadID := Result;
end;

procedure NextThreadOn(Core: LongInt);
begin
  NextCore := Core + 1;
end;

procedure Switch;
begin
  Yield;
  Checkpoint;
end;

{ The two pushes keep the stack aligned to 16; the frame is for backtraces. }
procedure SysThreadSwitch; assembler; nostackframe;
asm
  push rbp
  mov rbp, rsp
  push rdi
  push rsi
  call Switch
  pop rsi
  pop rdi
  pop rbp
end;

procedure SleepUntil(Deadline: QWord);
begin
  repeat
    Block(Deadline);
    Checkpoint;
  until read_rdtsc >= Deadline;
end;

procedure Sleep(ms: Cardinal);
begin
  if ms = 0 then
    SysThreadSwitch
  else
    SleepUntil(read_rdtsc + TicksOf(ms));
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

procedure UpdateLastIrq;
begin
  GetCPU^.LastIrq := read_rdtsc;
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

{ Milliseconds = 0: no time-out. }
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

{ Nothing of a thread that has ended is left to close. }
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
end;

initialization
  Install;
end.
