{ Counts, with a sum over a heap that it changes, and does what the lines of its input say. }
program Frozen;

{$mode objfpc}

uses
  Arch, Kernel, Process, Thaw;

const
  SIZE = 65536;

var
  Words: array of QWord;
  Count: Int64;
  Half: Double = 0.5;

{ A step of work: it touches the heap, floating point and a number that must not be lost. }
procedure Work;
var
  I: LongInt;
begin
  Inc(Count);
  Half := Half * 1.0000001 + 0.5;
  for I := 0 to 255 do
    Inc(Words[(Count * 977 + I * 251) mod SIZE], QWord(Count) * QWord(I + 1));
end;

function Sum: QWord;
var
  I: LongInt;
begin
  Result := 0;
  for I := 0 to SIZE - 1 do
    Result := Result * 31 + Words[I];
end;

procedure Tell;
begin
  WriteLn(Count, ' ', Sum, ' ', Round(Half * 1000), ' ', UnixTimeNs, ' ', Random(1000000000));
end;

{ Another core's work, which only it does. }
function Elsewhere(Parameter: Pointer): PtrInt;
begin
  Result := 0;
  while True do
  begin
    InterlockedIncrement(PLongInt(Parameter)^);
    Sleep(5);
  end;
end;

var
  Line: ShortString;
  Ticks: array[0..7] of LongInt;
  Core: LongInt;
  ID: TThreadID;
begin
  SetLength(Words, SIZE);
  for Core := 1 to CPU_COUNT - 1 do
    BeginThread(nil, 32768, @Elsewhere, @Ticks[Core], Core, ID);
  WriteLn('ready');
  repeat
    ReadLn(Line);
    SysThreadSwitch; { the kernel notices a thaw before the line }
    case Line of
      'work': begin Work; Tell; end;
      'tell': Tell;
      'freeze': WriteLn(Freeze);
      'others':
        begin
          for Core := 1 to CPU_COUNT - 1 do
            Write(Ticks[Core], ' ');
          WriteLn;
        end;
    end;
  until (Line = 'end') or EOF;
end.
