{ Does the forbidden thing that the command line names. }
program Faults;

{$mode objfpc}
{$asmmode intel}

uses
  BootInfo, Arch, Process, SysUtils;

const
  Constant: array[0..3] of LongInt = (1, 2, 3, 4);
  Nucleus = $100000;

procedure DivideByZero(Divisor: LongInt);
begin
  WriteLn(100 div Divisor);
end;

procedure WriteToNil;
begin
  PLongInt(8)^ := 5;
end;

procedure WriteTo(Address: PtrUInt);
begin
  PByte(Address)^ := 0;
end;

function ReadFrom(Address: PtrUInt): Byte;
begin
  Result := PByte(Address)^;
end;

function Recurse(Depth: LongInt): LongInt;
var
  Room: array[0..255] of LongInt;
begin
  Room[0] := Depth;
  Result := Recurse(Depth + 1) + Room[0];
end;

procedure ExecuteUD2;
begin
  asm
    ud2
  end;
end;

procedure RunAt(Address: Pointer);
begin
  TProcedure(Address)();
end;

procedure DivideFloats(Divisor: Double);
begin
  WriteLn(1.0 / Divisor);
end;

procedure LoadDescriptorTable;
begin
  asm
    { privileged, whatever IOPL is }
    lgdt [rsp]
  end;
end;

{ The end needs the boot-info block. }
procedure FaultAtEnd;
begin
  TheBootInfo := nil;
  WriteToNil;
end;

{ A stack overflow is told, and ends the machine, in the exception handler. }
procedure FaultInHandler;
begin
  TheBootInfo := nil;
  WriteLn(Recurse(0));
end;

procedure RaiseException;
begin
  raise Exception.Create('nobody catches this');
end;

procedure RaiseRuntimeError;
begin
  RunError(201);
end;

function OverflowThread(Parameter: Pointer): PtrInt;
begin
  Result := Recurse(0);
end;

function DivideThread(Parameter: Pointer): PtrInt;
begin
  SysSuspendThread(0); { until it has its name }
  DivideByZero(0);
  Result := 0;
end;

function RaiseThread(Parameter: Pointer): PtrInt;
begin
  RaiseException;
  Result := 0;
end;

function ErrorThread(Parameter: Pointer): PtrInt;
begin
  RaiseRuntimeError;
  Result := 0;
end;

function PanicThread(Parameter: Pointer): PtrInt;
begin
  Panic(True, 'number %d', [5]);
  Result := 0;
end;

function BeIdle(Parameter: Pointer): PtrInt;
begin
  while True do
    SysThreadSwitch;
  Result := 0;
end;

{ On the last core, as the third thread, where the one before has the stack below. }
procedure RunThread(Func: TThreadFunc; const Name: AnsiString = '');
var
  ID: TThreadID;
  I: LongInt;
begin
  for I := 1 to 2 do
    BeginThread(nil, 65536, @BeIdle, nil, CPU_COUNT - 1, ID);
  BeginThread(nil, 65536, Func, nil, CPU_COUNT - 1, ID);
  SetThreadDebugName(ID, Name);
  SysResumeThread(ID);
  WaitForThreadTerminate(ID, 0);
end;

var
  Code: array[0..15] of Byte = ($C3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
begin
  case String(TheBootInfo^.CommandLine) of
    'divide': DivideByZero(0);
    'nil': WriteToNil;
    'text': WriteTo(PtrUInt(@DivideByZero));
    'rodata': WriteTo(PtrUInt(PChar('a constant string')));
    'stack': WriteLn(Recurse(0));
    'ud2': ExecuteUD2;
    'data-execution': RunAt(@Code);
    'heap-execution': RunAt(GetMem(16));
    'nil-execution': RunAt(nil);
    'nucleus': WriteLn(ReadFrom(Nucleus));
    'nucleus-execution': RunAt(Pointer(Nucleus));
    'supervisor': WriteLn(ReadFrom(TheBootInfo^.CpuAreas));
    'page-tables': WriteLn(ReadFrom((PtrUInt(TheBootInfo) and not PtrUInt(4095)) + 8192));
    'non-canonical': RunAt(Pointer(QWord($8000000000000000)));
    'privileged': LoadDescriptorTable;
    'float': DivideFloats(0);
    'exception-at-end': FaultAtEnd;
    'exception-in-handler': FaultInHandler;
    'exception': RaiseException;
    'runtime-error': RaiseRuntimeError;
    'halt': Halt(42);
    'sleep-0': Halt(0);
    'sleep-4':
      begin
        Process.Sleep(4000);
        Halt(0);
      end;
    'thread-stack': RunThread(@OverflowThread);
    'thread-divide': RunThread(@DivideThread);
    'thread-named': RunThread(@DivideThread, 'Divider');
    'thread-exception': RunThread(@RaiseThread);
    'thread-runtime-error': RunThread(@ErrorThread);
    'thread-panic': RunThread(@PanicThread);
  end;
  WriteLn('it went on');
end.
