{ A log for debugging: messages stay in a ring buffer in memory until DumpDebugRing. In a program
  built with `-d EnableDebug` they are also dumped when the machine ends, in whatever way. }
unit Debug;

{$mode objfpc}

interface

uses Console;

{ Adds a message (see WriteConsoleF) with the time, the core and the thread. When the ring is
  full, the oldest text is overwritten. }
procedure WriteDebug(const Format: AnsiString; const Args: array of PtrUInt);

{ Writes the log to virtio-console, or to the console if there is no such device, and empties
  it. }
procedure DumpDebugRing;

{ Replaces the ring by NewSize bytes at Base; the log is carried over. }
procedure SetDebugRing(Base: PChar; NewSize: LongInt);

var
  { The destination of DumpDebugRing. }
  DebugOutput: TWriter = @WriteConsole;

implementation

uses Arch, CoreThreads;

var
  FirstRing: array[0..4095] of Char;
  Ring: PChar = @FirstRing;
  Size: PtrUInt = SizeOf(FirstRing);
  Written: QWord; { characters in all; the last Size of them are in the ring }
  Dumped: QWord;  { characters that were dumped, or lost }
  Lock: LongInt;

procedure Keep(Data: PChar; Count: PtrInt);
var
  I: PtrInt;
begin
  for I := 0 to Count - 1 do
    Ring[(Written + I) mod Size] := Data[I];
  Inc(Written, Count);
end;

procedure WriteDebug(const Format: AnsiString; const Args: array of PtrUInt);
var
  Time: TNow;
begin
  Now(@Time);
  AcquireLock(Lock);
  with Time do
    WriteFormat(@Keep, '[%d-%d-%d %d:%d:%d] CPU%d Thread#%h ',
      [Year, Month, Day, Hour, Min, Sec, GetCoreId, GetCurrentThread^.ThreadID]);
  WriteFormat(@Keep, Format, Args);
  ReleaseLock(Lock);
end;

{ Writes the log; the lock is held. }
procedure Dump;
var
  Start: PtrUInt;
  Count: QWord;
begin
  if Written - Dumped > Size then
    Dumped := Written - Size;
  while Dumped < Written do
  begin
    Start := Dumped mod Size;
    Count := Size - Start;
    if Count > Written - Dumped then
      Count := Written - Dumped;
    DebugOutput(Ring + Start, Count);
    Inc(Dumped, Count);
  end;
end;

procedure DumpDebugRing;
begin
  AcquireLock(Lock);
  Dump;
  ReleaseLock(Lock);
end;

{$ifdef EnableDebug}
{ At the end of the machine, maybe because WriteDebug has failed: nobody releases the lock then. }
procedure DumpAtEnd;
const
  PATIENCE = 1000; { ms }
var
  Deadline: QWord;
begin
  BeforePowerOff := nil;
  Deadline := read_rdtsc + TicksOf(PATIENCE);
  while (InterlockedExchange(Lock, 1) <> 0) and (read_rdtsc < Deadline) do
    NOP;
  HeadLess := False;
  Dump;
  FlushConsole;
end;
{$endif}

procedure SetDebugRing(Base: PChar; NewSize: LongInt);
var
  Old: PChar;
  OldSize, At, Stop: QWord;
begin
  if NewSize < 1 then
    Exit;
  AcquireLock(Lock);
  Old := Ring;
  OldSize := Size;
  Ring := Base;
  Size := NewSize;
  Stop := Written;
  At := Dumped;
  if Stop - At > OldSize then
    At := Stop - OldSize;
  if Stop - At > Size then
    At := Stop - Size;
  while At < Stop do
  begin
    Ring[At mod Size] := Old[At mod OldSize];
    Inc(At);
  end;
  ReleaseLock(Lock);
end;

{$ifdef EnableDebug}
initialization
  BeforePowerOff := @DumpAtEnd;
{$endif}
end.
