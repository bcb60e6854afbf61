{ What test programs say: a line for each thing that must hold. }
unit Checks;

{$mode objfpc}

interface

{ Writes `ok NAME` or `FAILED NAME`. }
procedure Check(Condition: Boolean; const Name: ShortString);

implementation

procedure Check(Condition: Boolean; const Name: ShortString);
begin
  if Condition then
    WriteLn('ok ', Name)
  else
    WriteLn('FAILED ', Name);
end;

end.
