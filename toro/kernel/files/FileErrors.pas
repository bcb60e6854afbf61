{ Why a routine of files has failed. }
unit FileErrors;

{$mode objfpc}

interface

threadvar
  LastError: LongInt; { of this thread: see SysFileError }

{ Whether what a driver returns is an error; stores it if so. }
function Failed(Result_: Int64): Boolean;

{ 0 if it is one, else 1. }
function Success(Result_: LongInt): LongInt;

implementation

function Failed(Result_: Int64): Boolean;
begin
  Result := Result_ < 0;
  if Result then
    LastError := -Result_;
end;

function Success(Result_: LongInt): LongInt;
begin
  Result := Ord(not Failed(Result_));
end;

end.
