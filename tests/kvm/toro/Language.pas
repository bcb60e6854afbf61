{ What applications use of Pascal and of its library, on the bare machine. }
program Language;

{$mode objfpc}
{$H+}

uses
  Checks, SysUtils, Classes, Math, StrUtils;

type
  IShape = interface
    function Area: Double;
  end;

  TShape = class(TInterfacedObject, IShape)
    function Area: Double; virtual; abstract;
  end;

  TCircle = class(TShape)
  private
    FRadius: Double;
  public
    constructor Create(Radius: Double);
    destructor Destroy; override;
    function Area: Double; override;
  end;

  EOwn = class(Exception);

  generic TPair<T> = record
    First, Second: T;
  end;
  TIntegerPair = specialize TPair<LongInt>;

var
  Destroyed: LongInt;

constructor TCircle.Create(Radius: Double);
begin
  FRadius := Radius;
end;

destructor TCircle.Destroy;
begin
  Inc(Destroyed);
  inherited;
end;

function TCircle.Area: Double;
begin
  Result := Pi * Sqr(FRadius);
end;

procedure TestClasses;
var
  Shape: IShape;
begin
  Shape := TCircle.Create(2);
  Check(Abs(Shape.Area - 12.566370614) < 1e-8, 'virtual method through an interface');
  Shape := nil;
  Check(Destroyed = 1, 'interface reference counting');
end;

procedure TestExceptions;
var
  Seen: String;
begin
  Seen := '';
  try
    try
      raise EOwn.CreateFmt('number %d', [5]);
    finally
      Seen := Seen + 'finally ';
    end;
  except
    on E: EOwn do
      Seen := Seen + E.Message;
  end;
  Check(Seen = 'finally number 5', 'try, finally, except');
  try
    StrToInt('twelve');
    Check(False, 'exception from the library');
  except
    on E: EConvertError do
      Check(True, 'exception from the library');
  end;
end;

procedure TestMemoryErrors;
var
  P: Pointer;
begin
  try
    GetMem(P, PtrUInt(1) shl 38);
    Check(False, 'more memory than there is');
  except
    on E: EOutOfMemory do
      Check(True, 'more memory than there is');
  end;
  GetMem(P, 100);
  FreeMem(P);
  try
    FreeMem(P);
    Check(False, 'memory that is freed twice');
  except
    on E: EInvalidPointer do
      Check(True, 'memory that is freed twice');
  end;
end;

procedure TestStrings;
var
  S, T: String;
  U: UnicodeString;
  I: LongInt;
begin
  S := '';
  for I := 1 to 1000 do
    S := S + IntToStr(I) + ',';
  Check(Length(S) = 3893, 'growing a string');
  T := S;
  T[1] := 'x';
  Check((S[1] = '1') and (T[1] = 'x'), 'copy on write');
  U := UTF8Decode('gr'#$C3#$BC#$C3#$9F'e');
  Check((Length(U) = 5) and (Ord(U[3]) = $FC), 'UTF-8 to UTF-16');
  Check(UTF8Encode(U) = 'gr'#$C3#$BC#$C3#$9F'e', 'UTF-16 to UTF-8');
  Check(UpperCase('abc') + LowerCase('DEF') = 'ABCdef', 'case');
  Check(AnsiCompareText('Alpha', 'ALPHA') = 0, 'comparison without case');
  Check(Format('%5.2f|%-4s|%x', [3.14159, 'ab', 255]) = ' 3.14|ab  |FF', 'Format');
  Check(ReverseString('abc') = 'cba', 'StrUtils');
end;

procedure TestArrays;
var
  Grid: array of array of Double;
  Pair: TIntegerPair;
  I, J: LongInt;
  Total: Double;
begin
  SetLength(Grid, 100, 100);
  for I := 0 to 99 do
    for J := 0 to 99 do
      Grid[I, J] := I * J;
  Total := 0;
  for I := 0 to 99 do
    Total := Total + Sum(Grid[I]);
  Check(Total = 24502500, 'dynamic arrays');
  Pair.First := 3;
  Pair.Second := 4;
  Check(Hypot(Pair.First, Pair.Second) = 5, 'generics and Math');
end;

procedure TestFloats;
var
  X: Extended;
  S: Single;
begin
  Check(Abs(Sqrt(2.0) - 1.4142135623730951) < 1e-15, 'SSE');
  Check(Abs(Exp(Ln(10.0)) - 10) < 1e-12, 'x87');
  X := 1;
  X := X / 3;
  Check(Abs(X * 3 - 1) < 1e-18, 'extended precision');
  S := 16777216;
  Check(S + 1 = S, 'single precision');
  Check((Round(2.5) = 2) and (Trunc(-2.7) = -2), 'rounding');
  Check(FloatToStr(0.1) = '0.1', 'conversion to text');
end;

procedure TestLibrary;
var
  List: TStringList;
  Stream: TMemoryStream;
  I: LongInt;
begin
  List := TStringList.Create;
  for I := 50 downto 1 do
    List.Values['key' + IntToStr(I)] := IntToStr(I * I);
  List.Sort;
  Check((List.Count = 50) and (List[0] = 'key10=100'), 'sorted string list');
  Check(List.Values['key12'] = '144', 'values by name');
  List.Free;
  Stream := TMemoryStream.Create;
  for I := 1 to 10000 do
    Stream.Write(I, SizeOf(I));
  Stream.Position := 4 * 1233;
  Stream.Read(I, SizeOf(I));
  Check((Stream.Size = 40000) and (I = 1234), 'memory stream');
  Stream.Free;
end;

begin
  TestClasses;
  TestExceptions;
  TestMemoryErrors;
  TestStrings;
  TestArrays;
  TestFloats;
  TestLibrary;
end.
