{ `pyvmm build` adds this unit to programs that may use sockets, or wait for descriptors. }
unit torosockets;

{$mode objfpc}

interface

uses SocketCalls, VirtIOVSocket;

implementation

end.
