{ The life of a thread: creation, suspension, killing, end. }
unit ThreadLife;

{$mode objfpc}

interface

uses CoreThreads;

{ Creates a thread on any core. It runs Func(Parameter) on a stack of at least StackSize bytes.
  Returns its id; 0: no such core, or no memory. }
function CreateThread(Func: TThreadFunc; Parameter: Pointer; StackSize: SizeUInt; Core: LongWord): TThreadID;

{ Ends the current thread. }
procedure EndCurrentThread(ExitCode: DWord); noreturn;

{ Suspend, resume and kill a thread: at once if it is the current one, else when it yields next.
  False: it has ended. Resuming a thread that is not suspended cancels its next suspension. }
function Suspend(ThreadID: TThreadID): Boolean;
function Resume(ThreadID: TThreadID): Boolean;
function Kill(ThreadID: TThreadID): Boolean;

{ Waits for the end of a thread, or until the TSC reaches Deadline (0: no deadline). True: it
  has ended. ExitCode reads as 0 once a thousand other threads have ended since. }
function Join(ThreadID: TThreadID; Deadline: QWord; out ExitCode: DWord): Boolean;

{ Sets the name of a thread in messages. False: it has ended. }
function NameThread(ThreadID: TThreadID; const Name: ShortString): Boolean;

implementation

uses Arch, Memory, Scheduling, Symbols, ThreadRequests, ThreadStacks, ThreadVars, WaitQueues;

