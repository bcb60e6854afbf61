{ Packets of GDB's remote protocol over virtio-console: `$`, the text, `#`, and a checksum of
  two digits (GDB manual, appendix E). }
unit GdbPackets;

{$mode objfpc}

interface

const
  PACKET_MAX = 4096;

var
  { The last packet received, zero-terminated. }
  Packet: array[0..PACKET_MAX] of Char;
  PacketSize: LongInt;

{ Waits for a packet and acknowledges it. }
procedure ReceivePacket;

{ Append to the reply, and send it. }
procedure AddText(const Text: ShortString);
procedure AddHex(Data: Pointer; Count: LongInt);
procedure AddNumber(Value: QWord);
procedure SendReply;

{ Whether the packet starts with Text; At then points behind that. }
function Begins(const Text: ShortString; out At: PChar): Boolean;

{ Parses a hexadecimal number and moves At behind it; -1 is all ones. }
function TakeNumber(var At: PChar): QWord;

{ Skips a character; False if it does not come next. }
function TakeChar(var At: PChar; C: Char): Boolean;

{ Parses Count bytes in hexadecimal. False: there are fewer. }
function TakeBytes(var At: PChar; Data: PByte; Count: LongInt): Boolean;

implementation

uses Arch, VirtIOConsole;

const
  DIGITS: array[0..15] of Char = '0123456789abcdef';

var
  Incoming: array[0..255] of Char;
  IncomingStart, IncomingStop: LongInt;
  Reply: array[0..PACKET_MAX + 4] of Char; { with `$` and the checksum }
  ReplySize: LongInt; { without them }

function ReceiveChar: Char;
begin
  while IncomingStart = IncomingStop do
  begin
    IncomingStart := 0;
    IncomingStop := ReadNow(@Incoming, SizeOf(Incoming));
    NOP;
  end;
  Result := Incoming[IncomingStart];
  Inc(IncomingStart);
end;

{ The value of a hexadecimal digit, or 16. }
function DigitOf(C: Char): Byte;
begin
  case C of
    '0'..'9': Result := Ord(C) - Ord('0');
    'a'..'f': Result := Ord(C) - Ord('a') + 10;
    'A'..'F': Result := Ord(C) - Ord('A') + 10;
  else
    Result := 16;
  end;
end;

{ Reads the next packet. False: it is damaged or too long. }
function ReadPacket: Boolean;
var
  C: Char;
  Sum, Told: Byte;
begin
  while ReceiveChar <> '$' do;
  Sum := 0;
  PacketSize := 0;
  repeat
    C := ReceiveChar;
    if C = '#' then
      Break;
    if C = '$' then { the packet before was cut off }
    begin
      Sum := 0;
      PacketSize := 0;
      Continue;
    end;
    Inc(Sum, Ord(C));
    if PacketSize < PACKET_MAX then
      Packet[PacketSize] := C;
    Inc(PacketSize);
  until False;
  Told := DigitOf(ReceiveChar) shl 4;
  Told := Told or DigitOf(ReceiveChar);
  Result := (Told = Sum) and (PacketSize <= PACKET_MAX);
  if Result then
    Packet[PacketSize] := #0;
end;

procedure ReceivePacket;
const
  Yes: Char = '+';
  No: Char = '-';
begin
  while not ReadPacket do
    SendNow(@No, 1);
  SendNow(@Yes, 1);
  ReplySize := 0;
end;

procedure AddChar(C: Char);
begin
  if ReplySize < PACKET_MAX then
  begin
    Inc(ReplySize);
    Reply[ReplySize] := C;
  end;
end;

procedure AddText(const Text: ShortString);
var
  I: LongInt;
begin
  for I := 1 to Length(Text) do
    AddChar(Text[I]);
end;

procedure AddHex(Data: Pointer; Count: LongInt);
var
  I: LongInt;
begin
  for I := 0 to Count - 1 do
  begin
    AddChar(DIGITS[PByte(Data)[I] shr 4]);
    AddChar(DIGITS[PByte(Data)[I] and 15]);
  end;
end;

procedure AddNumber(Value: QWord);
begin
  if Value > 15 then
    AddNumber(Value shr 4);
  AddChar(DIGITS[Value and 15]);
end;

procedure SendReply;
var
  I: LongInt;
  Sum: Byte;
begin
  Sum := 0;
  for I := 1 to ReplySize do
    Inc(Sum, Ord(Reply[I]));
  Reply[0] := '$';
  Reply[ReplySize + 1] := '#';
  Reply[ReplySize + 2] := DIGITS[Sum shr 4];
  Reply[ReplySize + 3] := DIGITS[Sum and 15];
  SendNow(@Reply, ReplySize + 4);
  ReplySize := 0;
end;

function Begins(const Text: ShortString; out At: PChar): Boolean;
var
  I: LongInt;
begin
  At := @Packet[Length(Text)];
  for I := 1 to Length(Text) do
    if Packet[I - 1] <> Text[I] then { the zero at its end differs too }
      Exit(False);
  Result := True;
end;

function TakeNumber(var At: PChar): QWord;
begin
  if TakeChar(At, '-') then
  begin
    TakeNumber(At);
    Exit(High(QWord));
  end;
  Result := 0;
  while DigitOf(At^) < 16 do
  begin
    Result := Result shl 4 or DigitOf(At^);
    Inc(At);
  end;
end;

function TakeChar(var At: PChar; C: Char): Boolean;
begin
  Result := At^ = C;
  if Result then
    Inc(At);
end;

function TakeBytes(var At: PChar; Data: PByte; Count: LongInt): Boolean;
var
  I: LongInt;
begin
  for I := 0 to Count - 1 do
  begin
    if (DigitOf(At[0]) > 15) or (DigitOf(At[1]) > 15) then
      Exit(False);
    Data[I] := DigitOf(At[0]) shl 4 or DigitOf(At[1]);
    Inc(At, 2);
  end;
  Result := True;
end;

end.
