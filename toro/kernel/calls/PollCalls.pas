{ System calls that wait for several descriptors: poll and select. }
unit PollCalls;

{$mode objfpc}

interface

uses Descriptors, SystemCalls;

type
  PPoll = ^TPoll;
  TPoll = record
    Descriptor: LongInt;
    Events, Returned: SmallInt;
  end;

  PSet = ^TSet;
  TSet = array[0..15] of QWord; { fd_set: a bit a descriptor }

  PTimeval = ^TTimeval;
  TTimeval = record
    Seconds, Micro: Int64;
  end;

var
  { The kind of descriptions of whose changes AnyChange tells; at others it is looked now and then. }
  Telling: PKind;

{ Waits until something has happened that is asked for, or Time is over: ms; negative: without
  end. Returns how many descriptors something has happened to. }
function Poll(Polls: PPoll; Count: PtrInt; Time: Int64): PtrInt;
function Select(Most: PtrInt; Readers, Writers, Others: PSet; Time: PTimeval): PtrInt;

implementation

uses Arch, CoreThreads, Scheduling, StreamSockets, WaitQueues;

const
  CONSOLE_TIME = 20;   { ms between two looks at the console's input }
  SET_BITS = 64;

{ Sets what has happened. Returns how many descriptors something happened to; Console: the
  console's input is waited for. }
function Look(Polls: PPoll; Count: PtrInt; out HasConsole: Boolean): PtrInt;
var
  Description: PDescription;
  I: PtrInt;
begin
  Result := 0;
  HasConsole := False;
  for I := 0 to Count - 1 do
  begin
    Polls[I].Returned := 0;
    if Polls[I].Descriptor < 0 then
      Continue;
    Description := Acquire(Polls[I].Descriptor);
    if Description = nil then
      Polls[I].Returned := POLLERR
    else
    begin
      Polls[I].Returned := Description^.Kind^.Ready(Description) and (Polls[I].Events or POLLERR or POLLHUP);
      HasConsole := HasConsole or (Description^.Kind <> Telling);
      Release(Description);
    end;
    if Polls[I].Returned <> 0 then
      Inc(Result);
  end;
end;

function Poll(Polls: PPoll; Count: PtrInt; Time: Int64): PtrInt;
var
  Waiter: TWaiter;
  HasConsole: Boolean;
  Deadline, Until_: QWord;
begin
  Deadline := 0;
  if Time >= 0 then
    Deadline := read_rdtsc + TicksOf(Time) + 1;
  repeat
    LockQueue(AnyChange);
    JoinQueue(AnyChange, Waiter);
    UnlockQueue(AnyChange);
    Result := Look(Polls, Count, HasConsole);
    if (Result > 0) or (Time = 0) or ((Deadline <> 0) and (read_rdtsc >= Deadline)) then
    begin
      LockQueue(AnyChange);
      if not Waiter.Woken then
        LeaveQueue(AnyChange, Waiter);
      UnlockQueue(AnyChange);
      if Time = 0 then
        Yield; { or a program that only polls would stop all others }
      Exit;
    end;
    Until_ := Deadline;
    if HasConsole and ((Deadline = 0) or (Deadline > read_rdtsc + TicksOf(CONSOLE_TIME))) then
      Until_ := read_rdtsc + TicksOf(CONSOLE_TIME);
    WaitInQueue(AnyChange, Waiter, Until_);
    Checkpoint;
  until False;
end;

function HasBit(TheSet: PSet; I: PtrInt): Boolean;
begin
  Result := (TheSet <> nil) and (TheSet^[I div SET_BITS] and (QWord(1) shl (I mod SET_BITS)) <> 0);
end;

{ Clears a bit unless Stays; returns 1 if it stays. }
function KeepBit(TheSet: PSet; I: PtrInt; Stays: Boolean): PtrInt;
begin
  Result := 0;
  if not HasBit(TheSet, I) then
    Exit;
  if Stays then
    Result := 1
  else
    TheSet^[I div SET_BITS] := TheSet^[I div SET_BITS] and not (QWord(1) shl (I mod SET_BITS));
end;

function Select(Most: PtrInt; Readers, Writers, Others: PSet; Time: PTimeval): PtrInt;
var
  Polls: array[0..SizeOf(TSet) * 8 - 1] of TPoll;
  I, Count: PtrInt;
  Milliseconds: Int64;
begin
  if (Most < 0) or (Most > Length(Polls)) then
    Exit(-EINVAL);
  Count := 0;
  for I := 0 to Most - 1 do
  begin
    Polls[Count].Events := 0;
    if HasBit(Readers, I) then
      Polls[Count].Events := POLLIN;
    if HasBit(Writers, I) then
      Polls[Count].Events := Polls[Count].Events or POLLOUT;
    Polls[Count].Descriptor := I;
    if (Polls[Count].Events <> 0) or HasBit(Others, I) then
      Inc(Count);
  end;
  Milliseconds := -1;
  if Time <> nil then
    Milliseconds := Time^.Seconds * 1000 + (Time^.Micro + 999) div 1000;
  Poll(@Polls, Count, Milliseconds);
  Result := 0;
  for I := 0 to Count - 1 do
    with Polls[I] do
    begin
      if Returned and POLLERR <> 0 then
        Exit(-EBADF);
      Inc(Result, KeepBit(Readers, Descriptor, Returned and (POLLIN or POLLHUP) <> 0));
      Inc(Result, KeepBit(Writers, Descriptor, Returned and POLLOUT <> 0));
      KeepBit(Others, Descriptor, False);
    end;
end;

end.
