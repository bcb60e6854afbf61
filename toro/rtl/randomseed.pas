{ Randomize of FPC's run-time library, which on a bare machine sets the same seed each time.
  The linker puts this one in its place (--wrap). RandSeed, set by the program, still starts the
  sequence of that seed. }
unit randomseed;

{$mode objfpc}
{$asmmode intel}

interface

{ What Randomize does here. }
procedure SeedRandom;

{ Whether the CPU has a generator, and a number from it; 0 if it is exhausted. }
function HasRdRand: Boolean;
function RdRand: QWord;

implementation

uses BootInfo, Arch;

{ Bit 30 of ECX, CPUID leaf 1 (Intel SDM volume 1, section 7.3.17) }
function HasRdRand: Boolean; assembler; nostackframe;
asm
  push rbx
  mov eax, 1
  cpuid
  bt ecx, 30
  setc al
  pop rbx
end;

{ A number from the CPU's generator, which may be exhausted for a moment; 0 after ten attempts.
  FPC's assembler does not know the instruction. }
function RdRand: QWord; assembler; nostackframe;
asm
  mov ecx, 10
@Again:
  db $48, $0F, $C7, $F0 { rdrand rax }
  jc @Done
  dec ecx
  jnz @Again
  xor eax, eax
@Done:
end;

{ The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
  generators, OOPSLA 2014): every input bit changes half of the output bits. }
{$push}{$q-}{$r-}
function Mix(Value: QWord): QWord;
begin
  Result := (Value xor Value shr 30) * QWord($BF58476D1CE4E5B9);
  Result := (Result xor Result shr 27) * QWord($94D049BB133111EB);
  Result := Result xor Result shr 31;
end;
{$pop}

{ No source need be there: another loader leaves the VMM's random bytes 0, and the CPU may lack
  RDRAND. The TSC makes each call differ. }
procedure SeedRandom; public name '__wrap_SYSTEM_$$_RANDOMIZE';
var
  Seed, Part: QWord;
begin
  Seed := 0;
  for Part in TheBootInfo^.Random do
    Seed := Mix(Seed xor Part);
  if HasRdRand then
    Seed := Seed xor RdRand;
  RandSeed := LongWord(Mix(Mix(Seed) xor read_rdtsc));
end;

end.
