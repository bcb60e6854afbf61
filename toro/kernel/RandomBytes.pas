{ Random bytes that cannot be foretold, such as keys are made of: ChaCha20 (RFC 8439, section 2.3)
  as a generator that replaces its key with every block (fast key erasure), so that what was given
  out cannot be found in memory later. The first key is from the VMM (the boot-info block), RDRAND
  and the TSC, and so are new ones after a thaw: two guests never draw the same. }
unit RandomBytes;

{$mode objfpc}

interface

{ Fills Count bytes at Data. False: neither the VMM nor the CPU has random numbers, and the bytes
  can be guessed. Any thread may call it. }
function GetRandomBytes(Data: Pointer; Count: PtrUInt): Boolean;

type
  TChaChaBlock = array[0..15] of LongWord;

{ The ChaCha20 block function: State is replaced by its 64 bytes of key stream. }
procedure ChaChaBlock(var State: TChaChaBlock);

implementation

uses Arch, BootInfo, RandomSeed;

const
  { 'expand 32-byte k' }
  CONSTANTS: array[0..3] of LongWord = ($61707865, $3320646E, $79622D32, $6B206574);
  KEY = 4; { its first word in a state }
  KEY_BYTES = 32;

var
  Lock: LongInt;
  State: TChaChaBlock; { constants, key, counter and nonce }
  Seeded: Boolean;
  Generation: QWord;   { of the machine when the key was mixed last }
  IsRandom: Boolean;

{$push}{$q-}{$r-}
procedure QuarterRound(var A, B, C, D: LongWord); inline;
begin
  A := A + B; D := RolDWord(D xor A, 16);
  C := C + D; B := RolDWord(B xor C, 12);
  A := A + B; D := RolDWord(D xor A, 8);
  C := C + D; B := RolDWord(B xor C, 7);
end;

procedure ChaChaBlock(var State: TChaChaBlock);
var
  X: TChaChaBlock;
  I: LongInt;
begin
  X := State;
  for I := 1 to 10 do
  begin
    QuarterRound(X[0], X[4], X[8], X[12]);
    QuarterRound(X[1], X[5], X[9], X[13]);
    QuarterRound(X[2], X[6], X[10], X[14]);
    QuarterRound(X[3], X[7], X[11], X[15]);
    QuarterRound(X[0], X[5], X[10], X[15]);
    QuarterRound(X[1], X[6], X[11], X[12]);
    QuarterRound(X[2], X[7], X[8], X[13]);
    QuarterRound(X[3], X[4], X[9], X[14]);
  end;
  for I := 0 to High(X) do
    State[I] := State[I] + X[I];
end;
{$pop}

{ A block of key stream, whose first half becomes the next key. }
procedure NextBlock(out Block: TChaChaBlock);
begin
  Block := State;
  ChaChaBlock(Block);
  Move(Block, State[KEY], KEY_BYTES);
end;

{ Mixes what the VMM, the CPU and the clock have into the key. }
procedure Seed;
var
  I: LongInt;
  Part: QWord;
  Block: TChaChaBlock;
begin
  Move(CONSTANTS, State, SizeOf(CONSTANTS));
  Generation := TheBootInfo^.Generation;
  Seeded := True;
  IsRandom := HasRdRand;
  for I := 0 to 3 do
  begin
    Part := TheBootInfo^.Random[I];
    IsRandom := IsRandom or (Part <> 0);
    if HasRdRand then
      Part := Part xor RdRand;
    State[KEY + 2 * I] := State[KEY + 2 * I] xor LongWord(Part);
    State[KEY + 2 * I + 1] := State[KEY + 2 * I + 1] xor LongWord(Part shr 32);
  end;
  State[14] := State[14] xor LongWord(read_rdtsc);
  State[15] := State[15] xor LongWord(read_rdtsc shr 32);
  NextBlock(Block);
end;

function GetRandomBytes(Data: Pointer; Count: PtrUInt): Boolean;
var
  Block: TChaChaBlock;
  Part: PtrUInt;
begin
  AcquireLock(Lock);
  if not Seeded or (Generation <> TheBootInfo^.Generation) then
    Seed;
  while Count > 0 do
  begin
    NextBlock(Block);
    Part := SizeOf(Block) - KEY_BYTES;
    if Part > Count then
      Part := Count;
    Move(Block[8], Data^, Part);
    Inc(Data, Part);
    Dec(Count, Part);
  end;
  FillChar(Block, SizeOf(Block), 0);
  Result := IsRandom;
  ReleaseLock(Lock);
end;

end.
