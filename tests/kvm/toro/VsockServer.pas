{ A guest that keeps up with vsock: what a client of port 80 sends comes back, port 81
  takes all, port 82 sends for ever, port 83 never takes anything, and port 84 resets who
  sends. `quit` to port 80 ends the machine. There is no socket between the packets
  (virtio 1.2, section 5.10) and the driver's queues. }
program VsockServer;

{$mode objfpc}

uses
  Process, VirtIODevices, VirtIOPolling, VirtQueues;

const
  RX = 0;
  TX = 1;
  EVENT = 2;
  BUFFERS = 128;
  SOURCES = 64;
  PAYLOAD_MAX = 65536 - 44;
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
    Data: array[0..PAYLOAD_MAX - 1] of Byte;
  end;

  { What stands before each packet. }
  TOwner = (ofReceiveQueue, ofSource, ofHeap);
  PTag = ^TTag;
  TTag = record
    Owner: TOwner;
    Next: PPacket; { of those that wait for credit }
  end;

  { By the host's port. }
  TConnection = record
    Open: Boolean;
    Received, Told, Sent, PeerAlloc, PeerTaken: LongWord;
    Held, LastHeld: PPacket; { to send back when there is credit }
    Ends: TAddresses; { of packets to it }
  end;

var
  Device: PVirtIODevice;
  Free: array[0..SOURCES - 1] of PPacket;
  FreeCount, Given: LongInt; { of Free; of the receive queue }
  Connections: array[0..PORTS - 1] of ^TConnection;
  Pumped: LongInt = -1; { the connection that port 82 sends to }

function Tag(Packet: PPacket): PTag; inline;
begin
  Result := PTag(Packet) - 1;
end;

function NewPacket(Owner: TOwner; Payload: LongWord): PPacket;
var
  Memory: PTag;
begin
  Memory := AllocMem(SizeOf(TTag) + SizeOf(TPacket) - PAYLOAD_MAX + Payload);
  Memory^.Owner := Owner;
  Result := PPacket(Memory + 1);
end;

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
  Buffer.Size := SizeOf(TPacket) - PAYLOAD_MAX + Packet^.Length;
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
    Packet^.Length := PAYLOAD_MAX;
    if Room < PAYLOAD_MAX then
      Packet^.Length := Room;
    Send(Packet, OP_RW, Pumped);
  end;
end;

{ Puts a packet back to where it is of. }
procedure TakeBack(Packet: PPacket);
begin
  case Tag(Packet)^.Owner of
    ofReceiveQueue: Give(Packet);
    ofHeap: FreeMem(Tag(Packet));
    ofSource:
      begin
        Free[FreeCount] := Packet;
        Inc(FreeCount);
      end;
  end;
end;

function MaySend(Packet: PPacket; Index: LongInt): Boolean;
begin
  Result := (Packet^.Op <> OP_RW) or (Credit(Index) >= Packet^.Length);
end;

{ Sends one of those that are sent back. }
procedure SendBack(Packet: PPacket; Index: LongInt);
begin
  if Packet^.Op = OP_RW then
    Inc(Connections[Index]^.Received, Packet^.Length);
  Send(Packet, Packet^.Op, Index);
end;

{ Sends what waits for credit, in order. }
procedure SendHeld(Index: LongInt);
var
  Packet: PPacket;
begin
  with Connections[Index]^ do
    while (Held <> nil) and (not Open or MaySend(Held, Index)) do
    begin
      Packet := Held;
      Held := Tag(Packet)^.Next;
      if Open then
        SendBack(Packet, Index)
      else
        TakeBack(Packet);
    end;
end;

{ Sends a packet back, or a copy of it once there is credit: what waits must not keep
  the buffers that credit comes in. }
procedure Return(Packet: PPacket; Index: LongInt);
var
  Copy: PPacket;
begin
  Turn(Packet);
  with Connections[Index]^ do
  begin
    if (Held = nil) and MaySend(Packet, Index) then
    begin
      SendBack(Packet, Index);
      Exit;
    end;
    Copy := NewPacket(ofHeap, Packet^.Length);
    Move(Packet^, Copy^, SizeOf(TPacket) - PAYLOAD_MAX + Packet^.Length);
    Give(Packet);
    if Held = nil then
      Held := Copy
    else
      Tag(LastHeld)^.Next := Copy;
    LastHeld := Copy;
  end;
  SendHeld(Index);
end;

procedure Receive(Packet: PPacket; Index: LongInt);
begin
  with Connections[Index]^ do
  begin
    case Packet^.Ends.DstPort of
      ECHO:
        begin
          if (Packet^.Length = 4) and (PLongWord(@Packet^.Data)^ = $74697571 { quit }) then
            Halt(7);
          Return(Packet, Index);
          Exit;
        end;
      REFUSE:
        begin
          Turn(Packet);
          Send(Packet, OP_RST, Index);
          Exit;
        end;
      SINK: Inc(Received, Packet^.Length);
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

procedure Handle(Packet: PPacket);
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
          Open := True;
          Held := nil;
          Turn(Packet);
          Ends := Packet^.Ends;
          if Ends.SrcPort = SOURCE then
            Pumped := Index;
          Send(Packet, OP_RESPONSE, Index);
        end;
      OP_RW: Receive(Packet, Index);
      OP_SHUTDOWN, OP_RST:
        begin
          if Pumped = Index then
            Pumped := -1;
          if Packet^.Op = OP_SHUTDOWN then
            Return(Packet, Index)
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

procedure Serve(Served: PVirtIODevice);
var
  Packet: PPacket;
  Written: LongWord;
begin
  repeat
    Packet := TakeUsed(Served^.Queues[TX], Written);
    while Packet <> nil do
    begin
      TakeBack(Packet);
      Packet := TakeUsed(Served^.Queues[TX], Written);
    end;
    Packet := TakeUsed(Served^.Queues[RX], Written);
    while Packet <> nil do
    begin
      Dec(Given);
      Handle(Packet);
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
begin
  Device := FindDevice(ID_VSOCK);
  if not StartDevice(Device, RING_FEATURES) or not AddQueue(Device, 256) or not AddQueue(Device, 256) or
     not AddQueue(Device, 16) then
    Halt(1);
  Device^.Serve := @Serve;
  for I := 1 to BUFFERS do
    Give(NewPacket(ofReceiveQueue, PAYLOAD_MAX));
  for I := 1 to SOURCES do
    TakeBack(NewPacket(ofSource, PAYLOAD_MAX));
  RunDevice(Device);
  NotifyDevice(Device^.Queues[RX]);
  WriteLn('ready');
  SysSuspendThread(0);
end.
