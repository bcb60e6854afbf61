{ SHA-256 (FIPS 180-4). }
unit Sha256;

{$mode objfpc}

interface

type
  TSha256 = record
    State: array[0..7] of LongWord;
    Size: QWord;                  { bytes so far }
    Block: array[0..63] of Byte;  { Size modulo 64 of them wait }
  end;

procedure ShaStart(out Sha: TSha256);
procedure ShaAdd(var Sha: TSha256; Data: PByte; Count: PtrInt);

{ The hash in hexadecimal digits. }
function ShaEnd(var Sha: TSha256): ShortString;

implementation

const
  FIRST: array[0..7] of LongWord = ($6a09e667, $bb67ae85, $3c6ef372, $a54ff53a, $510e527f, $9b05688c, $1f83d9ab,
    $5be0cd19);
  K: array[0..63] of LongWord = (
    $428a2f98, $71374491, $b5c0fbcf, $e9b5dba5, $3956c25b, $59f111f1, $923f82a4, $ab1c5ed5,
    $d807aa98, $12835b01, $243185be, $550c7dc3, $72be5d74, $80deb1fe, $9bdc06a7, $c19bf174,
    $e49b69c1, $efbe4786, $0fc19dc6, $240ca1cc, $2de92c6f, $4a7484aa, $5cb0a9dc, $76f988da,
    $983e5152, $a831c66d, $b00327c8, $bf597fc7, $c6e00bf3, $d5a79147, $06ca6351, $14292967,
    $27b70a85, $2e1b2138, $4d2c6dfc, $53380d13, $650a7354, $766a0abb, $81c2c92e, $92722c85,
    $a2bfe8a1, $a81a664b, $c24b8b70, $c76c51a3, $d192e819, $d6990624, $f40e3585, $106aa070,
    $19a4c116, $1e376c08, $2748774c, $34b0bcb5, $391c0cb3, $4ed8aa4a, $5b9cca4f, $682e6ff3,
    $748f82ee, $78a5636f, $84c87814, $8cc70208, $90befffa, $a4506ceb, $bef9a3f7, $c67178f2);

procedure ShaStart(out Sha: TSha256);
begin
  Sha := Default(TSha256);
  Sha.State := FIRST;
end;

procedure AddBlock(var Sha: TSha256; Data: PByte);
var
  W: array[0..63] of LongWord;
  S: array[0..7] of LongWord;
  I: LongInt;
  T1, T2: LongWord;
begin
  for I := 0 to 15 do
    W[I] := SwapEndian(PLongWord(Data)[I]);
  for I := 16 to 63 do
    W[I] := (RorDWord(W[I - 2], 17) xor RorDWord(W[I - 2], 19) xor (W[I - 2] shr 10)) + W[I - 7] +
      (RorDWord(W[I - 15], 7) xor RorDWord(W[I - 15], 18) xor (W[I - 15] shr 3)) + W[I - 16];
  S := Sha.State;
  for I := 0 to 63 do
  begin
    T1 := S[7] + (RorDWord(S[4], 6) xor RorDWord(S[4], 11) xor RorDWord(S[4], 25)) +
      ((S[4] and S[5]) xor (not S[4] and S[6])) + K[I] + W[I];
    T2 := (RorDWord(S[0], 2) xor RorDWord(S[0], 13) xor RorDWord(S[0], 22)) +
      ((S[0] and S[1]) xor (S[0] and S[2]) xor (S[1] and S[2]));
    S[7] := S[6];
    S[6] := S[5];
    S[5] := S[4];
    S[4] := S[3] + T1;
    S[3] := S[2];
    S[2] := S[1];
    S[1] := S[0];
    S[0] := T1 + T2;
  end;
  for I := 0 to 7 do
    Sha.State[I] := Sha.State[I] + S[I];
end;

procedure ShaAdd(var Sha: TSha256; Data: PByte; Count: PtrInt);
var
  Waiting, Part: PtrInt;
begin
  while Count > 0 do
  begin
    Waiting := Sha.Size mod 64;
    Part := 64 - Waiting;
    if Part > Count then
      Part := Count;
    if Part = 64 then
      AddBlock(Sha, Data)
    else
    begin
      Move(Data^, Sha.Block[Waiting], Part);
      if Waiting + Part = 64 then
        AddBlock(Sha, @Sha.Block);
    end;
    Inc(Sha.Size, Part);
    Inc(Data, Part);
    Dec(Count, Part);
  end;
end;

function ShaEnd(var Sha: TSha256): ShortString;
var
  Bits: QWord;
  Pad: Byte;
  I: LongInt;
begin
  Bits := SwapEndian(8 * Sha.Size);
  Pad := $80;
  ShaAdd(Sha, @Pad, 1);
  Pad := 0;
  while Sha.Size mod 64 <> 56 do
    ShaAdd(Sha, @Pad, 1);
  ShaAdd(Sha, @Bits, 8);
  Result := '';
  for I := 0 to 7 do
    Result := Result + LowerCase(HexStr(Sha.State[I], 8));
end;

end.
