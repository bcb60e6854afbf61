{ A guest that keeps up with vsock: what a client of port 80 sends comes back, port 81
  takes all, port 82 sends for ever, port 83 never takes anything, and port 84 resets who
  sends. `quit` to port 80 ends the machine. There is no socket between the packets
  (virtio 1.2, section 5.10) and the driver's queues. }
program VsockServer;

{$mode objfpc}

uses
  Process, VirtQueues, VirtIO;

const
  RX = 0;
  TX = 1;
  EVENT = 2;
  BUFFERS = 128;
  SOURCES = 64;
  PAYLOAD = 65536 - 44;
  WINDOW = 1024 * 1024;
  PORTS = 4096;
  STREAM = 1;

  ECHO = 80;
  SINK = 81;
  SOURCE = 82;
  FULL = 83;
  REFUSE = 84;

  OP_REQUEST = 1;
  OP_RESPONSE = 2;
  OP_RST = 3;
  OP_SHUTDOWN = 4;
  OP_RW = 5;
  OP_CREDIT_UPDATE = 6;
  OP_CREDIT_REQUEST = 7;

type
  TAddresses = packed record
    SrcCid, DstCid: QWord;
    SrcPort, DstPort: LongWord;
  end;

  PPacket = ^TPacket;
  TPacket = packed record
    Ends: TAddresses;
    Length: LongWord;
    Kind, Op: Word;
    Flags, BufAlloc, FwdCnt: LongWord;
    Data: array[0..PAYLOAD - 1] of Byte;
  end;

  { By the host's port. }
  TConnection = record
    Open: Boolean;
    Received, Told, Sent, PeerAlloc, PeerTaken: LongWord;
    HeldFirst, HeldLast, HeldCount: LongInt; { packets to send back when there is credit }
    Ends: TAddresses; { of packets to it }
  end;

var
  Device: PVirtIODevice;
  Packets: array[0..BUFFERS + SOURCES - 1] of PPacket;
  NextHeld: array[0..BUFFERS - 1] of LongInt;
  Free: array[0..SOURCES - 1] of PPacket;
  FreeCount, Given: LongInt; { of Free; of the receive queue }
  Connections: array[0..PORTS - 1] of ^TConnection;
  Pumped: LongInt = -1; { the connection that port 82 sends to }

procedure Give(Packet: PPacket);
var
  Buffer: TVirtBuffer;
begin
  Buffer.Data := Packet;
  Buffer.Size := SizeOf(TPacket);
  Offer(Device^.Queues[RX], [Buffer], 0, Packet);
  Inc(Given);
end;

{ Sends a packet whose addresses are set. }
procedure Send(Packet: PPacket; Op: Word; Index: LongInt);
var
  Buffer: TVirtBuffer;
begin
  if Op <> OP_RW then
    Packet^.Length := 0;
  Packet^.Op := Op;
  Packet^.BufAlloc := WINDOW;
  Packet^.FwdCnt := Connections[Index]^.Received;
  Connections[Index]^.Told := Packet^.FwdCnt;
  Inc(Connections[Index]^.Sent, Packet^.Length);
  Buffer.Data := Packet;
  Buffer.Size := SizeOf(TPacket) - PAYLOAD + Packet^.Length;
  Offer(Device^.Queues[TX], [Buffer], 1, Packet);
end;

{ Turns a packet round. }
procedure Turn(Packet: PPacket);
var
  Ends: TAddresses;
begin
  Ends := Packet^.Ends;
  Packet^.Ends.SrcCid := Ends.DstCid;
  Packet^.Ends.DstCid := Ends.SrcCid;
  Packet^.Ends.SrcPort := Ends.DstPort;
  Packet^.Ends.DstPort := Ends.SrcPort;
  Packet^.Flags := 3;
end;

function Credit(Index: LongInt): LongWord;
begin
  with Connections[Index]^ do
    Result := PeerAlloc - (Sent - PeerTaken);
end;

procedure Pump;
var
  Packet: PPacket;
  Room: LongWord;
begin
  while (Pumped >= 0) and (FreeCount > 0) do
  begin
    Room := Credit(Pumped);
    if Room = 0 then
      Exit;
    Dec(FreeCount);
    Packet := Free[FreeCount];
    Packet^.Ends := Connections[Pumped]^.Ends;
    Packet^.Kind := STREAM;
    Packet^.Length := PAYLOAD;
    if Room < PAYLOAD then
      Packet^.Length := Room;
    Send(Packet, OP_RW, Pumped);
  end;
end;

{ Sends what waits for credit, in order. }
procedure SendHeld(Index: LongInt);
var
  Packet: PPacket;
begin
  with Connections[Index]^ do
    while HeldCount > 0 do
    begin
      Packet := Packets[HeldFirst];
      if Open and (Packet^.Op = OP_RW) and (Credit(Index) < Packet^.Length) then
        Exit;
      HeldFirst := NextHeld[HeldFirst];
      Dec(HeldCount);
      if Open then
        Send(Packet, Packet^.Op, Index)
      else
        Give(Packet);
    end;
end;

{ Sends a packet behind those that wait. }
procedure Hold(Packet: PPacket; Slot, Index: LongInt);
begin
  Turn(Packet);
  with Connections[Index]^ do
  begin
    if HeldCount = 0 then
      HeldFirst := Slot
    else
      NextHeld[HeldLast] := Slot;
    HeldLast := Slot;
    Inc(HeldCount);
  end;
  SendHeld(Index);
end;

procedure Receive(Packet: PPacket; Slot, Index: LongInt);
begin
  with Connections[Index]^ do
  begin
    if Packet^.Ends.DstPort <> FULL then
      Inc(Received, Packet^.Length);
    case Packet^.Ends.DstPort of
      ECHO:
        begin
          if (Packet^.Length = 4) and (PLongWord(@Packet^.Data)^ = $74697571 { quit }) then
            Halt(7);
          Hold(Packet, Slot, Index);
          Exit;
        end;
      REFUSE:
        begin
          Turn(Packet);
          Send(Packet, OP_RST, Index);
          Exit;
        end;
    end;
    if Received - Told >= WINDOW div 2 then
    begin
      Turn(Packet);
      Send(Packet, OP_CREDIT_UPDATE, Index);
    end
    else
      Give(Packet);
  end;
end;

procedure Handle(Packet: PPacket; Slot: LongInt);
var
  Index: LongInt;
begin
  Index := Packet^.Ends.SrcPort mod PORTS;
  if Connections[Index] = nil then
    Connections[Index] := AllocMem(SizeOf(TConnection));
  with Connections[Index]^ do
  begin
    PeerAlloc := Packet^.BufAlloc;
    PeerTaken := Packet^.FwdCnt;
    case Packet^.Op of
      OP_REQUEST:
        begin
          Received := 0;
          Sent := 0;
          HeldCount := 0;
          Open := True;
          Turn(Packet);
          Ends := Packet^.Ends;
          if Ends.SrcPort = SOURCE then
            Pumped := Index;
          Send(Packet, OP_RESPONSE, Index);
        end;
      OP_RW: Receive(Packet, Slot, Index);
      OP_SHUTDOWN, OP_RST:
        begin
          if Pumped = Index then
            Pumped := -1;
          if Packet^.Op = OP_SHUTDOWN then
            Hold(Packet, Slot, Index)
          else
          begin
            Open := False;
            SendHeld(Index);
            Give(Packet);
          end;
        end;
    else
      SendHeld(Index);
      Give(Packet);
    end;
  end;
end;

{ The number of a packet in Packets. }
function SlotOf(Packet: PPacket): LongInt;
begin
  Result := PLongInt(PByte(Packet) - SizeOf(PtrUInt))^;
end;

procedure Serve(Served: PVirtIODevice);
var
  Packet: PPacket;
  Written: LongWord;
begin
  repeat
    Packet := TakeUsed(Served^.Queues[TX], Written);
    while Packet <> nil do
    begin
      if SlotOf(Packet) < BUFFERS then
        Give(Packet)
      else
      begin
        Free[FreeCount] := Packet;
        Inc(FreeCount);
      end;
      Packet := TakeUsed(Served^.Queues[TX], Written);
    end;
    Packet := TakeUsed(Served^.Queues[RX], Written);
    while Packet <> nil do
    begin
      Dec(Given);
      Handle(Packet, SlotOf(Packet));
      Packet := TakeUsed(Served^.Queues[RX], Written);
    end;
    Pump;
    NotifyDevice(Served^.Queues[TX]);
    NotifyDevice(Served^.Queues[RX]);
  until not HasUsed(Served^.Queues[RX]);
  { What was sent comes back with what is received next, unless it is missed. }
  Served^.Quiet := [TX, EVENT];
  if (FreeCount = 0) or (Given < BUFFERS div 2) then
    Served^.Quiet := [EVENT];
end;

var
  I: LongInt;
  Memory: PByte;
begin
  Device := FindDevice(ID_VSOCK);
  if not StartDevice(Device, RING_FEATURES) or not AddQueue(Device, 256) or not AddQueue(Device, 256) or
     not AddQueue(Device, 16) then
    Halt(1);
  Device^.Serve := @Serve;
  for I := 0 to BUFFERS + SOURCES - 1 do
  begin
    Memory := AllocMem(SizeOf(PtrUInt) + SizeOf(TPacket));
    PLongInt(Memory)^ := I;
    Packets[I] := PPacket(Memory + SizeOf(PtrUInt));
    if I < BUFFERS then
      Give(Packets[I])
    else
      Free[I - BUFFERS] := Packets[I];
  end;
  FreeCount := SOURCES;
  RunDevice(Device);
  NotifyDevice(Device^.Queues[RX]);
  WriteLn('ready');
  SysSuspendThread(0);
end.
