{ The guest of density.py: prints a line, then idles. }
program Idle;

uses
  Process, Console;

begin
  WriteConsoleF('ready\n', []);
  SysSuspendThread(0);
end.
