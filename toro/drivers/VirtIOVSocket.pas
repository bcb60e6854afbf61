{ The virtio-vsock device (virtio 1.2, section 5.10), which carries the packets of Sockets. }
unit VirtIOVSocket;

{$mode objfpc}

interface

implementation

uses
  Arch, CoreThreads, Memory, Network, Scheduling, SocketTables, StreamSockets, Thaw, ThreadRequests, VirtIODevices,
  VirtIOPolling, VirtQueues, VSockPackets, WaitQueues;

const
  RX = 0;
  TX = 1;
  EVENT_QUEUE = 2;

  RX_COUNT = 64;
  RX_SIZE = 16384;       { bytes of a receive buffer, including the header }
  TX_COUNT = 256;
  EVENT_COUNT = 4;
  EVENT_TRANSPORT_RESET = 0; { section 5.10.6.7 }

type
  PTxPacket = ^TTxPacket;
  TTxPacket = record
    Next: PTxPacket;     { in the list of free or of waiting packets }
    Transfer: PTransfer; { nil: all of the payload is in Copied }
    Header: TVSockHeader;
    Copied: array[0..MAX_HEAD - 1] of Byte; { larger data are sent in place: that costs less than a copy }
  end;

var
  Device: PVirtIODevice;
  Free: PTxPacket;
  Waiting, LastWaiting: PTxPacket; { packets without payload for which the queue had no room }
  InPlace: LongInt;                { packets under way for whose payload a thread waits }
  Events: array[0..EVENT_COUNT - 1] of LongWord;
  Vsock: TNetworkDriver;
  AtThaw: TRenewal;

{ ---- Sending ---- }

procedure KeepPacket(Packet: PTxPacket);
begin
  Packet^.Next := Free;
  Free := Packet;
end;

{ A free packet; nil: none. }
function TakePacket(const Header: TVSockHeader): PTxPacket;
begin
  Result := Free;
  if Result = nil then
    Exit;
  Free := Result^.Next;
  Result^.Next := nil;
  Result^.Transfer := nil;
  Result^.Header := Header;
end;

{ Offers a packet with Copied bytes of payload in it. }
function OfferPacket(Packet: PTxPacket; Copied: LongWord): Boolean;
begin
  Result := Offer(Device^.Queues[TX], [MakeBuffer(@Packet^.Header, SizeOf(TVSockHeader) + Copied)], 1, Packet);
end;

procedure SendControl(const Header: TVSockHeader);
var
  Packet: PTxPacket;
