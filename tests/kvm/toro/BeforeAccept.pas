{ A guest with the vsock driver and sockets of an older kernel, as far as the host can tell them:
  the driver accepts no feature, and not FEATURES_OK, and has rings of 32; it answers a request
  itself, and data for a connection that nobody has accepted yet by a reset, but keeps the
  connection; it acknowledges what it takes by how full its buffer is. The application accepts a
  connection of port 80 now and then, sends back the first data of it, and closes it. }
program BeforeAccept;

{$mode objfpc}

uses
  Arch, Process, VirtIODevices;

const
  ENTRIES = 32;
  ROOM = 4096;          { bytes of a receive buffer }
  WINDOW = 16384;
  ACCEPT_EVERY = 5;     { ms }
  HOST = 2;

  { Registers and bits: virtio 1.2, sections 4.2.2, 2.1 and 2.7 }
  QUEUE_SEL = $30;
  QUEUE_NUM_MAX = $34;
  QUEUE_NUM = $38;
  QUEUE_READY = $44;
  QUEUE_NOTIFY = $50;
  STATUS = $70;
  QUEUE_DESC = $80;
  QUEUE_DRIVER = $90;
  QUEUE_DEVICE = $A0;
  CONFIG = $100;
  DEVICE_WRITES = 2;

  { Section 5.10.6 }
  OP_REQUEST = 1;
  OP_RESPONSE = 2;
  OP_RST = 3;
  OP_SHUTDOWN = 4;
  OP_RW = 5;
  OP_CREDIT_UPDATE = 6;

type
  THeader = packed record
    SrcCid, DstCid: QWord;
    SrcPort, DstPort, Length: LongWord;
    Kind, Op: Word;
    Flags, BufAlloc, FwdCnt: LongWord;
  end;

  PPacket = ^TPacket;
  TPacket = packed record
    Header: THeader;
    Data: array[0..ROOM - SizeOf(THeader) - 1] of Byte;
  end;

  PRing = ^TRing;
  TRing = packed record
    Descriptors: array[0..ENTRIES - 1] of packed record
      Address: QWord;
      Length: LongWord;
      Flags, Next: Word;
    end;
    AvailableFlags, Available: Word;
    AvailableRing: array[0..ENTRIES - 1] of Word;
    UsedFlags, Used: Word; { right behind: there is no place for an event index }
    UsedRing: array[0..ENTRIES - 1] of packed record
      Head, Written: LongWord;
    end;
  end;

  TState = (csNone, csArrived, csAccepted, csClosed);

