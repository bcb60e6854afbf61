{ Threads, and the queues in which a core has its own: those that are ready, and those
  that sleep. Only the core itself touches them, so there are no locks. }
unit CoreThreads;

{$mode objfpc}
{$asmmode intel}

interface

uses Arch, CoreTimer, ThreadStacks;

const
  { A thread's id is its address, with its generation in the bits above. }
  ID_ADDRESS_BITS = 40;

type
  { One waiting thread, on its stack; see WaitQueues. }
  PWaiter = ^TWaiter;
  TWaiter = record
    Next, Previous: PWaiter;
    ThreadID: TThreadID;
    Woken: Boolean;           { it is in the queue no more }
  end;

  { Waiting threads, of any core. All zero: nobody waits. }
  TWaitQueue = record
    First, Last: PWaiter;
    Lock: LongInt;
  end;

  TThreadState = (tsReady, tsRunning, tsBlocked, tsDead);

  PThread = ^TThread;
  PCPU = ^TCPU;

  TThread = record
    ThreadID: TThreadID;      { 0 when it is over }
    CPU: PCPU;                { the core that it runs on }
    StackSize: SizeUInt;      { bytes that it can use }
    TLS: Pointer;             { its thread variables }
    StackLow, StackHigh: PtrUInt;
    StackPointer: Pointer;    { while it does not run }
    Stack: PStack;            { nil: the stack that its core started on }
    State: TThreadState;
    Permit: Boolean;          { woken before it blocked }
    Killed: Boolean;          { it ends when it looks: see Checkpoint }
    Suspended: Boolean;
    Resumed: Boolean;         { before it was suspended }
    Waiting: Boolean;         { for an interrupt of this vector }
    Vector: Byte;
    Deadline: QWord;          { TSC to be woken at; 0 when not among the sleepers }
    Next: PThread;            { in the queue of ready threads, or of unused ones }
    Earlier, Later: PThread;  { sleepers }
    NextWaiting: PThread;     { for an interrupt }
    NextRequested: PThread;   { in an inbox }
    Requests: QWord;          { REQUEST_*; above them the generation }
    Joiners: TWaitQueue;      { who waits for its end }
    ThreadFunc: TThreadFunc;
    StartArg: Pointer;
    ExitCode: DWord;
    Number: LongWord;         { in the order of creation; 0 for a core's first thread }
    Name: String[31];
  end;

  { The scheduler's part of a core's block, see TCore. }
  TCPU = record
    ApicID: LongInt;
    GuardsSeen: LongInt;      { see SeeGuards }
    CurrentThread: PThread;
    ThreadVars: Pointer;      { those of the current thread }
    FirstReady, LastReady: PThread;
    FirstSleeper, LastSleeper: PThread; { by deadline }
    FirstWaiting: PThread;    { for interrupts }
    Dead: PThread;            { it ended, and its stack is free after the next switch }
    Timer: TTimer;
    Switches, Halts: QWord;   { how many there have been }
    HaltedTicks: QWord;       { of the TSC, spent halted }
    Devices: Pointer;         { those that VirtIO serves on this core }
    { In a line of its own: other cores write to it. }
    Reserved: QWord;
    Inbox: PThread;           { threads with requests, the last one first }
    Halting: LongInt;         { 1: needs an interrupt to see its inbox }
  end;

{ The thread that runs here, and its core. }
function GetCurrentThread: PThread; assembler;
function GetCPU: PCPU; assembler;

{ The scheduler's part of any core (0 to CPU_COUNT - 1). }
function CPUAt(Index: LongInt): PCPU;

{ The thread that has an id, or had it: its memory is never used for anything else. }
function ThreadAt(ThreadID: TThreadID): PThread; inline;

{ Makes a thread of this core the last one that is ready. }
procedure Append(CPU: PCPU; Thread: PThread);

{ Takes the first thread that is ready; there must be one. }
function TakeReady(CPU: PCPU): PThread;

{ Puts a blocked thread among the sleepers of this core. }
procedure AddSleeper(CPU: PCPU; Thread: PThread; Deadline: QWord);

{ Makes a blocked thread of this core ready. One that is not blocked will not be when
  it wants to be next. }
procedure WakeHere(CPU: PCPU; Thread: PThread);

implementation

{$if SizeOf(TCPU) > SCHEDULER_SIZE}
  {$error TCPU does not fit in a core's block}
{$endif}

function GetCPU: PCPU; assembler; nostackframe;
asm
  mov rax, gs:[0]
  add rax, CORE_SIZE - SCHEDULER_SIZE
end;

function GetCurrentThread: PThread; assembler; nostackframe;
asm
  mov rax, gs:[CORE_SIZE - SCHEDULER_SIZE + TCPU.CurrentThread]
end;

function CPUAt(Index: LongInt): PCPU;
begin
  Result := PCPU(PtrUInt(CoreAt(Index)) + CORE_SIZE - SCHEDULER_SIZE);
end;

function ThreadAt(ThreadID: TThreadID): PThread;
begin
  Result := PThread(ThreadID and (QWord(1) shl ID_ADDRESS_BITS - 1));
end;

procedure Append(CPU: PCPU; Thread: PThread);
begin
  Thread^.State := tsReady;
  Thread^.Next := nil;
  if CPU^.LastReady = nil then
    CPU^.FirstReady := Thread
  else
    CPU^.LastReady^.Next := Thread;
  CPU^.LastReady := Thread;
end;

function TakeReady(CPU: PCPU): PThread;
begin
  Result := CPU^.FirstReady;
  CPU^.FirstReady := Result^.Next;
  if Result^.Next = nil then
    CPU^.LastReady := nil;
end;

procedure AddSleeper(CPU: PCPU; Thread: PThread; Deadline: QWord);
var
  Before: PThread;
begin
  { From the end: a new deadline is a late one as a rule. }
  Before := CPU^.LastSleeper;
  while (Before <> nil) and (Before^.Deadline > Deadline) do
    Before := Before^.Earlier;
  Thread^.Deadline := Deadline;
  Thread^.Earlier := Before;
  if Before = nil then
  begin
    Thread^.Later := CPU^.FirstSleeper;
    CPU^.FirstSleeper := Thread;
  end
  else
  begin
    Thread^.Later := Before^.Later;
    Before^.Later := Thread;
  end;
  if Thread^.Later = nil then
    CPU^.LastSleeper := Thread
  else
    Thread^.Later^.Earlier := Thread;
end;

procedure RemoveSleeper(CPU: PCPU; Thread: PThread);
begin
  if Thread^.Earlier = nil then
    CPU^.FirstSleeper := Thread^.Later
  else
    Thread^.Earlier^.Later := Thread^.Later;
  if Thread^.Later = nil then
    CPU^.LastSleeper := Thread^.Earlier
  else
    Thread^.Later^.Earlier := Thread^.Earlier;
  Thread^.Deadline := 0;
end;

procedure WakeHere(CPU: PCPU; Thread: PThread);
begin
  if Thread^.State <> tsBlocked then
    Thread^.Permit := True
  else
  begin
    if Thread^.Deadline <> 0 then
      RemoveSleeper(CPU, Thread);
    Append(CPU, Thread);
  end;
end;

end.
