{ Threads, and each core's queues of them: ready ones and sleeping ones. Only the core itself
  changes its queues, so they need no locks. }
unit CoreThreads;

{$mode objfpc}
{$asmmode intel}

interface

uses Arch, CoreTimer, ThreadStacks;

const
  { A thread's id is the address of its record, and above these bits its generation. }
  ID_ADDRESS_BITS = 40;

type
  { A waiting thread, in a record on its stack; see WaitQueues. }
  PWaiter = ^TWaiter;
  TWaiter = record
    Next, Previous: PWaiter;
    ThreadID: TThreadID;
    Woken: Boolean;           { it has left the queue }
  end;

  { Waiting threads of any core. All zero: empty. }
  TWaitQueue = record
    First, Last: PWaiter;
    Lock: LongInt;
  end;

  TThreadState = (tsReady, tsRunning, tsBlocked, tsDead);

  PThread = ^TThread;
  PCPU = ^TCPU;

  TThread = record
    ThreadID: TThreadID;      { 0 after its end }
    CPU: PCPU;                { the core that it runs on }
    StackSize: SizeUInt;      { usable bytes }
    TLS: Pointer;             { its thread variables }
    StackLow, StackHigh: PtrUInt;
    StackPointer: Pointer;    { valid while it does not run }
    Stack: PStack;            { nil: the stack on which its core started }
    State: TThreadState;
    Permit: Boolean;          { a wake-up that came before the thread blocked }
    Killed: Boolean;          { it ends at its next Checkpoint }
    Suspended: Boolean;
    Resumed: Boolean;         { a resume that came before the suspension }
    Waiting: Boolean;         { it waits for an interrupt of Vector }
    Vector: Byte;
    Deadline: QWord;          { TSC at which it wakes; 0: it does not sleep }
    Next: PThread;            { in the queue of ready threads, or of unused records }
    Earlier, Later: PThread;  { neighbours in the queue of sleepers }
    NextWaiting: PThread;     { among threads that wait for interrupts }
    NextRequested: PThread;   { in an inbox }
    Requests: QWord;          { REQUEST_*; the generation in the bits above }
    Joiners: TWaitQueue;      { threads that wait for its end }
    ThreadFunc: TThreadFunc;
    StartArg: Pointer;
    ExitCode: DWord;
    Number: LongWord;         { in the order of creation; 0: a core's first thread }
    Name: String[31];
    NextMade: PThread;        { see LastMade }
  end;

  { What the scheduler keeps for a core, in whole cache lines. }
  TCPU = record
    ApicID: LongInt;
    GuardsSeen: LongInt;      { value of ThreadStacks.Splits at the last TLB flush }
    CurrentThread: PThread;
    ThreadVars: Pointer;      { those of the current thread }
    FirstReady, LastReady: PThread;
    FirstSleeper, LastSleeper: PThread; { ordered by deadline }
    FirstWaiting: PThread;    { threads that wait for interrupts }
    Dead: PThread;            { a thread that has ended, whose stack is free after the switch }
    Timer: TTimer;
    Switches, Halts: QWord;   { counters }
    HaltedTicks: QWord;       { TSC ticks spent halted }
    Devices: Pointer;         { virtio devices that this core serves }
    DevicesDue: QWord;        { TSC at which one of them wants to be served; 0: none; see ArmDevices }
    { In a cache line of its own, because other cores write to it. }
    Inbox: PThread;           { threads with requests, newest first }
    Halting: LongInt;         { 1: it may be halted, and needs an interrupt to look at its inbox }
    LastIrq: QWord;           { TSC at which an interrupt has last ended a halt, or UpdateLastIrq was called }
    LingerTime: QWord;        { TSC ticks for which it polls before it halts }
    SwitchesBefore: QWord;    { Switches when it had nothing to do the last time }
    BusyUntil: QWord;         { TSC until which the host's CPU is taken to have others to run }
    Unused: array[0..1] of QWord;
  end;

var
  { The record that was made last, the first of a list of all. Only a debugger reads it. }
  LastMade: PThread;

{ Lets a debugger find a record. }
procedure Enlist(Thread: PThread);

{ The running thread, and its core. }
function GetCurrentThread: PThread; assembler;
function GetCPU: PCPU; assembler;

{ The scheduler's part of any core (0 to CPU_COUNT - 1). }
function CPUAt(Index: LongInt): PCPU; inline;

{ Connects this core, number Index, to its part. To be called first on each core. }
procedure StartCore(Index: LongInt);

{$push}{$codealign varmin=64}
var
  { All of them. }
  CPUs: array[0..MAX_CPU - 1] of TCPU; public name 'TORO_CPUS';
{$pop}

{ The thread that has, or had, this id. Records are never freed, so an old id can be examined. }
function ThreadAt(ThreadID: TThreadID): PThread; inline;

{ Puts a thread of this core at the end of the ready queue. }
procedure Append(CPU: PCPU; Thread: PThread);

{ Takes the first thread off the ready queue, which must not be empty. }
function TakeReady(CPU: PCPU): PThread;

{ Inserts a blocked thread of this core into the queue of sleepers. }
procedure AddSleeper(CPU: PCPU; Thread: PThread; Deadline: QWord);

{ Makes a blocked thread of this core ready. If it is not blocked, its next Block returns at
  once. }
procedure WakeHere(CPU: PCPU; Thread: PThread);

implementation

{$if SizeOf(TCPU) mod 64 <> 0}
  {$error TCPU is not whole cache lines}
{$endif}

function GetCPU: PCPU; assembler; nostackframe;
asm
  mov rax, gs:[TCore.Scheduler]
end;

function GetCurrentThread: PThread; assembler; nostackframe;
asm
  mov rax, gs:[TCore.Scheduler]
  mov rax, [rax + TCPU.CurrentThread]
end;

function CPUAt(Index: LongInt): PCPU;
begin
  Result := @CPUs[Index];
end;

procedure StartCore(Index: LongInt);
begin
  ThisCore^.Scheduler := @CPUs[Index];
  CPUs[Index].ApicID := Index;
end;

function ThreadAt(ThreadID: TThreadID): PThread;
begin
  Result := PThread(ThreadID and (QWord(1) shl ID_ADDRESS_BITS - 1));
end;

procedure Enlist(Thread: PThread);
begin
  repeat
    Thread^.NextMade := LastMade;
  until InterlockedCompareExchange(Pointer(LastMade), Thread, Thread^.NextMade) = Thread^.NextMade;
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
  { Searched from the end, because a new deadline is mostly a late one. }
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
