{ Writes a debug message, and what it has kept of them. }
program Dump;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Network, VirtIO, VirtIOConsole, Debug;

begin
  WriteDebug('ring %d\n', [42]);
  DumpDebugRing;
end.
