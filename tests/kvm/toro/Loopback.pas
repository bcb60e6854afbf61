{ A network interface that hands back what it is to send, as a third-party driver for Toro: written
  against the driver interface of unit Network alone. Its context id is 9. Connections from a
  socket of the program to another one go through it. }
unit Loopback;

{$mode delphi}

interface

var
  Sent: LongInt; { packets }

implementation

uses
  Arch, Process, Memory, Network;

const
  CID = 9;

var
  Net: TNetworkInterface;

procedure Start(NetInterface: PNetworkInterface);
begin
  { There is nothing to switch on. }
end;

procedure Send(NetInterface: PNetworkInterface; Packet: PPacket);
var
  Copy: PPacket;
begin
  Copy := AllocatePacket(Packet.Size);
  if Copy <> nil then
  begin
    Move(Packet.Data^, Copy.Data^, Packet.Size);
    EnqueueIncomingPacket(Copy);
  end;
  Inc(Sent);
  DequeueOutgoingPacket(Packet);
end;

procedure Stop(NetInterface: PNetworkInterface);
begin
end;

initialization
  Net.Name := 'loopback';
  Net.Minor := CID;
  Net.CPUID := -1;
  Net.Start := Start;
  Net.Send := Send;
  Net.Stop := Stop;
  Net.Reset := Stop;
  RegisterNetworkInterface(@Net);
end.
