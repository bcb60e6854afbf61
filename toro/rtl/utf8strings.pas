{ What FPC's library leaves to other units for strings: without them, its routines for case and
  comparison end the program. AnsiStrings are UTF-8. Case conversion and case-insensitive comparison cover ASCII only. }
unit utf8strings;

{$mode objfpc}
{$H+}

interface

implementation

function UpperWide(const S: UnicodeString): UnicodeString;
var
  I: SizeInt;
begin
  Result := S;
  for I := 1 to Length(Result) do
    if (Result[I] >= 'a') and (Result[I] <= 'z') then
      Result[I] := UnicodeChar(Ord(Result[I]) - 32);
end;

function LowerWide(const S: UnicodeString): UnicodeString;
var
  I: SizeInt;
begin
  Result := S;
  for I := 1 to Length(Result) do
    if (Result[I] >= 'A') and (Result[I] <= 'Z') then
      Result[I] := UnicodeChar(Ord(Result[I]) + 32);
end;

function CompareWide(const S1, S2: UnicodeString; Options: TCompareOptions): PtrInt;
var
  A, B: UnicodeString;
  I: SizeInt;
begin
  A := S1;
  B := S2;
  if coIgnoreCase in Options then
  begin
    A := UpperWide(A);
    B := UpperWide(B);
  end;
  for I := 1 to Length(A) do
  begin
    if I > Length(B) then
      Exit(1);
    if A[I] <> B[I] then
      Exit(PtrInt(Ord(A[I])) - Ord(B[I]));
  end;
  Result := Length(A) - Length(B);
end;

function UpperAnsi(const S: AnsiString): AnsiString;
begin
  Result := UpCase(S);
end;

function LowerAnsi(const S: AnsiString): AnsiString;
begin
  Result := LowerCase(S);
end;

{ Compares up to Count bytes. }
function CompareBytes(P1, P2: PChar; Count: PtrUInt; Fold: Boolean): PtrInt;
var
  C1, C2: Char;
begin
  while Count > 0 do
  begin
    C1 := P1^;
    C2 := P2^;
    if Fold then
    begin
      C1 := UpCase(C1);
      C2 := UpCase(C2);
    end;
    if C1 <> C2 then
      Exit(PtrInt(Ord(C1)) - Ord(C2));
    Inc(P1);
    Inc(P2);
    Dec(Count);
  end;
  Result := 0;
end;

function CompareStrings(const S1, S2: AnsiString; Fold: Boolean): PtrInt;
var
  Shorter: SizeInt;
begin
  Shorter := Length(S1);
  if Length(S2) < Shorter then
    Shorter := Length(S2);
  Result := CompareBytes(PChar(S1), PChar(S2), Shorter, Fold);
  if Result = 0 then
    Result := Length(S1) - Length(S2);
end;

function CompareStr(const S1, S2: AnsiString): PtrInt;
begin
  Result := CompareStrings(S1, S2, False);
end;

function CompareText(const S1, S2: AnsiString): PtrInt;
begin
  Result := CompareStrings(S1, S2, True);
end;

{ Compares zero-terminated strings. The zero is compared too, so neither is read past it. }
function CompareZ(P1, P2: PChar; Max: PtrUInt; Fold: Boolean): PtrInt;
var
  Count: PtrUInt;
begin
  Count := StrLen(P1) + 1;
  if Count > Max then
    Count := Max;
  Result := CompareBytes(P1, P2, Count, Fold);
end;

function StrComp(P1, P2: PChar): PtrInt;
begin
  Result := CompareZ(P1, P2, High(PtrUInt), False);
end;

function StrIComp(P1, P2: PChar): PtrInt;
begin
  Result := CompareZ(P1, P2, High(PtrUInt), True);
end;

function StrLComp(P1, P2: PChar; Max: PtrUInt): PtrInt;
begin
  Result := CompareZ(P1, P2, Max, False);
end;

function StrLIComp(P1, P2: PChar; Max: PtrUInt): PtrInt;
begin
  Result := CompareZ(P1, P2, Max, True);
end;

function StrLower(Str: PChar): PChar;
var
  I: PtrInt;
begin
  for I := 0 to StrLen(Str) - 1 do
    Str[I] := LowerCase(Str[I]);
  Result := Str;
end;

function StrUpper(Str: PChar): PChar;
var
  I: PtrInt;
begin
  for I := 0 to StrLen(Str) - 1 do
    Str[I] := UpCase(Str[I]);
  Result := Str;
end;

{ Bytes of the code point at Str: 0 at the end of the string, -1 if it is not UTF-8. }
function CodePointLength(const Str: PChar; MaxLookAhead: PtrInt): PtrInt;
var
  I: PtrInt;
begin
  case Str^ of
    #0: Exit(0);
    #1..#$7F: Exit(1);
    #$C2..#$DF: Result := 2;
    #$E0..#$EF: Result := 3;
    #$F0..#$F4: Result := 4;
  else
    Exit(-1);
  end;
  if Result > MaxLookAhead then
    Exit(-1);
  for I := 1 to Result - 1 do
    if (Str[I] < #$80) or (Str[I] > #$BF) then
      Exit(-1);
end;

function CharLength(const Str: PChar): PtrInt;
var
  P: PChar;
  Step: PtrInt;
begin
  P := Str;
  Result := 0;
  while P^ <> #0 do
  begin
    Step := CodePointLength(P, 4);
    if Step < 1 then
      Step := 1;
    Inc(P, Step);
    Inc(Result);
  end;
end;

function StandardCodePage(const Which: TStandardCodePageEnum): TSystemCodePage;
begin
  Result := CP_UTF8;
end;

procedure Install;
var
  Manager: TUnicodeStringManager;
begin
  Manager := Default(TUnicodeStringManager);
  GetUnicodeStringManager(Manager);
  with Manager do
  begin
    UpperWideStringProc := @UpperWide;
    LowerWideStringProc := @LowerWide;
    CompareWideStringProc := @CompareWide;
    CharLengthPCharProc := @CharLength;
    CodePointLengthProc := @CodePointLength;
    UpperAnsiStringProc := @UpperAnsi;
    LowerAnsiStringProc := @LowerAnsi;
    CompareStrAnsiStringProc := @CompareStr;
    CompareTextAnsiStringProc := @CompareText;
    StrCompAnsiStringProc := @StrComp;
    StrICompAnsiStringProc := @StrIComp;
    StrLCompAnsiStringProc := @StrLComp;
    StrLICompAnsiStringProc := @StrLIComp;
    StrLowerAnsiStringProc := @StrLower;
    StrUpperAnsiStringProc := @StrUpper;
    UpperUnicodeStringProc := @UpperWide;
    LowerUnicodeStringProc := @LowerWide;
    CompareUnicodeStringProc := @CompareWide;
    GetStandardCodePageProc := @StandardCodePage;
  end;
  SetUnicodeStringManager(Manager);
  DefaultSystemCodePage := CP_UTF8;
  DefaultUnicodeCodePage := CP_UTF16;
end;

initialization
  Install;
end.
