{ Prints what GetRandomBytes gives, and checks ChaCha20. }
program Keys;

uses
  SysUtils, RandomBytes;

{ RFC 8439, section 2.3.2 }
procedure CheckBlock;
const
  NONCE: array[0..3] of LongWord = (1, $09000000, $4A000000, 0);
var
  State: TChaChaBlock;
  I: Integer;
begin
  State[0] := $61707865;
  State[1] := $3320646E;
  State[2] := $79622D32;
  State[3] := $6B206574;
  for I := 0 to 31 do
    PByte(@State[4])[I] := I;
  Move(NONCE, State[12], SizeOf(NONCE));
  ChaChaBlock(State);
  WriteLn(IntToHex(State[0], 8), ' ', IntToHex(State[15], 8));
end;

var
  Bytes: array[0..99] of Byte;
  I: Integer;
begin
  CheckBlock;
  WriteLn(GetRandomBytes(@Bytes, SizeOf(Bytes)));
  for I := 0 to High(Bytes) do
    Write(IntToHex(Bytes[I], 2));
  WriteLn;
end.
