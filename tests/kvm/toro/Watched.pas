{ What GDB looks at from outside. Each core adds to the total in turn. }
program Watched;

{$mode objfpc}

uses
  Kernel, Process, Arch, Console;

var
  Total: LongInt;
  Turn: LongInt;

function Doubled(Amount: LongInt): LongInt;
begin
  Result := 2 * Amount;
end;

procedure Increase(Amount: LongInt);
begin
  Total := Total + Doubled(Amount); { the breakpoint }
end;

function Count(Parameter: Pointer): PtrInt;
begin
  while Turn <> GetApicid do
    SysThreadSwitch;
  Increase(GetApicid + 1);
  Turn := Turn + 1;
  Result := 0;
end;

var
  Core: LongInt;
  Id: TThreadID;
begin
  for Core := 1 to CPU_COUNT - 1 do
    BeginThread(nil, 65536, @Count, nil, Core, Id);
  Count(nil);
  while Turn <> CPU_COUNT do
    SysThreadSwitch;
  WriteConsoleF('total %d\n', [Total]);
end.
