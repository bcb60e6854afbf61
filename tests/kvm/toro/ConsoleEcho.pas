{ A guest on its virtio-console: repeats each line that comes there, in upper case and from
  the next core, until `end`. After `much` it sends much, and the debug ring. }
program ConsoleEcho;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Network, VirtIO, VirtIOConsole, Debug, Console;

var
  Line: ShortString;
  Working: TThreadID;

procedure Send(const Text: ShortString);
var
  Packet: TPacket;
begin
  Packet.Data := @Text[1];
  Packet.Size := Length(Text);
  virtIOConsoleSend(@Packet);
end;

function Answer(Param: Pointer): PtrInt;
begin
  Send(UpCase(Line));
  Result := 0;
end;

function ReadLine: ShortString;
var
  C: Char;
begin
  Result := '';
  repeat
    if virtIOConsoleRead(@C, 1) < 1 then
      Break;
    Result := Result + C;
  until C = #10;
end;

procedure SendMuch;
var
  Packet: TPacket;
  Much: PChar;
  I: LongInt;
begin
  Much := ToroGetMem(300000);
  for I := 0 to 299999 do
    Much[I] := Char(Ord('a') + I mod 26);
  Packet.Data := Much;
  Packet.Size := 300000;
  virtIOConsoleSend(@Packet);
end;

var
  Count: LongInt;
begin
  Count := 0;
  WriteConsoleF('ready\n', []);
  repeat
    Line := ReadLine;
    if (Line = '') or (Line = 'end'#10) then
      Break;
    if Line = 'much'#10 then
    begin
      SendMuch;
      WriteDebug('ring %d\n', [42]);
      DumpDebugRing;
      Continue;
    end;
    Inc(Count);
    Working := BeginThread(nil, 4096, Answer, nil, Count mod CPU_COUNT, Working);
    WaitForThreadTerminate(Working, 0);
  until False;
  WriteConsoleF('%d lines\n', [Count]);
  if Line <> '' then
    Send('goodbye'#10);
end.
