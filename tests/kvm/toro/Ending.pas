{ Is asked for its end while it does what its parameters say. }
program Ending;

{$mode objfpc}

uses
  Kernel, Process;

procedure Goodbye;
begin
  WriteLn('goodbye');
  if String(GetKernelParam(1)) = 'status' then
    ExitCode := 7
  else if String(GetKernelParam(1)) = 'hang' then
    while True do;
end;

function Idler(Parameter: Pointer): PtrInt;
begin
  while True do
    Sleep(1);
  Result := 0;
end;

function Spinner(Parameter: Pointer): PtrInt;
begin
  while True do;
  Result := 0;
end;

var
  ID: TThreadID;
begin
  if String(GetKernelParam(1)) <> 'none' then
    ShutdownProcedure := @Goodbye;
  WriteLn('ready');
  Flush(Output);
  case String(GetKernelParam(0)) of
    'sleep':
      Sleep(High(LongWord));
    'yield':
      while True do
        SysThreadSwitch;
    'over':
      begin
        BeginThread(nil, 16384, @Idler, nil, 0, ID);
        ThreadExit(True);
      end;
    'core':
      begin
        BeginThread(nil, 16384, @Spinner, nil, 1, ID);
        Sleep(High(LongWord));
      end;
    'spin':
      while True do;
  end;
end.
