{ The log of a Unix system, to which FPC's unit EventLog writes by the C library: here the
  console. `pyvmm build` adds it to programs with that unit. }
unit systemlog;

{$mode objfpc}

interface

implementation

uses Console;

procedure OpenLog(Name: PChar; Options, Facility: LongInt); cdecl; public name 'openlog';
begin
end;

procedure CloseLog; cdecl; public name 'closelog';
begin
end;

{ EventLog's format is `[%s] %s`: the kind of event, and the text. }
procedure WriteLog(Priority: LongInt; Format, Kind, Text: PChar); cdecl; public name 'syslog';
begin
  WriteConsoleF('[%p] %p\n', [PtrUInt(Kind), PtrUInt(Text)]);
end;

end.
