{ Where Pascal believes what the nucleus knows of a core's block to be. }
program CoreOffsets;

{$mode objfpc}

uses
  Arch;

var
  Core: TCore;

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
  end;
end.
