{ How a thread that uses sockets waits, and leaves them. }
unit SocketWaits;

{$mode objfpc}

interface

uses CoreThreads;

{ Waits, with NetworkLock released, until something happens to the socket or the TSC reaches
  Deadline (0: no deadline). False: the deadline has passed, or the thread was killed. }
function WaitFor(var Queue: TWaitQueue; Deadline: QWord): Boolean;

{ Notifies the device, and releases NetworkLock. }
procedure LeaveSockets;

implementation

uses Arch, Scheduling, StreamSockets, WaitQueues;

function WaitFor(var Queue: TWaitQueue; Deadline: QWord): Boolean;
var
  Waiter: TWaiter;
begin
  LockQueue(Queue);
  JoinQueue(Queue, Waiter);
  UnlockQueue(Queue);
  Driver^.Flush();
  ReleaseLock(NetworkLock);
  Result := WaitInQueue(Queue, Waiter, Deadline);
  AcquireLock(NetworkLock);
end;

procedure LeaveSockets;
begin
  Driver^.Flush();
  ReleaseLock(NetworkLock);
  Checkpoint;
end;

end.
