{ Every core reaches Pascal, with a block and a stack of its own. }
program Cores;

{$mode objfpc}

uses
  BootInfo, Arch, Kernel;

var
  I: LongInt;
begin
  while OnlineCores < CPU_COUNT do
    NOP;
  for I := 0 to CPU_COUNT - 1 do
    with CoreAt(I)^ do
      WriteLn('core ', Index, ': online ', Online, ', own block ', This = CoreAt(I));
  WriteLn('program on core ', GetCoreId);
end.
