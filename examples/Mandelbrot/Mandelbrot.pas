program Mandelbrot;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Console;

const
  WIDTH = 480;
  HEIGHT = 320;
  SAMPLES = 2; { per pixel, in each direction }
  LIMIT = 1000;

  { The part of the plane that is shown }
  LEFT = -2.2;
  TOP = 1.0;
  SCALE = 2.0 / HEIGHT;

type
  TPixel = packed record
    Red, Green, Blue: Byte;
  end;
  TRow = array[0..WIDTH - 1] of TPixel;

var
  Picture: array[0..HEIGHT - 1] of TRow;
  Palette: array[0..255] of TPixel;
  NextRow: LongInt;

{ The number of steps after which X + iY is known to be outside the set; LIMIT if it is not. }
function Escape(X, Y: Double): LongInt;
var
  A, B, AA, BB: Double;
begin
  A := 0;
  B := 0;
  AA := 0;
  BB := 0;
  Result := 0;
  while (AA + BB <= 4) and (Result < LIMIT) do
  begin
    B := 2 * A * B + Y;
    A := AA - BB + X;
    AA := A * A;
    BB := B * B;
    Inc(Result);
  end;
end;

procedure ComputePixel(Row, Column: LongInt; out Pixel: TPixel);
var
  I, Steps, Red, Green, Blue: LongInt;
begin
  Red := 0;
  Green := 0;
  Blue := 0;
  for I := 0 to SAMPLES * SAMPLES - 1 do
  begin
    Steps := Escape(LEFT + (Column + (I mod SAMPLES) / SAMPLES) * SCALE,
      TOP - (Row + (I div SAMPLES) / SAMPLES) * SCALE);
    if Steps < LIMIT then
    begin
      Inc(Red, Palette[Steps and 255].Red);
      Inc(Green, Palette[Steps and 255].Green);
      Inc(Blue, Palette[Steps and 255].Blue);
    end;
  end;
  Pixel.Red := Red div (SAMPLES * SAMPLES);
  Pixel.Green := Green div (SAMPLES * SAMPLES);
  Pixel.Blue := Blue div (SAMPLES * SAMPLES);
end;

{ Runs on every core: computes the next row that no core has taken, until there is none. }
function ComputeRows(Param: Pointer): PtrInt;
var
  Row, Column: LongInt;
begin
  Row := InterlockedIncrement(NextRow) - 1;
  while Row < HEIGHT do
  begin
    for Column := 0 to WIDTH - 1 do
      ComputePixel(Row, Column, Picture[Row, Column]);
    Row := InterlockedIncrement(NextRow) - 1;
  end;
  Result := 0;
end;

{ From dark blue through white and orange and back, in waves. }
procedure MakePalette;

  function Wave(Index, Phase: LongInt): Byte;
  begin
    Index := (Index * 8 + Phase) and 511;
    if Index > 255 then
      Index := 511 - Index;
    Result := Index;
  end;

var
  I: LongInt;
begin
  for I := 0 to 255 do
  begin
    Palette[I].Red := Wave(I, 0);
    Palette[I].Green := Wave(I, 40);
    Palette[I].Blue := Wave(I, 110);
  end;
end;

var
  IDs: array of TThreadID;
  I: LongInt;
begin
  MakePalette;
  SetLength(IDs, CPU_COUNT);
  for I := 0 to High(IDs) do
    BeginThread(nil, 4096, ComputeRows, nil, I, IDs[I]);
  for I := 0 to High(IDs) do
    WaitForThreadTerminate(IDs[I], 0);
  WriteConsoleF('P6\n%d %d\n255\n', [WIDTH, HEIGHT]);
  WriteConsole(@Picture, SizeOf(Picture));
end.
