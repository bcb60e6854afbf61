{ Packets between all pairs of cores: contents, order, full rings, and waiting. }
program Bus;

{$mode objfpc}

uses
  Checks, Arch, HeapCheck, Process, VirtIOBus;

const
  PACKETS = 3000; { for each ordered pair }
  PAYLOAD = VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE;

type
  PPacket = ^TPacket;
  TPacket = array[0..PAYLOAD - 1] of Byte;

var
  Wrong: LongInt;

function Lengths(Number: LongInt): LongInt;
begin
  case Number mod 7 of
    0: Result := PAYLOAD;
    1: Result := 4;
  else
    Result := 4 + Number * 37 mod (PAYLOAD - 4);
  end;
end;

procedure Make(out Packet: TPacket; Source, Number: LongInt);
begin
  FillChar(Packet, Lengths(Number), Byte(Source + Number));
  PLongInt(@Packet)^ := Number;
end;

procedure Verify(const Packet: TPacket; Source, Number: LongInt);
var
  Last: LongInt;
begin
  Last := Lengths(Number) - 1;
  if (PLongInt(@Packet)^ <> Number) or ((Last > 3) and (Packet[Last] <> Byte(Source + Number))) then
    InterlockedIncrement(Wrong);
end;

procedure Start(Work: TThreadFunc; Parameter: PtrInt; Core: LongInt; var IDs: array of TThreadID; var Count: LongInt);
begin
  BeginThread(nil, 32768, Work, Pointer(Parameter), Core, IDs[Count]);
  Inc(Count);
end;

procedure Join(const IDs: array of TThreadID; Count: LongInt);
var
  I: LongInt;
begin
  for I := 0 to Count - 1 do
    WaitForThreadTerminate(IDs[I], 0);
end;

{ ---- All pairs at once, a thread for each end, also from a core to itself ---- }

function SendMany(Destination: Pointer): PtrInt;
var
  Packet: TPacket;
  I: LongInt;
begin
  for I := 1 to PACKETS do
  begin
    Make(Packet, GetCoreId, I);
    SendTo(PtrUInt(Destination), @Packet, Lengths(I));
  end;
  Result := 0;
end;

function ReceiveMany(Source: Pointer): PtrInt;
var
  Packet: TPacket;
  I: LongInt;
begin
  for I := 1 to PACKETS do
  begin
    RecvFrom(PtrUInt(Source), @Packet);
    Verify(Packet, PtrInt(Source), I);
    { Now and then so slowly that the ring is full. }
    if I mod 1000 = 0 then
      Sleep(1);
  end;
  Result := 0;
end;

procedure TestAllPairs;
var
  IDs: array[0..127] of TThreadID;
  Count, A, B: LongInt;
begin
  Count := 0;
  for A := 0 to CPU_COUNT - 1 do
    for B := 0 to CPU_COUNT - 1 do
    begin
      Start(@ReceiveMany, A, B, IDs, Count);
      Start(@SendMany, B, A, IDs, Count);
    end;
  Join(IDs, Count);
  Check(Wrong = 0, 'all packets, in order and whole');
end;

{ ---- Waiting ---- }

function Answer(Parameter: Pointer): PtrInt;
var
  Packet: TPacket;
  I: LongInt;
begin
  for I := 1 to 2000 do
  begin
    RecvFrom(0, @Packet);
    { The other side waits between nothing and long enough to halt. }
    DelayMicro(I * 7 mod 60);
    SendTo(0, @Packet, 4);
  end;
  Result := 0;
end;

procedure TestAnswers;
var
  ID: TThreadID;
  Packet: TPacket;
  I: LongInt;
begin
  BeginThread(nil, 32768, @Answer, nil, CPU_COUNT - 1, ID);
  for I := 1 to 2000 do
  begin
    DelayMicro(I * 11 mod 60);
    PLongInt(@Packet)^ := I;
    SendTo(CPU_COUNT - 1, @Packet, 4);
    FillChar(Packet, 4, 0);
    RecvFrom(CPU_COUNT - 1, @Packet);
    if PLongInt(@Packet)^ <> I then
      Inc(Wrong);
  end;
  WaitForThreadTerminate(ID, 0);
  Check(Wrong = 0, 'no answer was lost');
end;

function ReceiveOne(Source: Pointer): PtrInt;
var
  Packet: TPacket;
begin
  RecvFrom(PtrUInt(Source), @Packet);
  Result := PLongInt(@Packet)^;
end;

procedure TestKilledReceiver;
var
  First, Second: TThreadID;
  Number: LongInt;
begin
  BeginThread(nil, 32768, @ReceiveOne, nil, CPU_COUNT - 1, First);
  BeginThread(nil, 32768, @ReceiveOne, nil, CPU_COUNT - 1, Second);
  Sleep(5);
  SysKillThread(First);
  WaitForThreadTerminate(First, 0);
  Number := 77;
  SendTo(CPU_COUNT - 1, @Number, 4);
  Check(WaitForThreadTerminate(Second, 0) = 77, 'a killed receiver takes nothing along');
end;

procedure TestIdle;
var
  ID: TThreadID;
  Halts: QWord;
  Number: LongInt;
begin
  BeginThread(nil, 32768, @ReceiveOne, nil, CPU_COUNT - 1, ID);
  Halts := GetCPU^.HaltedTicks;
  Sleep(50);
  Halts := GetCPU^.HaltedTicks - Halts;
  Check(Halts > 0, 'a core that waits for a packet halts');
  Number := 5;
  SendTo(CPU_COUNT - 1, @Number, 4);
  Check(WaitForThreadTerminate(ID, 0) = 5, 'and wakes for it');
end;

var
  Packet: TPacket;
begin
  TestAllPairs;
  if CPU_COUNT > 1 then
    TestAnswers;
  TestKilledReceiver;
  TestIdle;
  SendTo(CPU_COUNT, @Packet, 4);
  SendTo(0, @Packet, PAYLOAD + 1);
  RecvFrom(CPU_COUNT, @Packet);
  Check(True, 'no such core, too large a packet');
  Check(CheckHeap = '', 'the heap is healthy');
end.
