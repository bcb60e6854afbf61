{ Function names and backtraces.

  `pyvmm build` links a table of all functions into the image, sorted by address: their number; the
  address of each; then the names in the same order, zero-terminated. }
unit Symbols;

{$mode objfpc}

interface

{ `  address  name+offset`; only the address if no function contains it. }
function SymbolText(Address: CodePointer): ShortString;

{ The name of the function; empty if no function contains the address. }
function SymbolName(Address: CodePointer): ShortString;

{ Writes the callers of a function, by frame pointers: up to 32, not counting repetitions. Only
  frames within [Low, High) are followed, so a damaged stack ends the walk. }
procedure WriteBacktrace(Frame, Low, High: PtrUInt);

implementation

uses Console;

var
  Count: LongWord; external name 'toro_symbols';
  TextStart: Byte; external name 'toro_text';
  TextEnd: Byte; external name 'toro_text_end';

{ The address of a function. }
function AddressOf(Index: LongInt): PtrUInt;
begin
  Result := PLongWord(@Count)[Index + 1];
end;

{ The index of the function that contains an address; -1: none does. }
function FindFunction(Address: CodePointer): LongInt;
var
  High_, Middle: LongInt;
begin
  if (Address < @TextStart) or (Address >= @TextEnd) or (Count = 0) then
    Exit(-1);
  Result := 0;
  High_ := Count - 1;
  while Result < High_ do
  begin
    Middle := (Result + High_ + 1) div 2;
    if AddressOf(Middle) <= PtrUInt(Address) then
      Result := Middle
    else
      High_ := Middle - 1;
  end;
end;

function NameOf(Index: LongInt): ShortString;
var
  Name: PChar;
begin
  Name := PChar(@PLongWord(@Count)[Count + 1]);
  while Index > 0 do
  begin
    Inc(Name, StrLen(Name) + 1);
    Dec(Index);
  end;
  Result := StrPas(Name);
end;

function SymbolName(Address: CodePointer): ShortString;
var
  Index: LongInt;
begin
  Result := '';
  Index := FindFunction(Address);
  if Index >= 0 then
    Result := NameOf(Index);
end;

function SymbolText(Address: CodePointer): ShortString;
var
  Index: LongInt;
  Offset: ShortString;
begin
  Result := '  ' + HexStr(PtrUInt(Address), 16);
  Index := FindFunction(Address);
  if Index < 0 then
    Exit;
  Str(PtrUInt(Address) - AddressOf(Index), Offset);
  Result := Result + '  ' + NameOf(Index) + '+' + Offset;
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
      WriteText(SymbolText(F^.Return - 1));
      WriteText(#10);
      Inc(Lines);
    end;
    Before := F^.Return;
    if F^.Caller <= F then
      Break;
    F := F^.Caller;
  end;
  WriteRepeated;
end;

initialization
  BackTraceStrFunc := @SymbolText;
end.
