{ The console: text on the serial port. Each core collects its output until a line is complete.
  So a line costs one string instruction (one exit), and lines of two cores do not mix. }
unit Console;

{$mode objfpc}
{$asmmode intel}

interface

const
  HEX_CHAR: array[0..15] of Char = '0123456789ABCDEF';
  END_OF_INPUT = #4; { as a terminal's Ctrl-D }

type
  { A destination for text: takes Count bytes at Data. }
  TWriter = procedure(Data: PChar; Count: PtrInt);

{ Writes text. Format may contain \n (new line), \v (tab), \t (the time, as in
  27/02/1987-05:04:52) and \\, and conversions that each take the next argument: %d (unsigned
  decimal), %h (0x and 16 hexadecimal digits), %p (PChar), %c (character). %% writes %. \c, which
  selects a colour on other consoles, writes nothing. }
procedure WriteConsoleF(const Format: AnsiString; const Args: array of PtrUInt);

{ The same, to another destination. }
procedure WriteFormat(Writer: TWriter; const Format: AnsiString; const Args: array of PtrUInt);

{ Writes Count bytes at Data unchanged. }
procedure WriteConsole(Data: PChar; Count: PtrInt);

{ Write a string, a decimal number, and 16 hexadecimal digits. }
procedure WriteText(const Text: ShortString);
procedure PrintDecimal(Value: PtrUInt);
procedure WriteAddress(Value: PtrUInt);

{ Writes out the incomplete line of this core. }
procedure FlushConsole;

{ Ends a line. }
procedure FlushUp;

