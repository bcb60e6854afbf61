{ What a thaw changes. The VMM can freeze a machine in a file, and thaw it from there any number
  of times, at any time and on any host. A thawed machine goes on where it was frozen, and learns
  of that at its next scheduling point on core 0. Then

    - the clock is right (Arch), and sleeps that were under way go on;
    - Random draws from a new seed, even if the program had set RandSeed;
    - connections of sockets are over, as after a reset by the peer; listening sockets listen
      (Network);
    - open files are opened again, by their paths, when they are used next (Filesystem);

  and the subscribers are called: for whatever else must not be the same in two machines. }
unit Thaw;

{$mode objfpc}

interface

{ Has Subscriber called after each thaw, on core 0 and in a thread of the kernel's, after those
  that subscribed earlier. It may block; it is not called again before it has returned. False: no
  memory. }
function SubscribeToThaw(Subscriber: TProcedure): Boolean;

type
  { For drivers: their part in it. }
  PRenewal = ^TRenewal;
  TRenewal = record
    Renew: TProcedure; { called on core 0, before the subscribers; must not yield }
    Next: PRenewal;
  end;

procedure RegisterRenewal(var Renewal: TRenewal);

{ For the kernel: waits until all this has been done for the thaw that has just happened. In a
  subscriber it does not wait for the subscribers. }
procedure AwaitRenewal;

implementation

uses Arch, BootInfo, CoreThreads, Memory, randomseed, Scheduling, ThreadLife, ThreadRequests, WaitQueues;

const
  STACK = 65536;

type
  PSubscription = ^TSubscription;
  TSubscription = record
    Subscriber: TProcedure;
    Next: PSubscription;
  end;

var
  Renewals: PRenewal;
  Renewed: QWord;      { generation (TBootInfo) for which the kernel has done its part }
  Told: QWord;         { and the subscribers theirs }
  Awaiting: TWaitQueue;
  Lock: LongInt;       { of the two following }
  Subscriptions: PSubscription;
  Caller: TThreadID;   { the thread that calls the subscribers; 0: there are none }

procedure RegisterRenewal(var Renewal: TRenewal);
begin
  Renewal.Next := Renewals;
  Renewals := @Renewal;
end;

procedure FinishRenewal(Generation: QWord);
begin
  Told := Generation;
  WakeAll(Awaiting);
end;

procedure RenewKernel;
var
  Each: PRenewal;
  I: LongInt;
begin
  RenewClock;
  SeedRandom;
  Each := Renewals;
  while Each <> nil do
  begin
    Each^.Renew();
    Each := Each^.Next;
  end;
  { They set their timers again before they halt (CoreTimer). }
  for I := 1 to CPU_COUNT - 1 do
    send_apic_int(I, INTER_CORE_IRQ);
  Renewed := TheBootInfo^.Generation;
  if Caller = 0 then
    FinishRenewal(Renewed)
  else
    WakeThread(Caller);
end;

function CallSubscribers(Parameter: Pointer): PtrInt;
var
  Generation: QWord;
  Each: PSubscription;
begin
  Result := 0;
  repeat
    Generation := Renewed;
    if Told = Generation then
      Block(0)
    else
    begin
      Each := Subscriptions;
      while Each <> nil do
      begin
        Each^.Subscriber();
        Each := Each^.Next;
      end;
      FinishRenewal(Generation);
    end;
  until False;
end;

function SubscribeToThaw(Subscriber: TProcedure): Boolean;
var
  Subscription: PSubscription;
  Link: ^PSubscription;
begin
  Subscription := ToroAllocMem(SizeOf(TSubscription));
  if Subscription = nil then
    Exit(False);
  Subscription^.Subscriber := Subscriber;
  AcquireLock(Lock);
  if Caller = 0 then
    Caller := CreateThread(@CallSubscribers, nil, STACK, 0);
  Result := Caller <> 0;
  if Result then
  begin
    Link := @Subscriptions;
    while Link^ <> nil do
      Link := @Link^^.Next;
    Link^ := Subscription;
  end;
  ReleaseLock(Lock);
  if not Result then
    ToroFreeMem(Subscription);
end;

function IsUnderWay(Data: Pointer): Boolean;
begin
  Result := Told <> TheBootInfo^.Generation;
end;

procedure AwaitRenewal;
begin
  if GetCurrentThread^.ThreadID = Caller then
    while Renewed <> TheBootInfo^.Generation do
      Yield
  else
    while IsUnderWay(nil) do
      BlockIf(@IsUnderWay, nil, Awaiting);
end;

initialization
  Thawed := @RenewKernel;
end.
