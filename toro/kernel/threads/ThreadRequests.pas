{ Requests to threads of other cores. A request is a bit in the thread's record. Whoever sets
  the first bit pushes the thread on the inbox of its core, and sends an interrupt if that core
  may be halted. No locks are involved. The generation of a reused record differs, so a request
  by an old id is refused. }
unit ThreadRequests;

{$mode objfpc}

interface

uses CoreThreads;

const
  { Bits of a request }
  REQUEST_CREATE = 1;
  REQUEST_WAKE = 2;
  REQUEST_SUSPEND = 4;
  REQUEST_RESUME = 8;
  REQUEST_KILL = 16;
  REQUEST_BITS = 8;
  GENERATIONS = QWord(1) shl (64 - ID_ADDRESS_BITS);

{ Makes requests (REQUEST_*) for a thread of any core. False: it has ended. }
function Request(ThreadID: TThreadID; Bits: QWord): Boolean;

{ Wakes a thread of any core. Does nothing if it has ended, or the id is 0. }
procedure WakeThread(ThreadID: TThreadID);

{ Carries out the requests to this core's threads. }
procedure ServeRequests;

{ Makes all later requests to the current thread fail. }
procedure EndRequests;

implementation

uses Arch;

const
  REQUEST_MASK = 1 shl REQUEST_BITS - 1;

{ Replaces a thread's requests, provided that they are still Before. }
function Exchange(Thread: PThread; Before, After: QWord): Boolean; inline;
begin
  Result := QWord(InterlockedCompareExchange64(Int64(Thread^.Requests), Int64(After), Int64(Before))) = Before;
end;

procedure Push(Thread: PThread);
var
  First: PThread;
begin
  with Thread^.CPU^ do
  begin
    repeat
      First := Inbox;
      Thread^.NextRequested := First;
    until InterlockedCompareExchange(Pointer(Inbox), Thread, First) = First;
    { Only the first sender needs to interrupt the core. }
    if (Halting <> 0) and (InterlockedExchange(Halting, 0) <> 0) then
      send_apic_int(ApicID, INTER_CORE_IRQ);
  end;
end;

function Request(ThreadID: TThreadID; Bits: QWord): Boolean;
var
  Thread: PThread;
  Before: QWord;
begin
  Thread := ThreadAt(ThreadID);
  if Thread = nil then
    Exit(False);
  repeat
    Before := Thread^.Requests;
    if Before shr REQUEST_BITS <> ThreadID shr ID_ADDRESS_BITS then
      Exit(False);
  until Exchange(Thread, Before, Before or Bits);
  if Before and REQUEST_MASK = 0 then
    Push(Thread);
  Result := True;
end;

procedure Serve(CPU: PCPU; Thread: PThread; Bits: QWord);
begin
  if Bits and REQUEST_CREATE <> 0 then
    Append(CPU, Thread);
  if Bits and REQUEST_KILL <> 0 then
    Thread^.Killed := True;
  if Bits and REQUEST_SUSPEND <> 0 then
  begin
    Thread^.Suspended := not Thread^.Resumed;
    Thread^.Resumed := False;
  end;
  if Bits and REQUEST_RESUME <> 0 then
  begin
    Thread^.Resumed := not Thread^.Suspended;
    Thread^.Suspended := False;
  end;
  if Bits and not QWord(REQUEST_CREATE or REQUEST_SUSPEND) <> 0 then
    WakeHere(CPU, Thread);
end;

procedure ServeRequests;
var
  CPU: PCPU;
  Thread, Next, First: PThread;
  Before: QWord;
begin
  CPU := GetCPU;
  Thread := InterlockedExchange(Pointer(CPU^.Inbox), nil);
  First := nil;
  while Thread <> nil do
  begin
    Next := Thread^.NextRequested;
    Thread^.NextRequested := First;
    First := Thread;
    Thread := Next;
  end;
  while First <> nil do
  begin
    Thread := First;
    First := Thread^.NextRequested;
    { With its requests cleared, the thread can be pushed again. }
    repeat
      Before := Thread^.Requests;
    until Exchange(Thread, Before, Before and not QWord(REQUEST_MASK));
    Serve(CPU, Thread, Before and REQUEST_MASK);
  end;
end;

procedure WakeThread(ThreadID: TThreadID);
var
  Thread: PThread;
begin
  if ThreadID = 0 then
    Exit;
  Thread := ThreadAt(ThreadID);
  if Thread^.CPU <> GetCPU then
    Request(ThreadID, REQUEST_WAKE)
  else if Thread^.ThreadID = ThreadID then
    WakeHere(Thread^.CPU, Thread);
end;

procedure EndRequests;
var
  Thread: PThread;
  Generation: QWord;
begin
  Thread := GetCurrentThread;
  Generation := Thread^.ThreadID shr ID_ADDRESS_BITS;
  { Possible only without requests: a thread with some is in this core's inbox. }
  while not Exchange(Thread, Generation shl REQUEST_BITS, (Generation + 1) mod GENERATIONS shl REQUEST_BITS) do
    ServeRequests;
end;

end.
