program InterCoreComm;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, VirtIOBus, Console;

const
  Ping: PChar = 'ping';
  Pong: PChar = 'pong';

{ Runs on every core but 0: answers packets of core 0. }
function Answer(Param: Pointer): PtrInt;
var
  Buffer: array[0..VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE - 1] of Char;
begin
  Result := 0;
  while True do
  begin
    RecvFrom(0, @Buffer);
    WriteConsoleF('Core[0] -> Core[%d]: %p\n', [GetCoreId, PtrUInt(@Buffer)]);
    SendTo(0, Pong, StrLen(Pong) + 1);
  end;
end;

var
  Buffer: array[0..VIRTIO_CPU_MAX_PKT_PAYLOAD_SIZE - 1] of Char;
  ID: TThreadID;
  Core, Round: LongInt;
begin
  if CPU_COUNT < 2 then
  begin
    WriteConsoleF('One core has nobody to talk to: try --cpus 2\n', []);
    Halt(1);
  end;
  for Core := 1 to CPU_COUNT - 1 do
    BeginThread(nil, 4096, Answer, nil, Core, ID);
  for Round := 1 to 2 do
    for Core := 1 to CPU_COUNT - 1 do
    begin
      SendTo(Core, Ping, StrLen(Ping) + 1);
      RecvFrom(Core, @Buffer);
      WriteConsoleF('Core[%d] -> Core[0]: %p\n', [Core, PtrUInt(@Buffer)]);
    end;
end.
