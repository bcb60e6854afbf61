{ As much of FPC's unit for Unix as programs use that do nothing with a system: its names for C's
  types, error numbers, and the time. The errors of files are SysFileError's, of unit Filesystem. }
unit BaseUnix;

{$mode objfpc}

interface

uses ctypes;

type
  cint = ctypes.cint;
  cuint = ctypes.cuint;
  clong = ctypes.clong;
  culong = ctypes.culong;
  cchar = ctypes.cchar;
  pcint = ctypes.pcint;
  time_t = clong;
  ptime_t = ^time_t;
  size_t = culong;
  ssize_t = clong;
  off_t = clong;
  pid_t = cint;

  { Seconds and microseconds }
  timeval = record
    tv_sec: time_t;
    tv_usec: clong;
  end;
  ptimeval = ^timeval;
  TTimeVal = timeval;

const
  { Error numbers, as on Linux }
  ESysEPERM = 1;
  ESysENOENT = 2;
  ESysEINTR = 4;
  ESysEIO = 5;
  ESysEBADF = 9;
  ESysEAGAIN = 11;
  ESysENOMEM = 12;
  ESysEACCES = 13;
  ESysEEXIST = 17;
  ESysENOTDIR = 20;
  ESysEISDIR = 21;
  ESysEINVAL = 22;
  ESysENOSPC = 28;
  ESysEPIPE = 32;
  ESysENOSYS = 38;

{ The thread's error number: 0 until the program sets it. }
function fpgeterrno: LongInt;
procedure fpseterrno(Error: LongInt);
property errno: LongInt read fpgeterrno write fpseterrno;

{ Seconds since 1970; also stored in Time unless that is nil. }
function fpTime(Time: ptime_t = nil): time_t;

implementation

uses Arch;

threadvar
  LastError: LongInt;

function fpgeterrno: LongInt;
begin
  Result := LastError;
end;

procedure fpseterrno(Error: LongInt);
begin
  LastError := Error;
end;

function fpTime(Time: ptime_t): time_t;
begin
  Result := UnixTimeNs div 1000000000;
  if Time <> nil then
    Time^ := Result;
end;

end.