{ Write and read one character. Reading blocks the thread until one arrives. It works on core 0
  only, which gets the port's interrupt. When the input has ended, END_OF_INPUT is read. }
procedure PutCtoSerial(C: Char);
procedure ReadFromSerial(out C: Char);

{ Waits for input, and reads a line of it, or the first Count bytes; a carriage return ends a
  line too. Returns the number of bytes; 0: the input has ended. }
function ReadConsole(Data: PChar; Count: PtrInt): PtrInt;

{ Whether a read would not wait. }
function InputReady: Boolean;

var
  { Suppresses all output of the routines above and of WriteLn. }
  HeadLess: Boolean;

implementation

uses BootInfo, Arch, Scheduling;

const
  SERIAL_PORT = $3F8;
  IER = 1;                { interrupt enable register }
  IER_RECEIVED = 1;
  IER_MODEM = 8;
  MCR = 4;                { modem control register }
  MCR_OUT1 = 4;           { asks the VMM to tell the end of input }
  MSR = 6;                { modem status register }
  MSR_CARRIER = $80;      { the input lasts }
  LSR = 5;                { line status register }
  LSR_DATA_READY = 1;
  LINE_SIZE = 252;

type
  PLine = ^TLine;
  TLine = record
    Count: LongInt;
    Text: array[0..LINE_SIZE - 1] of Char;
  end;

var
  Lines: array[0..MAX_CPU] of TLine; { one more, as they are aligned }

{ This core's line. KVM splits OUTSB's string where a page ends, and what another core writes may
  come between the parts; so a line is within a page. }
function Line: PLine; inline;
begin
  Result := PLine((PtrUInt(@Lines) + SizeOf(TLine) - 1) and not PtrUInt(SizeOf(TLine) - 1)) + GetCoreId;
end;

procedure FlushConsole;
begin
  with Line^ do
  begin
    if Count > 0 then
      write_portsb(@Text, Count, SERIAL_PORT);
    Count := 0;
  end;
end;

procedure WriteChar(C: Char);
begin
  with Line^ do
  begin
    Text[Count] := C;
    Inc(Count);
    if (C = #10) or (Count = LINE_SIZE) then
      FlushConsole;
  end;
end;

procedure WriteConsole(Data: PChar; Count: PtrInt);
var
  I: PtrInt;
begin
  if HeadLess then
    Exit;
  for I := 0 to Count - 1 do
    WriteChar(Data[I]);
end;

procedure WriteText(const Text: ShortString);
begin
  WriteConsole(@Text[1], Length(Text));
end;

procedure PrintDecimal(Value: PtrUInt); [public, alias: 'PrintDecimal'];
var
  Text: ShortString;
begin
  Str(Value, Text);
  WriteText(Text);
end;

procedure WriteAddress(Value: PtrUInt);
begin
  WriteText(HexStr(Value, 16));
end;

procedure WriteArgument(Writer: TWriter; Conversion: Char; Value: PtrUInt);
var
  Text: ShortString;
begin
  case Conversion of
    'd': Str(Value, Text);
    'h': Text := '0x' + HexStr(Value, 16);
    'p':
      begin
        Writer(PChar(Value), StrLen(PChar(Value)));
        Exit;
      end;
    'c': Text := Char(Value);
  else
    Exit;
  end;
  Writer(@Text[1], Length(Text));
end;

procedure WriteTime(Writer: TWriter);
var
  Time: TNow;
  Text: array[0..18] of Char;

  procedure Put(Position, Value: LongWord);
  begin
    Text[Position] := Char(Ord('0') + Value div 10 mod 10);
    Text[Position + 1] := Char(Ord('0') + Value mod 10);
  end;

begin
  Text := '00/00/0000-00:00:00';
  Now(@Time);
  Put(0, Time.Day);
  Put(3, Time.Month);
  Put(6, Time.Year div 100);
  Put(8, Time.Year);
  Put(11, Time.Hour);
  Put(14, Time.Min);
  Put(17, Time.Sec);
  Writer(@Text, SizeOf(Text));
end;

procedure WriteFormat(Writer: TWriter; const Format: AnsiString; const Args: array of PtrUInt);
var
  I, Argument: PtrInt;
begin
  I := 1;
  Argument := 0;
  while I <= Length(Format) do
  begin
    if (Format[I] = '\') and (I < Length(Format)) then
    begin
      Inc(I);
      case Format[I] of
        'n': Writer(PChar(#10), 1);
        'v': Writer(PChar(#9), 1);
        't': WriteTime(Writer);
        'c': ;
      else
        Writer(@Format[I], 1);
      end;
    end
    else if (Format[I] = '%') and (I < Length(Format)) then
    begin
      Inc(I);
      if Format[I] = '%' then
        Writer(@Format[I], 1)
      else if Argument <= High(Args) then
      begin
        WriteArgument(Writer, Format[I], Args[Argument]);
        Inc(Argument);
      end;
    end
    else
      Writer(@Format[I], 1);
    Inc(I);
  end;
end;

procedure WriteConsoleF(const Format: AnsiString; const Args: array of PtrUInt);
begin
  if HeadLess then
    Exit;
  WriteFormat(@WriteConsole, Format, Args);
end;

procedure FlushUp; [public, alias: 'FlushUp'];
begin
  WriteText(#10);
end;

procedure PutCtoSerial(C: Char); [public, alias: 'PutCtoSerial'];
begin
  WriteConsole(@C, 1);
end;

function DataReady: Boolean;
begin
  Result := read_portb(SERIAL_PORT + LSR) and LSR_DATA_READY <> 0;
end;

function HasCarrier: Boolean;
begin
  Result := read_portb(SERIAL_PORT + MSR) and MSR_CARRIER <> 0;
end;

var
  Prepared: Boolean;
  TellsEnd: Boolean; { there was a carrier at first, so its loss means something }

procedure PrepareInput;
begin
  FlushConsole;
  if not Prepared then
  begin
    Prepared := True;
    TellsEnd := HasCarrier;
    write_portb(MCR_OUT1, SERIAL_PORT + MCR);
  end;
  write_portb(IER_RECEIVED or IER_MODEM, SERIAL_PORT + IER);
end;

{ Waits for a byte; False: the input has ended. }
function ReceiveByte(out C: Char): Boolean;
begin
  PrepareInput;
  while not DataReady do
  begin
    if TellsEnd and not HasCarrier and not DataReady then
      Exit(False);
    WaitForInterrupt(TheBootInfo^.ConsoleVector);
    Checkpoint;
  end;
  C := Char(read_portb(SERIAL_PORT));
  Result := True;
end;

procedure ReadFromSerial(out C: Char);
begin
  if not ReceiveByte(C) then
    C := END_OF_INPUT;
end;

function ReadConsole(Data: PChar; Count: PtrInt): PtrInt;
begin
  Result := 0;
  while (Result < Count) and ReceiveByte(Data[Result]) do
  begin
    if Data[Result] = #13 then
      Data[Result] := #10;
    Inc(Result);
    if Data[Result - 1] = #10 then
      Break;
  end;
end;

function InputReady: Boolean;
begin
  PrepareInput;
  Result := DataReady or (TellsEnd and not HasCarrier);
end;

end.
