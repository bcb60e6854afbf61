{ Connects the text files of FPC's run-time library (Input, Output, ErrOutput) to Toro's
  console. Replaces FPC's unit of this name for bare machines. }
unit consoleio;

{$mode objfpc}

interface

{ Opens Input, Output and ErrOutput of the current thread: each thread has its own. }
procedure OpenConsole;

implementation

uses Console, CoreThreads, Symbols;

{$push}{$hints off}
{$I textrec.inc}
{$pop}

var
  ErrorBase: Pointer; external name 'FPC_ERRORBASE'; { frame of the routine that failed }

procedure TextWrite(var F: TextRec);
begin
  WriteConsole(PChar(F.BufPtr), F.BufPos);
  F.BufPos := 0;
end;

procedure TextRead(var F: TextRec);
var
  C: Char;
begin
  F.BufPos := 0;
  F.BufEnd := 0;
  repeat
    ReadFromSerial(C);
    if C = #13 then
      C := #10;
    F.BufPtr^[F.BufEnd] := C;
    Inc(F.BufEnd);
  until (C = #10) or (F.BufEnd = F.BufSize);
end;

procedure TextClose(var F: TextRec);
begin
  F.Mode := fmClosed;
end;

procedure OpenForInput(var F: Text);
begin
  Assign(F, '');
  with TextRec(F) do
  begin
    InOutFunc := @TextRead;
    CloseFunc := @TextClose;
    Mode := fmInput;
  end;
end;

procedure OpenForOutput(var F: Text);
begin
  Assign(F, '');
  with TextRec(F) do
  begin
    LineEnd := #10;
    InOutFunc := @TextWrite;
    FlushFunc := @TextWrite;
    CloseFunc := @TextClose;
    Mode := fmOutput;
  end;
end;

procedure OpenConsole;
begin
  OpenForInput(Input);
  OpenForOutput(Output);
  OpenForOutput(ErrOutput);
end;

procedure WriteRuntimeError;
begin
  WriteText('Runtime error ');
  PrintDecimal(ErrorCode);
  WriteText(#10'Backtrace:'#10);
  WriteText('  ' + SymbolText(ErrorAddr) + #10);
  with GetCurrentThread^ do
    WriteBacktrace(PtrUInt(ErrorBase), StackLow, StackHigh);
end;

finalization
  Flush(Output);
  Flush(ErrOutput);
  if ErrorAddr <> nil then
    WriteRuntimeError;
end.