var
  Device: PVirtIODevice;
  Rings: array[0..2] of PRing;
  Buffers, Sent: array[0..ENTRIES - 1] of TPacket;
  Seen: Word;
  States: array[0..65535] of TState; { by the host's port }
  Arrivals: array[0..65535] of LongWord;
  Arrived: LongInt = 0;
  Accepted: LongInt = 0;
  Early: LongInt = 0;

procedure WriteRegister(Offset, Value: LongWord);
begin
  PLongWord(Device^.Base + Offset)^ := Value;
end;

procedure AddRing(Index: LongInt);
var
  Size: LongWord;
begin
  Rings[Index] := AllocMem(SizeOf(TRing) + 4096);
  Rings[Index] := PRing((PtrUInt(Rings[Index]) + 4095) and not PtrUInt(4095));
  WriteRegister(QUEUE_SEL, Index);
  Size := PLongWord(Device^.Base + QUEUE_NUM_MAX)^;
  if Size > ENTRIES then
    Size := ENTRIES;
  WriteRegister(QUEUE_NUM, Size);
  WriteRegister(QUEUE_DESC, PtrUInt(Rings[Index]));
  WriteRegister(QUEUE_DRIVER, PtrUInt(@Rings[Index]^.AvailableFlags));
  WriteRegister(QUEUE_DEVICE, PtrUInt(@Rings[Index]^.UsedFlags));
  WriteRegister(QUEUE_READY, 1);
end;

procedure Offer(Index: LongInt; Entry: Word; var Packet: TPacket; Size: LongWord; Flags: Word);
begin
  with Rings[Index]^ do
  begin
    Descriptors[Entry].Address := PtrUInt(@Packet);
    Descriptors[Entry].Length := Size;
    Descriptors[Entry].Flags := Flags;
    AvailableRing[Available mod ENTRIES] := Entry;
    ReadWriteBarrier;
    Inc(Available);
  end;
end;

{ Sends a packet and waits until the device has used it. }
procedure Send(Op: Word; Port, FwdCnt: LongWord; Data: Pointer; Length: LongWord);
var
  Packet: ^TPacket;
begin
  Packet := @Sent[Rings[1]^.Available mod ENTRIES];
  FillChar(Packet^.Header, SizeOf(THeader), 0);
  Packet^.Header.SrcCid := PQWord(Device^.Base + CONFIG)^;
  Packet^.Header.DstCid := HOST;
  Packet^.Header.SrcPort := 80;
  Packet^.Header.DstPort := Port;
  Packet^.Header.Length := Length;
  Packet^.Header.Kind := 1;
  Packet^.Header.Op := Op;
  Packet^.Header.Flags := 3;
  if Op <> OP_RST then
    Packet^.Header.BufAlloc := WINDOW;
  Packet^.Header.FwdCnt := FwdCnt;
  Move(Data^, Packet^.Data, Length);
  Offer(1, Rings[1]^.Available mod ENTRIES, Packet^, SizeOf(THeader) + Length, 0);
  WriteRegister(QUEUE_NOTIFY, 1);
  while Rings[1]^.Used <> Rings[1]^.Available do
    SysThreadSwitch;
end;

procedure Handle(const Packet: TPacket);
var
  Port: LongWord;
  State: ^TState;
begin
  Port := Packet.Header.SrcPort;
  State := @States[Port mod Length(States)];
  case Packet.Header.Op of
    OP_REQUEST:
      begin
        State^ := csArrived;
        Arrivals[Arrived mod Length(Arrivals)] := Port;
        Inc(Arrived);
        Send(OP_RESPONSE, Port, 0, nil, 0);
      end;
    OP_RW:
      if State^ = csAccepted then
      begin
        Send(OP_CREDIT_UPDATE, Port, Packet.Header.Length, nil, 0);
        if Packet.Header.Length = 0 then
          Exit;
        if CompareByte(Packet.Data, 'quit', 4) = 0 then
        begin
          WriteLn(Early, ' early');
          Halt(7);
        end;
        Send(OP_RW, Port, 0, @Packet.Data, Packet.Header.Length);
        Send(OP_SHUTDOWN, Port, 0, nil, 0);
        State^ := csClosed;
      end
      else
      begin
        Inc(Early);
        Send(OP_RST, Port, 0, nil, 0);
      end;
    OP_RST: State^ := csNone;
    OP_SHUTDOWN:
      if State^ in [csAccepted, csClosed] then
        Send(OP_RST, Port, 0, nil, 0);
  end;
end;

procedure Receive;
var
  Entry: LongWord;
begin
  while Seen <> Rings[0]^.Used do
  begin
    ReadWriteBarrier;
    Entry := Rings[0]^.UsedRing[Seen mod ENTRIES].Head;
    Inc(Seen);
    Handle(Buffers[Entry]);
    Offer(0, Entry, Buffers[Entry], ROOM, DEVICE_WRITES);
    WriteRegister(QUEUE_NOTIFY, 0);
  end;
end;

var
  I: LongInt;
  Next: QWord;
begin
  Device := FindDevice(ID_VSOCK);
  if Device = nil then
    Halt(1);
  WriteRegister(STATUS, 0);
  WriteRegister(STATUS, 3);
  for I := 0 to 2 do
    AddRing(I);
  for I := 0 to ENTRIES - 1 do
    Offer(0, I, Buffers[I], ROOM, DEVICE_WRITES);
  WriteRegister(QUEUE_NOTIFY, 0);
  WriteRegister(STATUS, 15);
  Next := 0;
  repeat
    Receive;
    if (Accepted < Arrived) and (read_rdtsc >= Next) then
    begin
      States[Arrivals[Accepted mod Length(Arrivals)] mod Length(States)] := csAccepted;
      Inc(Accepted);
      Next := read_rdtsc + QWord(LocalCpuSpeed) * 1000 * ACCEPT_EVERY;
    end;
    SysThreadSwitch;
  until False;
end.
