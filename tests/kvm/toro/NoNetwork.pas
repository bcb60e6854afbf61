{ A program that wants sockets on a machine without the device. }
program NoNetwork;

{$mode delphi}

uses
  Kernel, Console, Network, VirtIOVSocket;

begin
  DedicateNetworkSocket('virtiovsocket');
  if SysSocket(SOCKET_STREAM) = nil then
    WriteConsoleF('no socket\n', []);
end.