const
  STACK_MIN = 16384;
  KEPT = 1024; { records of ended threads that are not reused, the newest ones }
  DEFAULT_MXCSR = $1F80; { all exceptions masked; InitThread sets the library's value }
  DEFAULT_FPU = $37F;

type
  { What SwitchThread pops from the stack of a thread. }
  PFirstFrame = ^TFirstFrame;
  TFirstFrame = packed record
    MXCSR, ControlWord: LongWord;
    R15, R14, R13, R12, RBX, RBP: QWord;
    Return: CodePointer;
    Outermost: QWord; { no caller: ends a backtrace }
  end;

var
  { Records of threads that have ended, oldest first. They are never freed, so that an old id
    can be examined. }
  UnusedLock, Unused: LongInt;
  FirstUnused, LastUnused: PThread;
  Numbers: LongInt;

function IsCurrent(ThreadID: TThreadID): Boolean; inline;
begin
  Result := (ThreadID = 0) or (ThreadID = GetCurrentThread^.ThreadID);
end;

{ A record to reuse, or a new one. All but the generation is cleared. }
function NewThread: PThread;
begin
  Result := nil;
  AcquireLock(UnusedLock);
  if Unused > KEPT then
  begin
    Result := FirstUnused;
    FirstUnused := Result^.Next;
    Dec(Unused);
  end;
  ReleaseLock(UnusedLock);
  if Result = nil then
  begin
    Result := ToroAllocMem(SizeOf(TThread));
    if Result <> nil then
      Enlist(Result);
    Exit;
  end;
  { Requests has the generation and stays; CreateThread sets the fields behind it. }
  FillChar(Result^, PtrUInt(@Result^.Requests) - PtrUInt(Result), 0);
  Result^.Name := '';
end;

procedure KeepThread(Thread: PThread);
begin
  Thread^.Next := nil;
  AcquireLock(UnusedLock);
  if LastUnused = nil then
    FirstUnused := Thread
  else
    LastUnused^.Next := Thread;
  LastUnused := Thread;
  Inc(Unused);
  ReleaseLock(UnusedLock);
end;

{ Called by the scheduler when no core is on the thread's stack any more. }
procedure TakeBack(Thread: PThread);
begin
  if Thread^.Stack = nil then
    Exit;
  ReleaseStack(Thread^.Stack);
  KeepThread(Thread);
end;

{ The first code of every thread. }
procedure ThreadMain;
var
  Thread: PThread;
begin
  Thread := GetCurrentThread;
  AfterSwitch(Thread^.CPU);
  SeeGuards(Thread^.Stack, Thread^.CPU^.GuardsSeen);
  StartThreadVars;
  Checkpoint;
  EndCurrentThread(DWord(Thread^.ThreadFunc(Thread^.StartArg)));
end;

function CreateThread(Func: TThreadFunc; Parameter: Pointer; StackSize: SizeUInt; Core: LongWord): TThreadID;
var
  Thread: PThread;
  TheStack: PStack;
  Frame: PFirstFrame;
begin
  if (Core >= CPU_COUNT) or (StackSize > AvailableMemory) then
    Exit(0);
  if StackSize < STACK_MIN then
    StackSize := STACK_MIN;
  TheStack := AcquireStack(StackSize + ThreadVarsSize + SizeOf(TFirstFrame) + 16);
  if TheStack = nil then
    Exit(0);
  Thread := NewThread;
  if Thread = nil then
  begin
    ReleaseStack(TheStack);
    Exit(0);
  end;
  { From now on the run-time library counts references atomically. }
  IsMultiThread := True;
  Thread^.Stack := TheStack;
  Thread^.CPU := CPUAt(Core);
  Thread^.TLS := Pointer((PtrUInt(TheStack) - ThreadVarsSize) and not PtrUInt(15));
  FillChar(Thread^.TLS^, ThreadVarsSize, 0);
  Thread^.StackLow := TheStack^.Low;
  Thread^.StackHigh := PtrUInt(Thread^.TLS);
  Thread^.StackSize := Thread^.StackHigh - Thread^.StackLow;
  Frame := PFirstFrame(Thread^.TLS) - 1;
  FillChar(Frame^, SizeOf(Frame^), 0);
  Frame^.MXCSR := DEFAULT_MXCSR;
  Frame^.ControlWord := DEFAULT_FPU;
  Frame^.Return := @ThreadMain;
  Thread^.StackPointer := Frame;
  Thread^.ThreadFunc := Func;
  Thread^.StartArg := Parameter;
  Thread^.Number := InterlockedIncrement(Numbers);
  Result := TThreadID(Thread) or Thread^.Requests shr REQUEST_BITS shl ID_ADDRESS_BITS;
  Thread^.ThreadID := Result;
  Thread^.State := tsReady;
  Request(Result, REQUEST_CREATE);
end;

procedure EndCurrentThread(ExitCode: DWord);
var
  Thread: PThread;
begin
  DoneThread;
  Thread := GetCurrentThread;
  Thread^.ExitCode := ExitCode;
  LockQueue(Thread^.Joiners);
  EndRequests;
  Thread^.ThreadID := 0;
  UnlockQueue(Thread^.Joiners);
  WakeAll(Thread^.Joiners);
  LeaveForever;
end;

function Suspend(ThreadID: TThreadID): Boolean;
begin
  if not IsCurrent(ThreadID) then
    Exit(Request(ThreadID, REQUEST_SUSPEND));
  ServeRequests;
  with GetCurrentThread^ do
  begin
    Suspended := not Resumed;
    Resumed := False;
  end;
  Checkpoint;
  Result := True;
end;

function Resume(ThreadID: TThreadID): Boolean;
begin
  Result := (ThreadID <> 0) and Request(ThreadID, REQUEST_RESUME);
end;

function Kill(ThreadID: TThreadID): Boolean;
begin
  if IsCurrent(ThreadID) then
    EndCurrentThread(0);
  Result := Request(ThreadID, REQUEST_KILL);
end;

function Join(ThreadID: TThreadID; Deadline: QWord; out ExitCode: DWord): Boolean;
var
  Thread: PThread;
  Waiter: TWaiter;
begin
  ExitCode := 0;
  Thread := ThreadAt(ThreadID);
  if Thread = nil then
    Exit(True);
  LockQueue(Thread^.Joiners);
  if Thread^.ThreadID = ThreadID then
  begin
    JoinQueue(Thread^.Joiners, Waiter);
    UnlockQueue(Thread^.Joiners);
    Result := WaitInQueue(Thread^.Joiners, Waiter, Deadline);
    Checkpoint;
    if not Result then
      Exit;
  end
  else
  begin
    UnlockQueue(Thread^.Joiners);
    Result := True;
  end;
  if (Thread^.Requests shr REQUEST_BITS = (ThreadID shr ID_ADDRESS_BITS + 1) mod GENERATIONS) and
     (Thread^.ThreadID = 0) then
    ExitCode := Thread^.ExitCode;
end;

function NameThread(ThreadID: TThreadID; const Name: ShortString): Boolean;
begin
  Result := (ThreadID <> 0) and (ThreadAt(ThreadID)^.ThreadID = ThreadID);
  if Result then
    ThreadAt(ThreadID)^.Name := Name;
end;

initialization
  ThreadIsOver := @TakeBack;
end.
