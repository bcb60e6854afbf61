{ The scheduler. It is cooperative: a core runs one thread until that one yields or blocks.

  A thread's record is changed only by the core on which the thread was created. Other cores
  send requests (ThreadRequests). So the queues of a core need no locks, and a switch is a plain
  call.

  Blocking and waking follow one rule: a wake-up is never lost, but may be spurious. A thread
  that is woken before it has blocked keeps a permit, and its next Block returns at once. So the
  code that wakes need not know whether the thread has blocked yet; and code that blocks must
  check its condition again afterwards, in a loop.

  Interrupts do not run any of this code. They set bits that Poll looks at, whenever a thread
  yields or blocks. Before a core halts it announces so in Halting, then looks at everything
  once more; what comes later raises an interrupt, and with that pending the nucleus does not
  halt. }
unit Scheduling;

{$mode objfpc}
{$asmmode intel}

interface

uses CoreThreads;

{ Turns the code that runs on the core's first stack into a thread. }
procedure StartScheduler(out First: TThread);

{ Lets the other ready threads of this core run. }
procedure Yield;

{ Blocks the current thread until it is woken, or the TSC reaches Deadline (0: no deadline). May
  return early. }
procedure Block(Deadline: QWord);

{ Ends the current thread if it was killed, and blocks it while it is suspended. To be called
  after the thread has yielded or blocked. }
procedure Checkpoint;

{ Leaves the current thread for good. It is Dead until the core has left its stack. }
procedure LeaveForever; noreturn;

{ To be called first on the stack of a new thread. }
procedure AfterSwitch(CPU: PCPU);

{ Blocks the thread until an interrupt of this vector has arrived on this core. }
procedure WaitForInterrupt(Vector: Byte);

{ Halts the core until an interrupt, unless a thread is ready, or about to be. }
procedure Idle(CPU: PCPU);

var
  { Frees what a thread had that has ended. }
  ThreadIsOver: procedure(Thread: PThread);
  { Serves the devices of this core; called only if it has some. }
  PollDevices: procedure(CPU: PCPU);
  { Makes the devices interrupt for what they use next, and updates DevicesDue. False: they have
    used something already. }
  ArmDevices: function(CPU: PCPU): Boolean;
  { Called when the VMM has asked for the program's end and this core is idle. }
  ShutdownAsked: procedure;
  { Called on core 0 after a thaw. Must not yield. }
  Thawed: procedure;
  { Called before the machine ends: waits until what the program has sent has arrived. }
  DrainNetwork: procedure;

implementation

uses Arch, BootInfo, CoreHeaps, CoreTimer, ThreadRequests;

const
  { A sleep shorter than this is not worth a halt: microseconds. }
  SHORT_WAIT = 30;
  { For how long an idle core polls before it halts: microseconds. The time grows while halts are so
    short that polling would have saved them, up to what a halt and the wake-up take where ring 0 is
    interpreted, and is short again after a longer one, or when the host has taken the CPU away
    meanwhile: then others need it. Two cores that wait for each other and both halt make each other's
    halts long, by two wake-ups. A core that has had many threads to run, and whose last halt was long,
    halts at once: it has answered all its clients, and they ask again together (pyvmm/native/vsock/round.c). }
  LINGER_LEAST = 20;
  LINGER_MOST = 100;
  SHORT_HALT = LINGER_LEAST + LINGER_MOST;
  SHORT_HALT_OF_CORES = 400;
  MANY_THREADS = 8;
  TAKEN_AWAY = 100;
  BUSY_TIME = 20000;

{ ---- Interrupts ---- }

procedure WakeWaiting(CPU: PCPU);
var
  Thread: PThread;
begin
  Thread := CPU^.FirstWaiting;
  while Thread <> nil do
  begin
    if Thread^.Waiting and IsPending(Thread^.Vector) then
    begin
      Thread^.Waiting := False;
      WakeHere(CPU, Thread);
    end;
    Thread := Thread^.NextWaiting;
  end;
end;

procedure WaitForInterrupt(Vector: Byte);
var
  Thread: PThread;
  Link: ^PThread;
begin
  if TakePending(Vector) then
    Exit;
  Thread := GetCurrentThread;
  Thread^.Vector := Vector;
  Thread^.Waiting := True; { until the interrupt arrives }
  Thread^.NextWaiting := Thread^.CPU^.FirstWaiting;
  Thread^.CPU^.FirstWaiting := Thread;
  repeat
    Block(0);
  until not Thread^.Waiting or Thread^.Killed;
  TakePending(Vector);
  Link := @Thread^.CPU^.FirstWaiting;
  while Link^ <> Thread do
    Link := @Link^^.NextWaiting;
  Link^ := Thread^.NextWaiting;
end;

{ ---- What the VMM asks and tells ---- }

var
  Generation: QWord; { of the machine, as far as noticed }

procedure LookForShutdown; inline;
begin
  if TakePending(TheBootInfo^.ShutdownVector) then
    ShutdownAsked();
end;

{ The VMM has changed the boot-info block before this machine ran again; the interrupt only wakes
  core 0. }
procedure NoticeThaw;
begin
  Generation := TheBootInfo^.Generation;
  TakePending(TheBootInfo^.GenerationVector);
  Thawed();
end;

{ ---- Switching ---- }

{ Takes what has happened: a thaw, captured interrupts, requests, deadlines, devices. }
procedure Poll(CPU: PCPU);
begin
  if (TheBootInfo^.Generation <> Generation) and (CPU^.ApicID = 0) then
    NoticeThaw;
  CallHandlers;
  if CPU^.Inbox <> nil then
    ServeRequests;
  while (CPU^.FirstSleeper <> nil) and (read_rdtsc >= CPU^.FirstSleeper^.Deadline) do
    WakeHere(CPU, CPU^.FirstSleeper);
  if CPU^.FirstWaiting <> nil then
    WakeWaiting(CPU);
  if CPU^.Devices <> nil then
    PollDevices(CPU);
end;

{ Polls for a short time for requests, devices and interrupts. }
procedure Linger(CPU: PCPU);
var
  Start, Last, Now, Gap, Ran: QWord;
begin
  Ran := CPU^.Switches - CPU^.SwitchesBefore;
  CPU^.SwitchesBefore := CPU^.Switches;
  if (Ran >= MANY_THREADS) and (CPU^.LingerTime <= TicksOfMicro(LINGER_LEAST)) then
    Exit;
  Start := read_rdtsc;
  Now := Start;
  Gap := TicksOfMicro(TAKEN_AWAY);
  if CPU^.LingerTime = 0 then
    CPU^.LingerTime := TicksOfMicro(LINGER_LEAST);
  while (CPU^.Inbox = nil) and (CPU^.FirstReady = nil) and not AnythingPending and (Now - Start < CPU^.LingerTime) do
  begin
    NOP;
    if CPU^.Devices <> nil then
      PollDevices(CPU);
    Last := Now;
    Now := read_rdtsc;
    if (Now - Last > Gap) and (CPU^.FirstReady = nil) then
    begin
      CPU^.LingerTime := TicksOfMicro(LINGER_LEAST);
      CPU^.BusyUntil := Now + TicksOfMicro(BUSY_TIME);
    end;
  end;
end;

{ Lets the core poll longer next time if it has halted for a short time. }
procedure AdaptLinger(CPU: PCPU; Halted: QWord);
var
  Short: LongInt;
begin
  Short := SHORT_HALT;
  if CPU_COUNT > 1 then
    Short := SHORT_HALT_OF_CORES;
  if Halted > TicksOfMicro(Short) then
    CPU^.LingerTime := TicksOfMicro(LINGER_LEAST)
  else if CPU^.LastIrq > CPU^.BusyUntil then
  begin
    CPU^.LingerTime := 2 * CPU^.LingerTime;
    if CPU^.LingerTime > TicksOfMicro(LINGER_MOST) then
      CPU^.LingerTime := TicksOfMicro(LINGER_MOST);
  end;
end;

procedure HaltCore(CPU: PCPU);
var
  Start: QWord;
begin
  Start := read_rdtsc;
  LendHeap;
  hlt;
  ReclaimHeap;
  CPU^.LastIrq := read_rdtsc;
  Inc(CPU^.Halts);
  Inc(CPU^.HaltedTicks, CPU^.LastIrq - Start);
  AdaptLinger(CPU, CPU^.LastIrq - Start);
end;

{ The TSC at which a thread or a device of this core is due; 0: never. }
function NextDeadline(CPU: PCPU): QWord;
begin
  Result := 0;
  if CPU^.Devices <> nil then
    Result := CPU^.DevicesDue;
  if (CPU^.FirstSleeper <> nil) and ((Result = 0) or (CPU^.FirstSleeper^.Deadline < Result)) then
    Result := CPU^.FirstSleeper^.Deadline;
end;

procedure Idle(CPU: PCPU);
var
  Deadline: QWord;
begin
  { From here on, a request raises an interrupt. The exchange is a full barrier: a request that
    was made without one is seen below. }
  InterlockedExchange(CPU^.Halting, 1);
  { Takes pending interrupts before looking at the queues. One that arrives later keeps the core
    from halting. }
  CollectPending;
  if TakePending(TIMER_IRQ) then
    TimerCame(CPU^.Timer);
  LookForShutdown;
  TidyHeap;
  Poll(CPU);
  if (CPU^.FirstReady = nil) and ((CPU^.Devices = nil) or ArmDevices(CPU)) then
  begin
    Deadline := NextDeadline(CPU);
    if Deadline = 0 then
      HaltCore(CPU)
    else if Int64(Deadline - read_rdtsc) > Int64(TicksOfMicro(SHORT_WAIT)) then
    begin
      SetTimer(CPU^.Timer, Deadline);
      HaltCore(CPU);
    end;
  end;
  CPU^.Halting := 0;
end;

{ Saves the registers that a callee must preserve, with MXCSR and the x87 control word; switches
  stacks; and restores those of the other thread. }
procedure SwitchThread(var Save: Pointer; Load: Pointer); assembler; nostackframe;
asm
  push rbp
  push rbx
  push r12
  push r13
  push r14
  push r15
  sub rsp, 8
  stmxcsr [rsp]
  fnstcw [rsp + 4]
  mov [rdi], rsp
  mov rsp, rsi
  ldmxcsr [rsp]
  fldcw [rsp + 4]
  add rsp, 8
  pop r15
  pop r14
  pop r13
  pop r12
  pop rbx
  pop rbp
end;

procedure AfterSwitch(CPU: PCPU);
var
  Thread: PThread;
begin
  Thread := CPU^.Dead;
  if Thread <> nil then
  begin
    CPU^.Dead := nil;
    ThreadIsOver(Thread);
  end;
end;

{ Runs the next ready thread, after waiting for one if necessary. Returns when the current
  thread runs again. }
procedure Schedule;
var
  CPU: PCPU;
  Thread, Next: PThread;
begin
  CPU := GetCPU;
  Thread := CPU^.CurrentThread;
  if (CPU^.FirstReady = nil) and ((CPU_COUNT > 1) or (CPU^.Devices <> nil)) then
  begin
    Linger(CPU);
    Poll(CPU);
  end;
  while CPU^.FirstReady = nil do
    Idle(CPU);
  Next := TakeReady(CPU);
  Next^.State := tsRunning;
  if Next <> Thread then
  begin
    CPU^.CurrentThread := Next;
    CPU^.ThreadVars := Next^.TLS;
    Inc(CPU^.Switches);
    SwitchThread(Thread^.StackPointer, Next^.StackPointer);
    AfterSwitch(CPU);
  end;
end;

procedure Yield;
var
  CPU: PCPU;
begin
  CPU := GetCPU;
  { Threads that have become ready by now come first. }
  Poll(CPU);
  if CPU^.FirstReady <> nil then
  begin
    Append(CPU, CPU^.CurrentThread);
    Schedule;
  end
  else
    LookForShutdown;
end;

procedure Block(Deadline: QWord);
var
  CPU: PCPU;
begin
  CPU := GetCPU;
  Poll(CPU);
  with CPU^.CurrentThread^ do
  begin
    if Permit then
    begin
      Permit := False;
      Exit;
    end;
    State := tsBlocked;
  end;
  if Deadline <> 0 then
    AddSleeper(CPU, CPU^.CurrentThread, Deadline);
  Schedule;
end;

procedure Checkpoint;
begin
  with GetCurrentThread^ do
  begin
    while Suspended and not Killed do
      Block(0);
    if Killed then
      EndThread(0);
  end;
end;

procedure LeaveForever;
var
  CPU: PCPU;
begin
  CPU := GetCPU;
  CPU^.CurrentThread^.State := tsDead;
  CPU^.Dead := CPU^.CurrentThread;
  Schedule;
end;

procedure StartScheduler(out First: TThread);
var
  CPU: PCPU;
begin
  StartCore(ThisCore^.Index);
  CPU := GetCPU;
  First := Default(TThread);
  First.CPU := CPU;
  First.ThreadID := TThreadID(@First);
  First.State := tsRunning;
  First.StackLow := StackGuard(ThisCore) + GUARD_SIZE;
  First.StackHigh := StackTop(ThisCore);
  First.StackSize := First.StackHigh - First.StackLow;
  CPU^.CurrentThread := @First;
  Enlist(@First);
end;

end.
