{ Handles CPU exceptions: as Pascal exceptions, and with a handler of its own. }
program ExceptionHandling;

{$mode delphi}
{$asmmode intel}

uses
  SysUtils, Kernel, Process, Memory, Debug, Arch, Console;

procedure Tell(E: Exception);
begin
  WriteConsoleF('caught %p: %p\n', [PtrUInt(PChar(String(E.ClassName))), PtrUInt(PChar(E.Message))]);
end;

procedure DivideByZero;
var
  Quotient, Divisor: LongInt;
begin
  Divisor := 0;
  try
    Quotient := 5 div Divisor;
    WriteConsoleF('%d\n', [Quotient]);
  except
    on E: Exception do
      Tell(E);
  end;
end;

procedure ReachNowhere;
var
  P: ^LongInt;
begin
  P := Pointer($FFFFFFFFFFFFFFFF);
  try
    P^ := $1234;
  except
    on E: Exception do
      Tell(E);
  end;
end;

procedure LoadSelector;
begin
  try
    asm
      mov ax, $fff0
      mov ds, ax
    end;
  except
    on E: Exception do
      Tell(E);
  end;
end;

procedure DoIllegally;
begin
  try
    asm
      ud2
    end;
  except
    on E: Exception do
      Tell(E);
  end;
end;

{ A handler as the CPU calls it, with RIP on the stack. Skips the two bytes of UD2. }
procedure StepOver; assembler; nostackframe;
asm
  add qword ptr [rsp], 2
  iretq
end;

function OnAnotherCore(Parameter: Pointer): PtrInt;
begin
  ReachNowhere;
  Result := 0;
end;

var
  Thread: TThreadID;
begin
  DivideByZero;
  ReachNowhere;
  LoadSelector;
  DoIllegally;
  Thread := BeginThread(nil, 32768, OnAnotherCore, nil, CPU_COUNT - 1, Thread);
  WaitForThreadTerminate(Thread, 0);
  CaptureException(EXC_ILLEGALINS, @StepOver);
  asm
    ud2
  end;
  WriteConsoleF('stepped over an illegal instruction\n', []);
end.
