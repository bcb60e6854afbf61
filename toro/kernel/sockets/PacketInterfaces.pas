{ Network interfaces that exchange packets, made into the driver that sockets want. Each packet is a
  header of virtio-vsock (VSockPackets) and its data.

  A packet to send is handed to the interface at once, under NetworkLock. Packets that have come
  wait in the interface's list until a thread of its core takes them: the service, which gives
  them to the sockets, or an application by SysNetworkRead. }
unit PacketInterfaces;

{$mode objfpc}

interface

uses VSockPackets;

const
  MAX_NET_NAME = 30;           { characters in an interface's name, with a zero }
  ServiceStack = 40 * 1024;    { bytes, of the thread that takes an interface's packets }

type
  { Data for drivers that take packets: Size bytes at Data. The other fields are the
    application's. }
  PPacket = ^TPacket;
  TPacket = record
    Size: LongInt;
    Data: Pointer;
    Status, Ready, Delete: Boolean;
    Next: PPacket;
  end;

  { A driver that exchanges packets. Start switches it on. Send sends a packet, and must not yield;
    when it is done the driver calls DequeueOutgoingPacket. }
  PNetworkInterface = ^TNetworkInterface;
  TNetworkInterface = record
    Name: array[0..MAX_NET_NAME - 1] of Char;
    Minor: LongInt;              { its context id }
    Device: Pointer;             { the driver's }
    IncomingPacketTail: PPacket;
    IncomingPackets: PPacket;    { that nobody has taken yet }
    Start: procedure(NetInterface: PNetworkInterface);
    Send: procedure(NetInterface: PNetworkInterface; Packet: PPacket);
    Reset: procedure(NetInterface: PNetworkInterface);
    Stop: procedure(NetInterface: PNetworkInterface);
    CPUID: LongInt;              { the core that it serves }
    Next: PNetworkInterface;
  end;

{ Adds an interface. }
procedure AddInterface(NetInterface: PNetworkInterface);

{ The driver for the interface with this name, or whose name starts with it, which has been started
  on this core; nil: there is none. }
function StartInterface(Name: PChar): PNetworkDriver;

{ A packet with room for Size bytes; nil: no memory. }
function NewPacket(Size: LongInt): PPacket;
procedure FreePacket(Packet: PPacket);

{ Sends a packet through this core's interface. }
procedure SendPacket(Packet: PPacket);

{ Puts a packet into the list of this core's interface; waits for one. }
procedure PutPacket(Packet: PPacket);
function GetPacket: PPacket;

implementation

uses Arch, CoreThreads, Memory, Scheduling, StreamSockets, ThreadLife, ThreadRequests, WaitQueues;

var
  Interfaces: PNetworkInterface;
  PacketDriver: TNetworkDriver;
  Served: PNetworkInterface; { by PacketDriver }
  Own: array[0..MAX_CPU - 1] of PNetworkInterface; { of each core }
  Readers: array[0..MAX_CPU - 1] of TWaitQueue;

procedure AddInterface(NetInterface: PNetworkInterface);
begin
  NetInterface^.Next := Interfaces;
  Interfaces := NetInterface;
end;

function NewPacket(Size: LongInt): PPacket;
begin
  Result := nil;
  if Size >= 0 then
    Result := ToroGetMem(SizeOf(TPacket) + Size);
  if Result = nil then
    Exit;
  Result^ := Default(TPacket);
  Result^.Size := Size;
  Result^.Data := Result + 1;
end;

procedure FreePacket(Packet: PPacket);
begin
  ToroFreeMem(Packet);
end;

{ ---- Packets that have come ---- }

procedure PutPacket(Packet: PPacket);
var
  NetInterface: PNetworkInterface;
  Reader: TThreadID;
begin
  NetInterface := Own[GetCoreId];
  if NetInterface = nil then
  begin
    FreePacket(Packet);
    Exit;
  end;
  Packet^.Next := nil;
  LockQueue(Readers[NetInterface^.CPUID]);
  if NetInterface^.IncomingPackets = nil then
    NetInterface^.IncomingPackets := Packet
  else
    NetInterface^.IncomingPacketTail^.Next := Packet;
  NetInterface^.IncomingPacketTail := Packet;
  Reader := TakeFirst(Readers[NetInterface^.CPUID]);
  UnlockQueue(Readers[NetInterface^.CPUID]);
  WakeThread(Reader);
end;

function GetPacket: PPacket;
var
  NetInterface: PNetworkInterface;
  Waiter: TWaiter;
begin
  Result := nil;
  NetInterface := Own[GetCoreId];
  if NetInterface = nil then
    Exit;
  repeat
    LockQueue(Readers[GetCoreId]);
    Result := NetInterface^.IncomingPackets;
    if Result = nil then
      JoinQueue(Readers[GetCoreId], Waiter)
    else
      NetInterface^.IncomingPackets := Result^.Next;
    UnlockQueue(Readers[GetCoreId]);
    if Result = nil then
    begin
      WaitInQueue(Readers[GetCoreId], Waiter, 0);
      Checkpoint;
    end;
  until Result <> nil;
  Result^.Next := nil;
end;

{ Gives packets to the sockets, for ever. }
function Service(Parameter: Pointer): PtrInt;
var
  Packet: PPacket;
  Header: PVSockHeader;
begin
  repeat
    Packet := GetPacket;
    Header := Packet^.Data;
    if (Packet^.Size >= SizeOf(TVSockHeader)) and (Header^.Length <= Packet^.Size - SizeOf(TVSockHeader)) then
    begin
      AcquireLock(NetworkLock);
      ReceivePacket(Header^, PByte(Header + 1));
      ReleaseLock(NetworkLock);
    end;
    FreePacket(Packet);
  until False;
  Result := 0;
end;

{ ---- What sockets send ---- }

procedure SendPacket(Packet: PPacket);
begin
  if Own[GetCoreId] <> nil then
    Own[GetCoreId]^.Send(Own[GetCoreId], Packet)
  else
    FreePacket(Packet);
end;

function Send(const Header: TVSockHeader; Head: Pointer; HeadSize: LongWord; Data: Pointer): Boolean;
var
  Packet: PPacket;
  Payload: PByte;
begin
  Packet := NewPacket(SizeOf(Header) + Header.Length);
  Result := Packet <> nil;
  if not Result then
    Exit;
  PVSockHeader(Packet^.Data)^ := Header;
  Payload := Packet^.Data + SizeOf(Header);
  Move(Head^, Payload^, HeadSize);
  Move(Data^, Payload[HeadSize], Header.Length - HeadSize);
  Served^.Send(Served, Packet);
end;

procedure SendControl(const Header: TVSockHeader);
begin
  Send(Header, nil, 0, nil);
end;

function SendData(const Header: TVSockHeader; Head: Pointer; HeadSize: LongWord; Data: Pointer;
  var Transfer: TTransfer): Boolean;
begin
  Result := Send(Header, Head, HeadSize, Data);
end;

function WantRoom: Boolean;
begin
  Result := True;
end;

procedure Flush;
begin
end;

function StartInterface(Name: PChar): PNetworkDriver;
var
  NetInterface: PNetworkInterface;
begin
  NetInterface := Interfaces;
  while (NetInterface <> nil) and not StrCmp(NetInterface^.Name, Name, StrLen(Name)) do
    NetInterface := NetInterface^.Next;
  if (NetInterface = nil) or (CreateThread(@Service, nil, ServiceStack, GetCoreId) = 0) then
    Exit(nil);
  NetInterface^.CPUID := GetCoreId;
  Own[GetCoreId] := NetInterface;
  if Served = nil then
  begin
    Served := NetInterface;
    PacketDriver.Name := NetInterface^.Name;
    PacketDriver.Cid := LongWord(NetInterface^.Minor);
    PacketDriver.SendControl := @SendControl;
    PacketDriver.SendData := @SendData;
    PacketDriver.WantRoom := @WantRoom;
    PacketDriver.Flush := @Flush;
  end;
  NetInterface^.Start(NetInterface);
  Result := @PacketDriver;
end;

end.
