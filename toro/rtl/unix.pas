{ As much of FPC's unit of this name as BaseUnix has: the time of day. }
unit Unix;

{$mode objfpc}

interface

uses BaseUnix;

{ The time in UTC; Zone is not looked at. Returns 0. }
function fpGetTimeOfDay(Time: ptimeval; Zone: Pointer): LongInt;

implementation

uses Arch;

function fpGetTimeOfDay(Time: ptimeval; Zone: Pointer): LongInt;
var
  Now: QWord;
begin
  Now := UnixTimeNs;
  Time^.tv_sec := Now div 1000000000;
  Time^.tv_usec := Now mod 1000000000 div 1000;
  Result := 0;
end;

end.
