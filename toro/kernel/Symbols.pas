{ Addresses to names, and backtraces.

  `pyvmm build` links the names of all functions into the image, sorted by
  address: their number, for each its address and where its name starts, and
  behind all of them the names, each ended by a zero byte. }
unit Symbols;

{$mode objfpc}

interface

{ Writes `address  name+offset` and ends the line; only the address when it is
  in no function. }
procedure WriteSymbol(Address: PtrUInt);

{ Writes the callers of a function by its frame pointer, up to 32 of them. Only
  frames within [Low, High) are followed, so a damaged stack ends the walk. }
procedure WriteBacktrace(Frame, Low, High: PtrUInt);

implementation

uses Console;

type
  TSymbol = packed record
    Address, Name: LongWord;
  end;

var
  Count: LongWord; external name 'toro_symbols';
  TextStart: Byte; external name 'toro_text';
  TextEnd: Byte; external name 'toro_text_end';

procedure WriteSymbol(Address: PtrUInt);
var
  Table: ^TSymbol;
  Names: PChar;
  Low, High, Middle: LongInt;
begin
  WriteText('  ');
  WriteAddress(Address);
  if (Address >= PtrUInt(@TextStart)) and (Address < PtrUInt(@TextEnd)) and (Count > 0) then
  begin
    Table := Pointer(PtrUInt(@Count) + SizeOf(Count));
    Names := PChar(Table + Count);
    { The last symbol that is not above Address. }
    Low := 0;
    High := Count - 1;
    while Low < High do
    begin
      Middle := (Low + High + 1) div 2;
      if Table[Middle].Address <= Address then
        Low := Middle
      else
        High := Middle - 1;
    end;
    WriteText('  ');
    WriteConsole(Names + Table[Low].Name, StrLen(Names + Table[Low].Name));
    WriteText('+');
    PrintDecimal(Address - Table[Low].Address);
  end;
  WriteText(#10);
end;

procedure WriteBacktrace(Frame, Low, High: PtrUInt);
const
  MAX_DEPTH = 32;
type
  PFrame = ^TFrame;
  TFrame = record
    Caller, Return: PtrUInt;
  end;
var
  Depth: LongInt;
begin
  for Depth := 1 to MAX_DEPTH do
  begin
    if (Frame < Low) or (Frame > High - SizeOf(TFrame)) or (Frame and 7 <> 0) then
      Exit;
    with PFrame(Frame)^ do
    begin
      if Return = 0 then
        Exit;
      { A return address is behind its call, maybe in the next function. }
      WriteSymbol(Return - 1);
      if Caller <= Frame then
        Exit;
      Frame := Caller;
    end;
  end;
end;

end.
