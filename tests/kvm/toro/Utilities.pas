{ The small routines of Arch and Kernel. Says what time it is, and its parameters. }
program Utilities;

{$mode delphi}

uses
  Checks, BootInfo, Kernel, Arch;

procedure TestText;
var
  Text: array[0..40] of Char;
begin
  InttoStr(0, @Text);
  Check(String(PChar(@Text)) = '0', 'zero in decimal');
  InttoStr(High(PtrUInt), @Text);
  Check(String(PChar(@Text)) = '18446744073709551615', 'the largest number in decimal');
  StrConcat('left', ' and right', @Text);
  Check(String(PChar(@Text)) = 'left and right', 'two strings in one');
  StrConcat(@Text, '!', @Text);
  Check(String(PChar(@Text)) = 'left and right!', 'one behind itself');
  Check(StrCmp('toro', 'torn', 3) and not StrCmp('toro', 'torn', 4), 'the first characters compared');
end;

procedure TestBits;
var
  Bits: array[0..1] of QWord;
begin
  Bits[0] := 0;
  Bits[1] := 0;
  bit_set(@Bits, 70);
  Check(bit_test(@Bits, 70) and (Bits[1] = 64) and (Bits[0] = 0), 'a bit set');
  bit_reset(@Bits, 70);
  Check(not bit_test(@Bits, 70), 'and reset');
  Check((find_msb_set($80) = 7) and (find_msb_set($C) = 2) and (find_msb_set(0) = 32), 'the lowest bit');
end;

procedure TestTime;
var
  A, B: TNow;
  Before: QWord;
  Forwards: Boolean;
  I: LongInt;
begin
  A := StartTime;
  Now(@B);
  Check((SecondsBetween(B, A) >= 0) and (SecondsBetween(B, A) < 60), 'it is later than at the start');
  A.Sec := 59; A.Min := 59; A.Hour := 23; A.Day := 28; A.Month := 2; A.Year := 2024;
  B := A;
  B.Sec := 0; B.Min := 0; B.Hour := 0; B.Day := 1; B.Month := 3;
  Check(SecondsBetween(B, A) = 86401, 'a leap day');
  B.Year := 2025;
  Check(SecondsBetween(B, A) = 86401 + 365 * 86400, 'a year without one');
  Forwards := True;
  Before := UnixTimeNs;
  for I := 1 to 10000 do
  begin
    Forwards := Forwards and (UnixTimeNs >= Before);
    Before := UnixTimeNs;
  end;
  Check(Forwards, 'time goes forwards');
  Check(LocalCpuSpeed > 100, 'the speed of the TSC in MHz');
end;

procedure TestMachine;
var
  Region: TMemoryRegion;
  ID: LongInt;
  Total: QWord;
begin
  ID := 0;
  Total := 0;
  while GetMemoryRegion(ID, @Region) <> 0 do
  begin
    Inc(Total, Region.Length);
    Inc(ID);
  end;
  Check(Total = AvailableMemory, 'the regions are all of the memory');
  Check((GetApicId = GetCoreId) and Cores[0].CPUBoot and Cores[CPU_COUNT - 1].Present and not Cores[CPU_COUNT].Present, 'the cores');
end;

var
  Time: TNow;
  I: LongInt;
begin
  TestText;
  TestBits;
  TestTime;
  TestMachine;
  Check(GetKernelParam(KernelParamCount) = nil, 'no parameter past the last');
  Check(GetKernelParam(-1) = nil, 'nor before the first');
  Now(@Time);
  with Time do
    WriteLn('time ', Year, ' ', Month, ' ', Day, ' ', Hour, ' ', Min, ' ', Sec);
  for I := 0 to KernelParamCount - 1 do
    WriteLn('parameter ', GetKernelParam(I));
end.
