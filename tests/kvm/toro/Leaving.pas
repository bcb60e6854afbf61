{ Sends much on a connection and ends in the way that its parameters say. }
program Leaving;

{$mode objfpc}

uses
  Kernel, Process, Network, VirtIOVSocket, SysUtils;

const
  SIZE = 200000; { less than the connection's credit: nobody need have read any of it }

var
  S: PSocket;
  Data: PChar;

procedure Goodbye;
begin
  SysSocketSend(S, 'goodbye', 7, 0);
end;

begin
  DedicateNetworkSocket('virtiovsocket');
  S := SysSocket(SOCKET_STREAM);
  S^.DestIp := 2;
  S^.DestPort := 90;
  S^.Blocking := True;
  if not SysSocketConnect(S) then
    Halt(99);
  GetMem(Data, SIZE);
  FillChar(Data^, SIZE, Ord('x'));
  if SysSocketSend(S, Data, SIZE, 0) <> SIZE then
    Halt(98);
  case String(GetKernelParam(0)) of
    'close': SysSocketClose(S);
    'shutdown': SysSocketShutdown(S);
    'fill': { what the host takes and keeps, if nobody reads it }
      begin
        S^.Blocking := False;
        repeat
          Sleep(10);
        until SysSocketSend(S, Data, SIZE, 0) = 0;
      end;
    'procedure': ShutdownProcedure := @Goodbye;
  end;
  WriteLn('sent');
  Flush(Output);
  case String(GetKernelParam(1)) of
    'halt': Halt(3);
    'exception': raise Exception.Create('as the test wants it');
    'fault': PLongInt(8)^ := 1;
    'sleep': Sleep(High(LongWord));
  end;
end.
