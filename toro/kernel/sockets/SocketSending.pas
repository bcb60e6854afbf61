{ Sending through a socket: what credit and the device have room for, packet by packet. }
unit SocketSending;

{$mode objfpc}

interface

uses SocketTables, VSockPackets;

{ Whether the connection takes data. }
function CanSend(Socket: PSocket): Boolean;

{ Send HeadSize bytes of Head, of MAX_HEAD at most, and then data likewise, in one packet if they fit.
  Return how many of the data were sent. SendInPlace does not wait for the device, which reads the
  data until Transfer^.Finished is called. }
function SendHeadAndData(Socket: PSocket; Head: PChar; HeadSize: LongWord; Addr: PChar; AddrLen: LongWord): LongInt;
function SendInPlace(Socket: PSocket; Head: PChar; HeadSize: LongWord; Addr: PChar; AddrLen: LongWord;
  Transfer: PTransfer): LongInt;

implementation

uses Arch, CoreThreads, Scheduling, SocketWaits, StreamSockets;

type
  { What is left of something to send }
  TPart = record
    First: PChar;
    Size: LongWord;
  end;

function CanSend(Socket: PSocket): Boolean;
begin
  Result := (Socket^.State in [SCK_TRANSMITTING, SCK_PEER_DISCONNECTED]) and
            not Socket^.PeerTakesNoMore and not Socket^.SendingEnded;
end;

{ Not inline: FPC 3.2.2 would lose a Result of 0 in SendPart. }
function Least(A, B: LongWord): LongWord;
begin
  Result := A;
  if B < A then
    Result := B;
end;

function PartOf(First: PChar; Size: LongWord): TPart;
begin
  Result.First := First;
  Result.Size := Size;
end;

procedure MoveOn(var Part: TPart; Count: LongWord);
begin
  Inc(Part.First, Count);
  Dec(Part.Size, Count);
end;

{ Sends one packet with what credit allows of Head and Data, and moves on in both. Returns how many
  bytes it carries: 0 if there is no credit, or no room in the device. }
function SendPart(Socket: PSocket; var Head, Data: TPart; var Transfer: TTransfer; out DeviceFull: Boolean): LongWord;
var
  HeadSize: LongWord;
begin
  DeviceFull := False;
  Result := Least(Least(CreditOf(Socket), MAX_PAYLOAD), Head.Size + Data.Size);
  if Result = 0 then
    Exit;
  HeadSize := Least(Result, Head.Size);
  DeviceFull := not Driver^.SendData(HeaderFor(Socket, OP_RW, Result, 0), Head.First, HeadSize, Data.First, Transfer);
  if DeviceFull then
    Exit(0);
  Inc(Socket^.Sent, Result);
  MoveOn(Head, HeadSize);
  MoveOn(Data, Result - HeadSize);
end;

{ Sends Head, and then Data. Stops when the connection ends, or the thread was killed, or would have to
  wait and must not. }
procedure SendParts(Socket: PSocket; var Head, Data: TPart; var Transfer: TTransfer);
var
  DeviceFull, Waited: Boolean;
begin
  while (Head.Size + Data.Size > 0) and CanSend(Socket) do
  begin
    if SendPart(Socket, Head, Data, Transfer, DeviceFull) > 0 then
      Continue;
    if not Socket^.Blocking then
      Break;
    if not DeviceFull then
      Waited := WaitFor(Socket^.Waiters, 0)
    else
      Waited := Driver^.WantRoom() or WaitFor(Driver^.Room, 0);
    if not Waited then
      Break;
  end;
end;

{ Waits until the device has returned all packets that it reads from the caller's memory. }
procedure WaitForTransfer(var Transfer: TTransfer);
begin
  while Transfer.Packets > 0 do
  begin
    Driver^.WantRoom();
    Driver^.Flush();
    if Transfer.Packets > 0 then
    begin
      ReleaseLock(NetworkLock);
      Block(0);
      AcquireLock(NetworkLock);
    end;
  end;
end;

function SendHeadAndData(Socket: PSocket; Head: PChar; HeadSize: LongWord; Addr: PChar; AddrLen: LongWord): LongInt;
var
  Transfer: TTransfer;
  First, Data: TPart;
begin
  First := PartOf(Head, HeadSize);
  Data := PartOf(Addr, AddrLen);
  Transfer.Packets := 0;
  Transfer.Thread := GetCurrentThread^.ThreadID;
  AcquireLock(NetworkLock);
  SendParts(Socket, First, Data, Transfer);
  WaitForTransfer(Transfer);
  LeaveSockets;
  Result := AddrLen - Data.Size;
end;

function SendInPlace(Socket: PSocket; Head: PChar; HeadSize: LongWord; Addr: PChar; AddrLen: LongWord;
  Transfer: PTransfer): LongInt;
var
  First, Data: TPart;
begin
  First := PartOf(Head, HeadSize);
  Data := PartOf(Addr, AddrLen);
  AcquireLock(NetworkLock);
  Transfer^.Packets := 1; { there may be more }
  Transfer^.Thread := 0;
  SendParts(Socket, First, Data, Transfer^);
  Returned(Transfer^);
  LeaveSockets;
  Result := AddrLen - Data.Size;
end;

end.
