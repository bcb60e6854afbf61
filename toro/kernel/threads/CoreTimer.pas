{ The timer of a core's local APIC. Deadlines are TSC values; the timer has a frequency of its
  own, which is measured at the first use. }
unit CoreTimer;

{$mode objfpc}

interface

type
  { The state of a core's timer. }
  TTimer = record
    Deadline: QWord; { TSC that it is set for; 0: it is not set }
    Ready: Boolean;  { its mode has been set }
    Generation: LongWord; { of the machine (TBootInfo) when it was set }
  end;

{ SetTimer makes TIMER_IRQ arrive on this core when the TSC reaches Deadline, or earlier.
  TimerCame must be called for every TIMER_IRQ that is taken. }
procedure SetTimer(var Timer: TTimer; Deadline: QWord);
procedure TimerCame(var Timer: TTimer);

implementation

uses BootInfo, Arch;

const
  DIVIDE_BY_1 = $B;
  MASKED = 1 shl 16;
  LONGEST = High(LongWord);

var
  TimerHz: QWord; { 0: not measured yet }

{ The timer's frequency in Hz. Both accesses are exits, so the timer has run from the middle of
  the first to the middle of the second. The attempt with the shortest exits counts. }
function Measure: QWord;
const
  TRIES = 3;
var
  I: LongInt;
  Before, Started, Stopping, After, Spent, Least, Ticks: QWord;
begin
  Least := High(QWord);
  Result := 1;
  for I := 1 to TRIES do
  begin
    Before := read_rdtsc;
    PLongWord(LAPIC_TIMER_INITIAL)^ := LONGEST;
    Started := read_rdtsc;
    DelayMicro(300);
    Stopping := read_rdtsc;
    Ticks := LONGEST - PLongWord(LAPIC_TIMER_CURRENT)^;
    After := read_rdtsc;
    Spent := Started - Before + After - Stopping;
    if Spent < Least then
    begin
      Least := Spent;
      Result := Ticks * TheBootInfo^.TscHz div ((Stopping + After - Before - Started) div 2);
    end;
  end;
  PLongWord(LAPIC_TIMER_INITIAL)^ := 0;
end;

procedure Prepare(var Timer: TTimer);
begin
  PLongWord(LAPIC_TIMER_DIVIDE)^ := DIVIDE_BY_1;
  if TimerHz = 0 then
  begin
    PLongWord(LAPIC_TIMER)^ := MASKED or TIMER_IRQ;
    { An early interrupt is corrected by setting the timer again; a late one is not. So aim 0.5
      % low. }
    TimerHz := Measure div 1000 * 995;
  end;
  PLongWord(LAPIC_TIMER)^ := TIMER_IRQ;
  Timer.Ready := True;
end;

procedure SetTimer(var Timer: TTimer; Deadline: QWord);
var
  Left, Count: QWord;
begin
  { A thaw may have lost what was set before. }
  if Timer.Generation <> LongWord(TheBootInfo^.Generation) then
  begin
    Timer.Generation := TheBootInfo^.Generation;
    Timer.Deadline := 0;
  end;
  if (Timer.Deadline <> 0) and (Timer.Deadline <= Deadline) then
    Exit;
  if not Timer.Ready then
    Prepare(Timer);
  Left := Deadline - read_rdtsc;
  if Int64(Left) < 0 then
    Left := 0;
  { At most one second at a time, so that the product does not overflow. }
  if Left > TheBootInfo^.TscHz then
    Left := TheBootInfo^.TscHz;
  Count := Left * TimerHz div TheBootInfo^.TscHz;
  if Count = 0 then
    Count := 1;
  if Count > LONGEST then
    Count := LONGEST;
  Timer.Deadline := Deadline;
  PLongWord(LAPIC_TIMER_INITIAL)^ := Count;
end;

procedure TimerCame(var Timer: TTimer);
begin
  Timer.Deadline := 0;
end;

end.
