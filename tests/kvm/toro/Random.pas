{ Random numbers: three after Randomize, three after another, three of the seed 1. }
program Random;

{$mode objfpc}

procedure Show;
var
  I: LongInt;
begin
  for I := 1 to 3 do
    Write(System.Random(1000000), ' ');
  WriteLn;
end;

begin
  Randomize;
  Show;
  Randomize;
  Show;
  RandSeed := 1;
  Show;
end.
