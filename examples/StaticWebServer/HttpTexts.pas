{ Texts that are written piece by piece, without memory for each piece. }
unit HttpTexts;

{$mode delphi}

interface

const
  TEXT_MAX = 10240; { bytes }

type
  PText = ^TText;
  TText = record
    Count: LongInt;
    Chars: array[0..TEXT_MAX - 1] of Char;
  end;

{ Adds a piece; what has no room is left out. }
procedure Add(var Text: TText; const Piece: ShortString);
procedure AddChars(var Text: TText; Chars: PChar; Count: LongInt);
procedure AddNumber(var Text: TText; Number: Int64);

implementation

procedure AddChars(var Text: TText; Chars: PChar; Count: LongInt);
begin
  if Count > TEXT_MAX - Text.Count then
    Count := TEXT_MAX - Text.Count;
  Move(Chars^, Text.Chars[Text.Count], Count);
  Inc(Text.Count, Count);
end;

procedure Add(var Text: TText; const Piece: ShortString);
begin
  AddChars(Text, @Piece[1], Length(Piece));
end;

procedure AddNumber(var Text: TText; Number: Int64);
var
  Digits: String[20];
begin
  Str(Number, Digits);
  Add(Text, Digits);
end;

end.
