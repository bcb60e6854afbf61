{ The first port of the virtio-console device (virtio 1.2, section 5.3). All cores can use it.
  Without the device nothing is sent or received. }
unit VirtIOConsole;

{$mode objfpc}

interface

uses Network;

type
  PPacket = Network.PPacket;
  TPacket = Network.TPacket;

{ Sends Packet^.Size bytes at Packet^.Data; blocks until the device has room for all. The data
  may be changed afterwards. }
procedure virtIOConsoleSend(Packet: PPacket);

{ Receives len bytes to buff; blocks until they have arrived. Returns how many bytes: fewer than
  len if the device is missing or broken. }
function virtIOConsoleRead(buff: PChar; len: LongInt): LongInt;

{ Reserves the device for a debugger. From now on its core's scheduler calls Input when data
  have arrived. False: there is no device. }
function DedicateConsole(Input: TProcedure): Boolean;

{ For the debugger, which calls these on one core at a time. Whether there is something to
  read. }
function InputWaits: Boolean;

{ ReadNow reads up to Count bytes that have arrived. SendNow sends Count bytes and waits until
  the device has taken them. }
function ReadNow(Data: PChar; Count: LongInt): LongInt;
procedure SendNow(Data: PChar; Count: LongInt);

{ The device's interrupt vector, and enabling the interrupt for the next input. }
function ConsoleInterrupt: Byte;
procedure WantConsoleInterrupt;

implementation

uses Arch, Console, CoreThreads, Debug, Memory, VirtIODevices, VirtIOPolling, VirtQueues, WaitQueues;

const
  RX = 0;
  TX = 1;
  BUFFERS = 16;        { in each queue }
  BUFFER_SIZE = 1024;

type
  PBuffer = ^TBuffer;
  TBuffer = record
    Next: PBuffer;     { in the list of free or of received buffers }
    Start, Stop: LongWord; { range of the unread data }
    Data: array[0..BUFFER_SIZE - 1] of Char;
  end;

var
  Device: PVirtIODevice; { nil: there is none }
  Lock: LongInt;
  Free: PBuffer;                   { buffers for sending }
  Received, LastReceived: PBuffer; { in order of arrival }
  Room, Input: TWaitQueue;
  Debugger: TProcedure;
  GivenUp: Boolean;

function OfferBuffer(Queue: LongInt; Buffer: PBuffer; Size: LongWord): Boolean;
begin
  Result := Offer(Device^.Queues[Queue], [MakeBuffer(@Buffer^.Data, Size)], Ord(Queue = TX), Buffer);
end;

function Broken: Boolean;
begin
  Result := Device^.Broken or Device^.Queues[RX].Broken or Device^.Queues[TX].Broken;
end;

{ ---- With the lock, or by the debugger alone ---- }

{ Takes back sent buffers, and received ones. }
procedure Collect;
var
  Buffer: PBuffer;
  Written: LongWord;
begin
  repeat
    Buffer := TakeUsed(Device^.Queues[TX], Written);
    if Buffer = nil then
      Break;
    Buffer^.Next := Free;
    Free := Buffer;
  until False;
  repeat
    Buffer := TakeUsed(Device^.Queues[RX], Written);
    if Buffer = nil then
      Break;
    if Written > BUFFER_SIZE then
      Written := BUFFER_SIZE;
    Buffer^.Next := nil;
    Buffer^.Start := 0;
    Buffer^.Stop := Written;
    if Received = nil then
      Received := Buffer
    else
      LastReceived^.Next := Buffer;
    LastReceived := Buffer;
  until False;
  if Broken and not GivenUp then
  begin
    GivenUp := True;
    GiveUp(Device, 'virtio-console');
  end;
end;

{ Sends as much of the data as the free buffers hold. }
function SendSome(Data: PChar; Count: LongInt): LongInt;
var
  Buffer: PBuffer;
  Part: LongInt;
begin
  Collect;
  Result := 0;
  while (Result < Count) and (Free <> nil) do
  begin
    Buffer := Free;
    Part := Count - Result;
    if Part > BUFFER_SIZE then
      Part := BUFFER_SIZE;
    Move(Data[Result], Buffer^.Data, Part);
    Free := Buffer^.Next;
    if not OfferBuffer(TX, Buffer, Part) then
      Break;
    Inc(Result, Part);
  end;
  NotifyDevice(Device^.Queues[TX]);
end;

function ReadSome(Data: PChar; Count: LongInt): LongInt;
var
  Buffer: PBuffer;
  Part: LongInt;
begin
  Collect;
  Result := 0;
  while (Result < Count) and (Received <> nil) do
  begin
    Buffer := Received;
    Part := Buffer^.Stop - Buffer^.Start;
    if Part > Count - Result then
      Part := Count - Result;
    Move(Buffer^.Data[Buffer^.Start], Data[Result], Part);
    Inc(Result, Part);
    Inc(Buffer^.Start, Part);
    if Buffer^.Start = Buffer^.Stop then
    begin
      Received := Buffer^.Next;
      OfferBuffer(RX, Buffer, BUFFER_SIZE);
    end;
  end;
  NotifyDevice(Device^.Queues[RX]);
end;

{ ---- By threads ---- }

function NoRoom(Data: Pointer): Boolean;
begin
  AcquireLock(Lock);
  Collect;
  Result := (Free = nil) and not Broken;
  if Result then
    WantUsed(Device, TX);
  ReleaseLock(Lock);
end;

function NoInput(Data: Pointer): Boolean;
begin
  AcquireLock(Lock);
  Collect;
  Result := (Received = nil) and not Broken;
  ReleaseLock(Lock);
end;

procedure virtIOConsoleSend(Packet: PPacket);
var
  Sent: LongInt;
begin
  if (Device = nil) or Assigned(Debugger) then
    Exit;
  Sent := 0;
  while not Broken do
  begin
    AcquireLock(Lock);
    Inc(Sent, SendSome(PChar(Packet^.Data) + Sent, Packet^.Size - Sent));
    ReleaseLock(Lock);
    if Sent >= Packet^.Size then
      Break;
    WaitWhile(@NoRoom, nil, Room);
  end;
end;

function virtIOConsoleRead(buff: PChar; len: LongInt): LongInt;
begin
  Result := 0;
  if (Device = nil) or Assigned(Debugger) then
    Exit;
  while Result < len do
  begin
    AcquireLock(Lock);
    Inc(Result, ReadSome(buff + Result, len - Result));
    ReleaseLock(Lock);
    if (Result >= len) or Broken then
      Break;
    WaitWhile(@NoInput, nil, Input);
  end;
end;

procedure Serve(TheDevice: PVirtIODevice);
begin
  if Assigned(Debugger) then
  begin
    Debugger();
    Exit;
  end;
  AcquireLock(Lock);
  Collect;
  if Room.First = nil then
    Include(Device^.Quiet, TX);
  ReleaseLock(Lock);
  if (Free <> nil) or Broken then
    WakeAll(Room);
  if (Received <> nil) or Broken then
    WakeAll(Input);
end;

{ Waits until the device has taken everything; gives up a second after the last progress. }
procedure Drain;
var
  Before: Word;
  Last: QWord;
begin
  AcquireLock(Lock);
  Before := 0;
  Last := read_rdtsc;
  with Device^.Queues[TX] do
    while (FreeCount < Size) and not Broken and (read_rdtsc - Last < TicksOf(1000)) do
    begin
      if FreeCount <> Before then
        Last := read_rdtsc;
      Before := FreeCount;
      NOP;
      Collect;
    end;
  ReleaseLock(Lock);
end;

{ The destination of DumpDebugRing. That holds a lock, so this must not yield. }
procedure WriteDump(Data: PChar; Count: PtrInt);
var
  Sent: LongInt;
begin
  Sent := 0;
  while (Sent < Count) and not Broken do
  begin
    AcquireLock(Lock);
    Inc(Sent, SendSome(Data + Sent, Count - Sent));
    ReleaseLock(Lock);
    NOP;
  end;
  Drain; { the machine may end next }
end;

{ ---- By a debugger ---- }

function DedicateConsole(Input: TProcedure): Boolean;
begin
  Result := Device <> nil;
  if Result then
  begin
    Debugger := Input;
    DebugOutput := @WriteConsole;
  end;
end;

function InputWaits: Boolean;
begin
  Result := (Received <> nil) or HasUsed(Device^.Queues[RX]);
end;

function ReadNow(Data: PChar; Count: LongInt): LongInt;
begin
  Result := ReadSome(Data, Count);
end;

procedure SendNow(Data: PChar; Count: LongInt);
var
  Sent: LongInt;
begin
  Sent := 0;
  while (Sent < Count) and not Broken do
    Inc(Sent, SendSome(Data + Sent, Count - Sent));
  while (Device^.Queues[TX].FreeCount < Device^.Queues[TX].Size) and not Broken do
  begin
    NOP;
    Collect;
  end;
end;

function ConsoleInterrupt: Byte;
begin
  Result := Device^.Vector;
end;

procedure WantConsoleInterrupt;
begin
  WantInterrupt(Device^.Queues[RX]);
end;

{ ---- Start ---- }

procedure Start;
var
  I: LongInt;
  All: PBuffer;
begin
  Device := FindDevice(ID_CONSOLE);
  if Device = nil then
    Exit;
  All := ToroAllocMem(2 * BUFFERS * SizeOf(TBuffer));
  if (All = nil) or not StartDevice(Device, RING_FEATURES) or not AddQueue(Device, BUFFERS) or
     not AddQueue(Device, BUFFERS) then
  begin
    Device := nil;
    Exit;
  end;
  for I := 0 to Device^.Queues[RX].Size - 1 do
    OfferBuffer(RX, All + I, BUFFER_SIZE);
  for I := 0 to Device^.Queues[TX].Size - 1 do
  begin
    All[BUFFERS + I].Next := Free;
    Free := All + BUFFERS + I;
  end;
  Device^.Quiet := [TX];
  Device^.Serve := @Serve;
  RunDevice(Device);
  NotifyDevice(Device^.Queues[RX]);
  DebugOutput := @WriteDump;
end;

initialization
  Start;
finalization
  if Device <> nil then
    Drain;
end.
