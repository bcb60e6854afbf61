{ A vsock driver of the smallest kind, which answers connections to port 80 and
  sends back what comes. A connection that sends `quit` ends the machine. }
program VsockEcho;

{$mode objfpc}

uses
  BootInfo, Arch;

const
  { virtio 1.2, section 4.2.2 }
  DRIVER_FEATURES = $20;
  DRIVER_FEATURES_SEL = $24;
  QUEUE_SEL = $30;
  QUEUE_NUM = $38;
  QUEUE_READY = $44;
  QUEUE_NOTIFY = $50;
  INTERRUPT_STATUS = $60;
  INTERRUPT_ACK = $64;
  STATUS = $70;
  QUEUE_DESC = $80;
  QUEUE_DRIVER = $90;
  QUEUE_DEVICE = $A0;

  ENTRIES = 32;
  PAYLOAD = 4096;
  RX = 0;
  TX = 1;
  HOST_CID = 2;
  PORT = 80;

  { section 5.10.6 }
  OP_REQUEST = 1;
  OP_RESPONSE = 2;
  OP_RST = 3;
  OP_SHUTDOWN = 4;
  OP_RW = 5;
  OP_CREDIT_REQUEST = 7;

type
  TPacket = packed record
    SrcCid, DstCid: QWord;
    SrcPort, DstPort, Length: LongWord;
    Kind, Op: Word;
    Flags, BufAlloc, FwdCnt: LongWord;
    Data: array[0..PAYLOAD - 1] of Char;
  end;
  PPacket = ^TPacket;

  TDescriptor = packed record
    Address: QWord;
    Length: LongWord;
    Flags, Next: Word;
  end;

  TQueue = record
    Descriptors: ^TDescriptor;
    Available: PWord;
    Used: PByte;
    Packets: PPacket;
    Seen: Word; { of the used ring }
  end;

var
  Base: PtrUInt;
  Vector: Byte;
  Queues: array[RX..TX] of TQueue;
  Taken: array[0..1023] of LongWord; { bytes received, by the host's port }

procedure WriteRegister(Offset, Value: LongWord);
begin
  PLongWord(Base + Offset)^ := Value;
end;

procedure WriteAddress(Offset: LongWord; Address: Pointer);
begin
  WriteRegister(Offset, PtrUInt(Address) and $FFFFFFFF);
  WriteRegister(Offset + 4, PtrUInt(Address) shr 32);
end;

procedure SetUpQueue(Index: LongInt);
begin
  with Queues[Index] do
  begin
    Descriptors := AllocMem(ENTRIES * SizeOf(TDescriptor));
    Available := AllocMem(4 + 2 * ENTRIES);
    Used := AllocMem(4 + 8 * ENTRIES);
    Packets := AllocMem(ENTRIES * SizeOf(TPacket));
    WriteRegister(QUEUE_SEL, Index);
    WriteRegister(QUEUE_NUM, ENTRIES);
    WriteAddress(QUEUE_DESC, Descriptors);
    WriteAddress(QUEUE_DRIVER, Available);
    WriteAddress(QUEUE_DEVICE, Used);
    WriteRegister(QUEUE_READY, 1);
  end;
end;

{ Makes packet Slot available, for the device to write to or to read. }
procedure Offer(var Queue: TQueue; Slot: Word; Count: LongWord; Flags: Word);
begin
  Queue.Descriptors[Slot].Address := PtrUInt(@Queue.Packets[Slot]);
  Queue.Descriptors[Slot].Length := Count;
  Queue.Descriptors[Slot].Flags := Flags;
  Queue.Available[2 + Queue.Available[1] mod ENTRIES] := Slot;
  ReadWriteBarrier;
  Queue.Available[1] := Queue.Available[1] + 1;
end;

procedure WaitForUsed(var Queue: TQueue);
begin
  while PWord(Queue.Used + 2)^ = Queue.Seen do
  begin
    if not TakePending(Vector) then
      hlt;
    WriteRegister(INTERRUPT_ACK, PLongWord(Base + INTERRUPT_STATUS)^);
  end;
end;

{ The slot of the next packet that the device has used. }
function NextUsed(var Queue: TQueue): Word;
begin
  WaitForUsed(Queue);
  Result := PLongWord(Queue.Used + 4 + 8 * (Queue.Seen mod ENTRIES))^;
  Inc(Queue.Seen);
end;

{ Answers a packet, with its payload if Op is OP_RW, and waits until it is taken. }
procedure Answer(const Packet: TPacket; Op: Word);
var
  Reply: PPacket;
begin
  Reply := @Queues[TX].Packets[0];
  Reply^ := Packet;
  Reply^.SrcCid := Packet.DstCid;
  Reply^.DstCid := Packet.SrcCid;
  Reply^.SrcPort := Packet.DstPort;
  Reply^.DstPort := Packet.SrcPort;
  Reply^.Op := Op;
  Reply^.Flags := 3;
  Reply^.BufAlloc := ENTRIES * PAYLOAD;
  Reply^.FwdCnt := Taken[Packet.SrcPort and 1023];
  if Op <> OP_RW then
    Reply^.Length := 0;
  Offer(Queues[TX], 0, SizeOf(TPacket) - PAYLOAD + Reply^.Length, 0);
  WriteRegister(QUEUE_NOTIFY, TX);
  NextUsed(Queues[TX]);
end;

procedure Serve(const Packet: TPacket);
begin
  case Packet.Op of
    OP_REQUEST:
      begin
        Taken[Packet.SrcPort and 1023] := 0;
        if Packet.DstPort = PORT then
          Answer(Packet, OP_RESPONSE)
        else
          Answer(Packet, OP_RST);
      end;
    OP_RW:
      begin
        Inc(Taken[Packet.SrcPort and 1023], Packet.Length);
        if (Packet.Length = 4) and (Packet.Data[0] = 'q') then
          Halt(7);
        Answer(Packet, OP_RW);
      end;
    OP_SHUTDOWN: Answer(Packet, OP_SHUTDOWN);
  end;
end;

var
  I: LongInt;
  Slot: Word;
begin
  Base := TheBootInfo^.Devices[0].Base;
  Vector := TheBootInfo^.Devices[0].Vector;
  WriteRegister(STATUS, 3);
  WriteRegister(DRIVER_FEATURES_SEL, 1);
  WriteRegister(DRIVER_FEATURES, 1); { VIRTIO_F_VERSION_1 }
  WriteRegister(STATUS, 11);
  SetUpQueue(RX);
  SetUpQueue(TX);
  for I := 0 to ENTRIES - 1 do
    Offer(Queues[RX], I, SizeOf(TPacket), 2);
  WriteRegister(STATUS, 15);
  WriteLn('ready');
  repeat
    Slot := NextUsed(Queues[RX]);
    Serve(Queues[RX].Packets[Slot]);
    Offer(Queues[RX], Slot, SizeOf(TPacket), 2);
    WriteRegister(QUEUE_NOTIFY, RX);
  until False;
end.
