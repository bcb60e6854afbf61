{ Does the forbidden thing that the command line names. }
program Faults;

{$mode objfpc}
{$asmmode intel}

uses
  BootInfo, Arch, SysUtils;

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

procedure FaultInHandler;
begin
  { The exception handler prints through this pointer to the core's block. }
  TheBootInfo := nil;
  PLongInt(8)^ := 5;
end;

procedure RaiseException;
begin
  raise Exception.Create('nobody catches this');
end;

procedure RaiseRuntimeError;
begin
  RunError(201);
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
    'exception-in-handler': FaultInHandler;
    'exception': RaiseException;
    'runtime-error': RaiseRuntimeError;
    'halt': Halt(42);
  end;
  WriteLn('it went on');
end.
