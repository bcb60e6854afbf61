{ Collective operations. Messages follow a binomial tree: ranks are numbered from the root, and
  the parent of a rank is its number without the lowest set bit. So N ranks take log2 N steps.
  The caller has checked the arguments, which are the same on all ranks. }
unit MpiCollectives;

{$mode objfpc}

interface

{ Copies Bytes at Data from the root to all other ranks. }
procedure Broadcast(Data: Pointer; Bytes: PtrUInt; Root: LongInt);

{ Combines Count elements of all ranks in Received of the root, which may be Sent. }
procedure Reduce(Sent, Received: Pointer; Count, DataType, Operation, Root: LongInt);

{ Scatter gives each rank a part (of Bytes) of the root's Sent; Gather collects the parts of all
  ranks in the root's Received. nil for the root's own part means that it is in place. }
procedure Scatter(Sent, Received: Pointer; Bytes: PtrUInt; Root: LongInt);
procedure Gather(Sent, Received: Pointer; Bytes: PtrUInt; Root: LongInt);

implementation

uses Arch, MpiMessages, MpiTypes;

const
  CONTEXT = 1;

procedure Send(Destination: LongInt; Data: Pointer; Bytes: PtrUInt);
begin
  SendMessage(Destination, 0, CONTEXT, Data, Bytes);
end;

procedure Receive(Source: LongInt; Data: Pointer; Bytes: PtrUInt);
var
  Message: PMessage;
begin
  Message := ReceiveMessage(Source, 0, CONTEXT);
  if Message^.Bytes < Bytes then
    Bytes := Message^.Bytes;
  Move(Message^.Data^, Data^, Bytes);
  FinishMessage(Message);
end;

{ This rank's number counted from the root, and the rank with a number. }
function Number(Root: LongInt): LongInt; inline;
begin
  Result := (GetCoreId - Root + CPU_COUNT) mod CPU_COUNT;
end;

function RankOf(Number, Root: LongInt): LongInt; inline;
begin
  Result := (Number + Root) mod CPU_COUNT;
end;

procedure Broadcast(Data: Pointer; Bytes: PtrUInt; Root: LongInt);
var
  Me, Bit: LongInt;
begin
  Me := Number(Root);
  Bit := 1;
  while (Bit < CPU_COUNT) and (Me and Bit = 0) do
    Bit := Bit * 2;
  if Me <> 0 then
    Receive(RankOf(Me - Bit, Root), Data, Bytes);
  { The child with the largest subtree first. }
  while Bit > 1 do
  begin
    Bit := Bit div 2;
    if Me + Bit < CPU_COUNT then
      Send(RankOf(Me + Bit, Root), Data, Bytes);
  end;
end;

procedure Reduce(Sent, Received: Pointer; Count, DataType, Operation, Root: LongInt);
var
  Me, Bit: LongInt;
  Bytes: PtrUInt;
  Sum, Own: Pointer;
  Message: PMessage;
begin
  Me := Number(Root);
  Bytes := PtrUInt(Count) * SizeOfType(DataType);
  Own := nil;
  Sum := Sent; { until something is combined with it }
  if Me = 0 then
  begin
    if Sent <> Received then
      Move(Sent^, Received^, Bytes);
    Sum := Received;
  end;
  Bit := 1;
  while (Bit < CPU_COUNT) and (Me and Bit = 0) do
  begin
    if Me + Bit < CPU_COUNT then
    begin
      if (Me <> 0) and (Own = nil) then
      begin
        GetMem(Own, Bytes);
        Move(Sent^, Own^, Bytes);
        Sum := Own;
      end;
      Message := ReceiveMessage(RankOf(Me + Bit, Root), 0, CONTEXT);
      Combine(Sum, Message^.Data, Count, DataType, Operation);
      FinishMessage(Message);
    end;
    Bit := Bit * 2;
  end;
  if Me <> 0 then
    Send(RankOf(Me - Bit, Root), Sum, Bytes);
  FreeMem(Own);
end;

procedure Scatter(Sent, Received: Pointer; Bytes: PtrUInt; Root: LongInt);
var
  Rank: LongInt;
begin
  if GetCoreId <> Root then
  begin
    Receive(Root, Received, Bytes);
    Exit;
  end;
  for Rank := 0 to CPU_COUNT - 1 do
    if Rank <> Root then
      Send(Rank, Sent + Rank * Bytes, Bytes)
    else if Received <> nil then
      Move((Sent + Rank * Bytes)^, Received^, Bytes);
end;

procedure Gather(Sent, Received: Pointer; Bytes: PtrUInt; Root: LongInt);
var
  Rank: LongInt;
begin
  if GetCoreId <> Root then
  begin
    Send(Root, Sent, Bytes);
    Exit;
  end;
  for Rank := 0 to CPU_COUNT - 1 do
    if Rank <> Root then
      Receive(Rank, Received + Rank * Bytes, Bytes)
    else if Sent <> nil then
      Move(Sent^, (Received + Rank * Bytes)^, Bytes);
end;

end.
