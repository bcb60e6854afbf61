{ The scheduler: on each core one thread runs until it gives way.

  Everything about a thread belongs to the core that it was created on and is changed
  by that core alone; see ThreadRequests for what others want of it. A blocked thread
  is in no queue of the core, but for the sleepers. Who wakes it need not know whether
  it has blocked yet: a thread woken before it blocks does not block. So waking may
  come late and for nothing; whoever blocks looks again at what it is waiting for. }
unit Scheduling;

{$mode objfpc}
{$asmmode intel}

interface

uses CoreThreads;

{ Makes this core's first context, on the stack it started on, a thread. }
procedure StartScheduler(out First: TThread);

{ Lets the other threads of this core run that are ready. }
procedure Yield;

{ Stops the current thread until it is woken, or the TSC is at Deadline (0: never).
  May return early. }
procedure Block(Deadline: QWord);

{ Ends the current thread if it was killed, stops it while it is suspended. What a
  thread calls after it has given way. }
procedure Checkpoint;

{ Ends the running of the current thread for good. It stays Dead until the core has
  left its stack. }
procedure LeaveForever; noreturn;

{ What a thread does first when it runs for the first time. }
procedure AfterSwitch(CPU: PCPU);

{ Waits for an interrupt of this core; returns at once when it is pending. }
procedure WaitForInterrupt(Vector: Byte);

{ Halts the core until an interrupt comes, unless a thread is ready or due. }
procedure Idle(CPU: PCPU);

var
  { Takes back what a thread had that left for ever. }
  ThreadIsOver: procedure(Thread: PThread);
  { Serve the devices of this core. Called only where it has some. }
  PollDevices: procedure(CPU: PCPU);
  { Makes them send interrupts for what comes next; False when something is there already. }
  ArmDevices: function(CPU: PCPU): Boolean;
  { The VMM has asked for an end, and this core has nothing better to do. }
  ShutdownAsked: procedure;

implementation

uses Arch, BootInfo, CoreHeaps, CoreTimer, ThreadRequests;

const
  { Less than this is not worth setting the timer and halting: microseconds. }
  SHORT_WAIT = 30;
  { How long a core looks for requests and devices before it halts: about as long as it takes to
    halt and to be woken. }
  LINGER_TIME = 20;

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
  Thread^.Waiting := True; { until the interrupt comes }
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

{ ---- Switching ---- }

{ Wakes whom requests, deadlines or interrupts wake. }
procedure Poll(CPU: PCPU);
begin
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

procedure LookForShutdown; inline;
begin
  if TakePending(TheBootInfo^.ShutdownVector) then
    ShutdownAsked();
end;

{ Waits a little for another core or a device, with an eye on this one's interrupts. }
procedure Linger(CPU: PCPU);
var
  Start: QWord;
begin
  Start := read_rdtsc;
  while (CPU^.Inbox = nil) and (CPU^.FirstReady = nil) and not AnythingPending and
        (read_rdtsc - Start < TicksOfMicro(LINGER_TIME)) do
  begin
    NOP;
    if CPU^.Devices <> nil then
      PollDevices(CPU);
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
  Inc(CPU^.Halts);
  Inc(CPU^.HaltedTicks, read_rdtsc - Start);
end;

procedure Idle(CPU: PCPU);
begin
  { From here on a request brings an interrupt. The exchange is a fence: a request
    that came without one is seen below. }
  InterlockedExchange(CPU^.Halting, 1);
  { What is pending is taken before the queues are looked at: what comes later keeps
    the core from halting. }
  CollectPending;
  if TakePending(TIMER_IRQ) then
    TimerCame(CPU^.Timer);
  LookForShutdown;
  TidyHeap;
  Poll(CPU);
  if (CPU^.FirstReady = nil) and ((CPU^.Devices = nil) or ArmDevices(CPU)) then
  begin
    if CPU^.FirstSleeper = nil then
      HaltCore(CPU)
    else if Int64(CPU^.FirstSleeper^.Deadline - read_rdtsc) > Int64(TicksOfMicro(SHORT_WAIT)) then
    begin
      SetTimer(CPU^.Timer, CPU^.FirstSleeper^.Deadline);
      HaltCore(CPU);
    end;
  end;
  CPU^.Halting := 0;
end;

{ Saves the state that a called function must preserve, the floating-point control
  registers with it, and takes up that of another thread. }
procedure SwitchStack(var Save: Pointer; Load: Pointer); assembler; nostackframe;
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

{ Runs the next ready thread, waiting for one; returns when the current thread is it. }
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
    SwitchStack(Thread^.StackPointer, Next^.StackPointer);
    AfterSwitch(CPU);
  end;
end;

procedure Yield;
var
  CPU: PCPU;
begin
  CPU := GetCPU;
  { Whoever has become ready by now comes first. }
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
  CPU := GetCPU;
  First := Default(TThread);
  First.CPU := CPU;
  First.ThreadID := TThreadID(@First);
  First.State := tsRunning;
  First.StackLow := StackGuard(ThisCore) + GUARD_SIZE;
  First.StackHigh := StackTop(ThisCore);
  First.StackSize := First.StackHigh - First.StackLow;
  CPU^.ApicID := GetCoreId;
  CPU^.CurrentThread := @First;
end;

end.
