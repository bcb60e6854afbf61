{ Makes the run-time error that the command line names, in a program without SysUtils. }
program RunErrors;

var
  Zero: LongInt;
  Half: Double;
  Nothing: ^LongInt;
begin
  case ParamStr(1) of
    'divide': WriteLn(1 div Zero);
    'float': WriteLn(1 / Half);
    'root': WriteLn(Sqrt(Half - 1));
    'nil': Nothing^ := 1;
    'halt': Halt(5);
  else
    RunError(77);
  end;
end.