begin
  if Vsock.GivenUp then
    Exit;
  if Free = nil then
  begin
    Packet := ToroGetMem(SizeOf(TTxPacket));
    if Packet = nil then
      Exit; { the packet is lost: the peer's time-out ends the connection }
    KeepPacket(Packet);
  end;
  Packet := TakePacket(Header);
  if (Waiting = nil) and OfferPacket(Packet, 0) then
    Exit;
  if Waiting = nil then
    Waiting := Packet
  else
    LastWaiting^.Next := Packet;
  LastWaiting := Packet;
  WantUsed(Device, TX);
end;

{ Whether a packet with payload can be sent without allocating memory. }
function HasRoom: Boolean;
begin
  with Device^.Queues[TX] do
    Result := (Waiting = nil) and (Free <> nil) and (FreeCount >= 2) and not Broken;
end;

function SendData(const Header: TVSockHeader; Head: Pointer; HeadSize: LongWord; Data: Pointer;
  var Transfer: TTransfer): Boolean;
var
  Packet: PTxPacket;
begin
  if not HasRoom then
    Exit(False);
  Packet := TakePacket(Header);
  Move(Head^, Packet^.Copied, HeadSize);
  if Header.Length <= MAX_HEAD then
  begin
    Move(Data^, Packet^.Copied[HeadSize], Header.Length - HeadSize);
    Result := OfferPacket(Packet, Header.Length);
  end
  else
  begin
    Packet^.Transfer := @Transfer;
    Result := Offer(Device^.Queues[TX], [MakeBuffer(@Packet^.Header, SizeOf(TVSockHeader) + HeadSize),
      MakeBuffer(Data, Header.Length - HeadSize)], 2, Packet);
    if Result then
    begin
      Inc(Transfer.Packets);
      Inc(InPlace, Ord(Transfer.Thread <> 0));
    end;
  end;
  if not Result then
    KeepPacket(Packet);
end;

procedure SendWaiting;
var
  Packet: PTxPacket;
begin
  while (Waiting <> nil) and OfferPacket(Waiting, 0) do
  begin
    Packet := Waiting;
    Waiting := Packet^.Next;
  end;
end;

{ The device has sent a packet, or never will. }
procedure TakeBack(Packet: PTxPacket);
begin
  if Packet^.Transfer <> nil then
  begin
    Dec(InPlace, Ord(Packet^.Transfer^.Thread <> 0));
    Returned(Packet^.Transfer^);
  end;
  KeepPacket(Packet);
end;

{ The device was reset: takes back what it has not sent. }
procedure ReturnAll;
var
  I: LongInt;
begin
  with Device^.Queues[TX] do
    for I := 0 to Size - 1 do
      if Requests[I].Token <> nil then
      begin
        TakeBack(Requests[I].Token);
        Requests[I].Token := nil;
      end;
end;

{ Takes back packets that the device has sent. }
procedure ServeTx;
var
  Packet: PTxPacket;
  Written: LongWord;
  Any: Boolean;
begin
  Any := False;
  repeat
    Packet := TakeUsed(Device^.Queues[TX], Written);
    if Packet = nil then
      Break;
    Any := True;
    TakeBack(Packet);
  until False;
  if not Any then
    Exit;
  SendWaiting;
  if Vsock.Room.First <> nil then
    WakeAll(Vsock.Room)
  else if (Waiting = nil) and (InPlace = 0) then
    Include(Device^.Quiet, TX);
end;

function WantRoom: Boolean;
begin
  ServeTx;
  Result := HasRoom;
  if (InPlace > 0) or not Result then
    WantUsed(Device, TX);
end;

procedure Flush;
begin
  NotifyDevice(Device^.Queues[TX]);
end;

{ ---- Events ---- }

procedure OfferEvent(Event: PLongWord);
begin
  Offer(Device^.Queues[EVENT_QUEUE], [MakeBuffer(Event, SizeOf(Event^))], 0, Event);
end;

{ The machine was thawed: its connections are gone, and its CID may have changed. }
procedure ServeEvents;
var
  Event: PLongWord;
  Written: LongWord;
begin
  repeat
    Event := TakeUsed(Device^.Queues[EVENT_QUEUE], Written);
    if Event = nil then
      Break;
    if (Written >= SizeOf(Event^)) and (Event^ = EVENT_TRANSPORT_RESET) then
    begin
      ReadConfig(Device, 0, 2, @Vsock.Cid);
      ResetAll;
    end;
    OfferEvent(Event);
  until False;
  NotifyDevice(Device^.Queues[EVENT_QUEUE]);
end;

{ ---- Receiving ---- }

procedure OfferRx(Buffer: Pointer);
begin
  Offer(Device^.Queues[RX], [MakeBuffer(Buffer, RX_SIZE)], 0, Buffer);
end;

procedure ServeRx;
var
  Packet: PVSockHeader;
  Header: TVSockHeader;
  Written: LongWord;
begin
  repeat
    Packet := TakeUsed(Device^.Queues[RX], Written);
    if Packet = nil then
      Break;
    { A packet that came after a reset belongs to a new connection. }
    if HasUsed(Device^.Queues[EVENT_QUEUE]) then
      ServeEvents;
    Header := Packet^; { once: the device may change it meanwhile }
    if (Written >= SizeOf(Header)) and (Written <= RX_SIZE) and (Header.Length <= Written - SizeOf(Header)) then
      ReceivePacket(Header, PByte(Packet + 1));
    OfferRx(Packet);
  until False;
  NotifyDevice(Device^.Queues[RX]);
end;

{ ---- The device ---- }

procedure GiveUpIfBroken;
begin
  if not Device^.Broken or Vsock.GivenUp then
    Exit;
  Vsock.GivenUp := True;
  GiveUp(Device, 'virtio-vsock');
  ReturnAll;
  ResetAll;
  WakeAll(Vsock.Room);
end;

{ Serve may have missed that the device needs a reset: the interrupt that reports it can also
  report used buffers. }
procedure LookAfterDevice;
begin
  Device^.Broken := Device^.Broken or NeedsReset(Device);
  GiveUpIfBroken;
end;

procedure Serve(TheDevice: PVirtIODevice);
begin
  AcquireLock(NetworkLock);
  ServeTx;
  ServeRx;
  if HasUsed(Device^.Queues[EVENT_QUEUE]) then
    ServeEvents;
  if Device^.Queues[RX].Broken or Device^.Queues[TX].Broken then
    Device^.Broken := True;
  GiveUpIfBroken;
  Flush;
  ReleaseLock(NetworkLock);
end;

{ Ends all connections at the program's end, and waits until what was sent has arrived; gives up
  a second after the last progress, and five seconds after the start. }
procedure Drain;
var
  Before, Left: LongInt;
  First, Last: QWord;
begin
  AcquireLock(NetworkLock);
  ShutDownAll;
  ReleaseLock(NetworkLock);
  First := read_rdtsc;
  Last := First;
  Before := -1;
  repeat
    Serve(Device);
    AcquireLock(NetworkLock);
    with Device^.Queues[TX] do
      Left := Size - FreeCount + Unconfirmed + Ord(Waiting <> nil);
    ReleaseLock(NetworkLock);
    if Left <> Before then
      Last := read_rdtsc;
    Before := Left;
    NOP;
  until (Left = 0) or Device^.Broken or (read_rdtsc - Last > TicksOf(1000)) or (read_rdtsc - First > TicksOf(5000));
end;

function Start: Boolean;
var
  I: LongInt;
  Buffers: PByte;
  Packets: PTxPacket;
begin
  Result := False;
  if (Device = nil) or not StartDevice(Device, RING_FEATURES) then
    Exit;
  Buffers := ToroGetMem(RX_COUNT * RX_SIZE);
  Packets := ToroGetMem(TX_COUNT * SizeOf(TTxPacket));
  if (Buffers = nil) or (Packets = nil) or not AddQueue(Device, RX_COUNT) or not AddQueue(Device, TX_COUNT) or
     not AddQueue(Device, EVENT_COUNT) then
    Exit;
  ReadConfig(Device, 0, 2, @Vsock.Cid);
  for I := Device^.Queues[TX].Size - 1 downto 0 do
    KeepPacket(Packets + I);
  for I := 0 to Device^.Queues[RX].Size - 1 do
    OfferRx(Buffers + I * RX_SIZE);
  for I := 0 to Device^.Queues[EVENT_QUEUE].Size - 1 do
    OfferEvent(@Events[I]);
  { The machine may be thawed with another CID now: the device tells it before a client connects. }
  Publish(Device^.Queues[EVENT_QUEUE]);
  Device^.Quiet := [TX];
  Device^.Serve := @Serve;
  DrainNetwork := @Drain;
  RunDevice(Device);
  NotifyDevice(Device^.Queues[RX]);
  NotifyDevice(Device^.Queues[EVENT_QUEUE]);
  Result := True;
end;

{ Resets the connections before the application makes new ones. }
procedure ServeAfterThaw;
begin
  if Driver <> @Vsock then
    Exit;
  Serve(Device);
  AcquireLock(NetworkLock);
  TellOfListeners;
  ReleaseLock(NetworkLock);
end;

initialization
  Device := FindDevice(ID_VSOCK);
  Vsock.Name := 'virtiovsocket';
  Vsock.Start := @Start;
  Vsock.SendControl := @SendControl;
  Vsock.SendData := @SendData;
  Vsock.WantRoom := @WantRoom;
  Vsock.Flush := @Flush;
  Vsock.LookAfter := @LookAfterDevice;
  RegisterNetworkDriver(@Vsock);
  AtThaw.Renew := @ServeAfterThaw;
  RegisterRenewal(AtThaw);
end.
