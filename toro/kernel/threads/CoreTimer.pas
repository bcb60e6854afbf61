{ The timer of a core's local APIC, which wakes it for a point in time. Time is the
  TSC; the timer has a frequency of its own, which is measured at its first use. }
unit CoreTimer;

{$mode objfpc}

interface

type
  { What a core knows of its timer. }
  TTimer = record
    Deadline: QWord; { that it is set for; 0 when it is not }
    Ready: Boolean;  { its mode is set }
  end;

{ Makes TIMER_IRQ come to this core at a TSC of Deadline, or earlier. Every
  TIMER_IRQ that is taken must be told with TimerCame. }
procedure SetTimer(var Timer: TTimer; Deadline: QWord);
procedure TimerCame(var Timer: TTimer);

implementation

uses BootInfo, Arch;

const
  DIVIDE_BY_1 = $B;
  MASKED = 1 shl 16;
  LONGEST = High(LongWord);

var
  TimerHz: QWord; { 0 until it is measured }

{ Ticks of the timer in a second. Both accesses take as long as an exit, so what is
  between their middles is what the timer has seen; the quickest try counts. }
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
    { Too early is put right by setting it again, too late is not. }
    TimerHz := Measure div 1000 * 995;
  end;
  PLongWord(LAPIC_TIMER)^ := TIMER_IRQ;
  Timer.Ready := True;
end;

procedure SetTimer(var Timer: TTimer; Deadline: QWord);
var
  Left, Count: QWord;
begin
  if (Timer.Deadline <> 0) and (Timer.Deadline <= Deadline) then
    Exit;
  if not Timer.Ready then
    Prepare(Timer);
  Left := Deadline - read_rdtsc;
  if Int64(Left) < 0 then
    Left := 0;
  { A second at once at most, so that the product fits. }
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
