{ Where Pascal believes what the nucleus knows of a core's block to be. }
program CoreOffsets;

{$mode objfpc}

uses
  Arch, CoreThreads;

const
  LINE = 64; { bytes of a cache line }

var
  Core: TCore;
  I: LongInt;
  Apart: Boolean;

procedure Show(const Name: ShortString; const Field);
begin
  WriteLn(Name, ' ', PtrUInt(@Field) - PtrUInt(@Core));
end;

begin
  WriteLn('SIZE ', CORE_SIZE);
  with Core do
  begin
    Show('SELF', This);
    Show('INDEX', Index);
    Show('PENDING', Pending);
    Show('IN_EXCEPTION', InException);
    Show('IN_CALL', InCall);
    Show('FRAME', Frame);
    Show('CAPTURED', Captured);
    Show('ROUTE', Route);
    Show('CALL_VECTOR', Call.Vector);
    Show('CALL_RIP', Call.RIP);
    Show('CALL_RFLAGS', Call.RFLAGS);
    Show('CALL_RSP', Call.RSP);
    Show('SPECIAL', Special);
    Show('STEAL', Steal);
  end;
  { What other cores write to shares no line with what the core itself does. }
  Apart := True;
  for I := 0 to CPU_COUNT - 1 do
    with CPUAt(I)^ do
      Apart := Apart and (PtrUInt(CoreAt(I)) mod LINE = 0) and (PtrUInt(@Inbox) div LINE <> PtrUInt(@Timer) div LINE) and
        (PtrUInt(@Inbox) div LINE <> PtrUInt(@Devices) div LINE);
  WriteLn('APART ', Ord(Apart));
end.
