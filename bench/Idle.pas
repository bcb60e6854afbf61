{ The guest of density.py: it says that it is there, and has nothing to do then. }
program Idle;

uses
  Process, Console;

begin
  WriteConsoleF('ready\n', []);
  SysSuspendThread(0);
end.
