{ Function names and backtraces.

  `pyvmm build` links a table of all functions into the image, sorted by address: their number; for
  each its address, and the offset of its name; then the names, zero-terminated. }
unit Symbols;

{$mode objfpc}

interface

{ `address  name+offset`; only the address if no function contains it. }
function SymbolText(Address: CodePointer): ShortString;

{ The name of the function; empty if no function contains the address. }
function SymbolName(Address: CodePointer): ShortString;

{ Writes the callers of a function, by frame pointers: up to 32, not counting repetitions. Only
  frames within [Low, High) are followed, so a damaged stack ends the walk. }
procedure WriteBacktrace(Frame, Low, High: PtrUInt);

implementation

uses Console;

type
  PSymbol = ^TSymbol;
  TSymbol = packed record
    Address, Name: LongWord;
  end;

var
  Count: LongWord; external name 'toro_symbols';
  TextStart: Byte; external name 'toro_text';
  TextEnd: Byte; external name 'toro_text_end';

{ The last symbol at or below Address. }
function FindSymbol(Address: PtrUInt): PSymbol;
var
  Table: PSymbol;
  Low, High, Middle: LongInt;
begin
  Table := PSymbol(PtrUInt(@Count) + SizeOf(Count));
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
  Result := Table + Low;
end;

function InFunction(Address: CodePointer): Boolean;
begin
  Result := (Address >= @TextStart) and (Address < @TextEnd) and (Count <> 0);
end;

function NameOf(Symbol: PSymbol): ShortString;
begin
  Result := StrPas(PChar(@Count) + SizeOf(Count) + Count * SizeOf(TSymbol) + Symbol^.Name);
end;

function SymbolName(Address: CodePointer): ShortString;
begin
  Result := '';
  if InFunction(Address) then
    Result := NameOf(FindSymbol(PtrUInt(Address)));
end;

function SymbolText(Address: CodePointer): ShortString;
var
  Symbol: PSymbol;
  Offset: ShortString;
begin
  Result := HexStr(PtrUInt(Address), 16);
  if not InFunction(Address) then
    Exit;
  Symbol := FindSymbol(PtrUInt(Address));
  Str(PtrUInt(Address) - Symbol^.Address, Offset);
  Result := Result + '  ' + NameOf(Symbol) + '+' + Offset;
end;

procedure WriteBacktrace(Frame, Low, High: PtrUInt);
const
  MAX_LINES = 32;
type
  PFrame = ^TFrame;
  TFrame = record
    Caller: PFrame;
    Return: CodePointer;
  end;
var
  Lines, Repeated: LongInt;
  Before: CodePointer;
  F: PFrame;

  procedure WriteRepeated;
  begin
    if Repeated > 0 then
      WriteConsoleF('    and %d times more\n', [Repeated]);
    Repeated := 0;
  end;

begin
  Lines := 0;
  Repeated := 0;
  Before := nil;
  F := PFrame(Frame);
  while (Lines < MAX_LINES) and (PtrUInt(F) >= Low) and (PtrUInt(F) <= High - SizeOf(TFrame)) and
        (PtrUInt(F) and 7 = 0) and (F^.Return <> nil) do
  begin
    if F^.Return = Before then
      Inc(Repeated)
    else
    begin
      WriteRepeated;
      { The return address follows the call, and may belong to the next function. }
      WriteText('  ' + SymbolText(F^.Return - 1) + #10);
      Inc(Lines);
    end;
    Before := F^.Return;
    if F^.Caller <= F then
      Break;
    F := F^.Caller;
  end;
  WriteRepeated;
end;

function RuntimeSymbolText(Address: CodePointer): ShortString;
begin
  Result := '  ' + SymbolText(Address);
end;

initialization
  BackTraceStrFunc := @RuntimeSymbolText;
end.
