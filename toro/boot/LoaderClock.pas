{ The TSC's frequency and the time of day, from the first source there is: KVM's clock (Linux:
  Documentation/virt/kvm/x86/msr.rst), CPUID, or the PIT; and for the time, the RTC. }
unit LoaderClock;

{$mode objfpc}
{$asmmode intel}

interface

uses BootInfo;

{ Fills in TscHz, WallClockNs and WallClockTsc. Uses Marks as scratch memory and clears it. }
procedure ReadClock(var Block: TBootInfo);

implementation

uses Arch;

const
  KVM_SIGNATURE = $4B4D564B; { EBX of leaf 4000_0000h: "KVMK" }
  KVM_FEATURES = $40000001;
  KVM_CLOCKSOURCE2 = 1 shl 3;
  MSR_WALL_CLOCK = $4B564D00;
  MSR_SYSTEM_TIME = $4B564D01;
  NS = 1000000000;

  PIT_HZ = 1193182;
  PIT_CHANNEL_2 = $42;
  PIT_COMMAND = $43;
  PIT_ONE_SHOT = $B0;        { channel 2, both bytes, mode 0 }
  SPEAKER = $61;
  SPEAKER_GATE = 1;
  SPEAKER_OUT = $20;

  GUESS_HZ = 1000000000;

type
  TRegisters = record
    EAX, EBX, ECX, EDX: LongWord;
  end;

  { struct pvclock_vcpu_time_info }
  TSystemTime = packed record
    Version, Padding: LongWord;
    TscTimestamp, Time: QWord;
    TscToNs: LongWord;
    Shift: ShortInt;
    Flags: Byte;
    Padding2: Word;
  end;
  PSystemTime = ^TSystemTime;

  { struct pvclock_wall_clock: the time at which the machine started }
  TWallClock = packed record
    Version, Seconds, Nanoseconds: LongWord;
  end;
  PWallClock = ^TWallClock;

procedure Cpuid(Leaf: LongWord; out Registers: TRegisters); assembler; nostackframe;
asm
  push rbx
  mov r8, rsi
  mov eax, edi
  xor ecx, ecx
  cpuid
  mov [r8 + TRegisters.EAX], eax
  mov [r8 + TRegisters.EBX], ebx
  mov [r8 + TRegisters.ECX], ecx
  mov [r8 + TRegisters.EDX], edx
  pop rbx
end;

procedure WriteMsr(Number: LongWord; Value: QWord); assembler; nostackframe;
asm
  mov ecx, edi
  mov eax, esi
  mov rdx, rsi
  shr rdx, 32
  wrmsr
end;

{ ---- KVM's clock ---- }

function HasKvmClock: Boolean;
var
  Registers: TRegisters;
begin
  Cpuid($40000000, Registers);
  if (Registers.EBX <> KVM_SIGNATURE) or (Registers.EAX < KVM_FEATURES) then
    Exit(False);
  Cpuid(KVM_FEATURES, Registers);
  Result := Registers.EAX and KVM_CLOCKSOURCE2 <> 0;
end;

{ KVM writes both structures into Marks, which is aligned to 4 as KVM requires. }
procedure ReadKvmClock(var Block: TBootInfo);
var
  System_: PSystemTime;
  Wall: PWallClock;
begin
  System_ := @Block.Marks[0];
  Wall := @Block.Marks[8];
  WriteMsr(MSR_SYSTEM_TIME, PtrUInt(System_) or 1);
  WriteMsr(MSR_WALL_CLOCK, PtrUInt(Wall));
  WriteMsr(MSR_SYSTEM_TIME, 0);
  { time = (TSC - TscTimestamp) * 2^Shift * TscToNs / 2^32 }
  Block.TscHz := QWord(NS) shl 32 div System_^.TscToNs;
  if System_^.Shift < 0 then
    Block.TscHz := Block.TscHz shl -System_^.Shift
  else
    Block.TscHz := Block.TscHz shr System_^.Shift;
  Block.WallClockTsc := System_^.TscTimestamp;
  Block.WallClockNs := QWord(Wall^.Seconds) * NS + Wall^.Nanoseconds + System_^.Time;
end;

{ ---- CPUID and the PIT ---- }

{ 0: CPUID does not tell. }
function CpuidHz: QWord;
var
  Registers: TRegisters;
begin
  Result := 0;
  Cpuid(0, Registers);
  if Registers.EAX < $15 then
    Exit;
  Cpuid($15, Registers);
  if Registers.EAX <> 0 then
    Result := QWord(Registers.ECX) * Registers.EBX div Registers.EAX;
end;

{ Counts TSC ticks during 10 ms of the PIT. Without a PIT the port reads as all ones, and the
  loop ends at once. }
function PitHz: QWord;
const
  COUNT = PIT_HZ div 100;
var
  Start: QWord;
begin
  write_portb(SPEAKER_GATE, SPEAKER);
  write_portb(PIT_ONE_SHOT, PIT_COMMAND);
  write_portb(COUNT and $FF, PIT_CHANNEL_2);
  write_portb(COUNT shr 8, PIT_CHANNEL_2);
  Start := read_rdtsc;
  while read_portb(SPEAKER) and SPEAKER_OUT = 0 do
    ;
  Result := (read_rdtsc - Start) * 100;
  if Result < GUESS_HZ div 10 then
    Result := GUESS_HZ;
end;

{ ---- The RTC ---- }

function ReadRtc(Index: Byte): LongInt;
begin
  write_portb(Index, $70);
  Result := read_portb($71);
  Result := Result shr 4 * 10 + Result and 15; { BCD }
end;

{ Unix time in seconds; 0 without an RTC. }
function RtcTime: QWord;
var
  Year, Month: LongInt;
begin
  Year := 2000 + ReadRtc(9);
  Month := ReadRtc(8);
  if (Month < 1) or (Month > 12) or (Year > 2099) then
    Exit(0);
  Result := ((QWord(DaysOf(Year, Month, ReadRtc(7))) * 24 + ReadRtc(4)) * 60 + ReadRtc(2)) * 60 + ReadRtc(0);
end;

procedure ReadClock(var Block: TBootInfo);
var
  I: LongInt;
begin
  if HasKvmClock then
    ReadKvmClock(Block)
  else
  begin
    Block.TscHz := CpuidHz;
    if Block.TscHz = 0 then
      Block.TscHz := PitHz;
    Block.WallClockNs := RtcTime * NS;
    Block.WallClockTsc := read_rdtsc;
  end;
  for I := 0 to High(Block.Marks) do
    Block.Marks[I] := 0;
end;

end.
