{ Does what the lines of its input say, and tells what a thaw has changed. }
program Thaws;

{$mode objfpc}
{$asmmode intel}

uses
  Arch, Filesystem, Kernel, Network, Process, Thaw, VirtIOFS, VirtIOVSocket;

const
  LOSE_VECTOR = 90;

procedure Tell(const What: ShortString);
begin
  WriteLn(What, ' ', GetCoreId, ' ', UnixTimeNs, ' ', MonotonicNs, ' ', Random(1000000000));
end;

procedure First;
begin
  Sleep(1); { it may block }
  Tell('first');
end;

procedure Second;
begin
  Tell('second');
end;

procedure FreezeAgain;
begin
  WriteLn('again ', Freeze);
end;

var
  Socket: PSocket;

function NetworkHere(Parameter: Pointer): PtrInt;
begin
  DedicateNetworkSocket('virtiovsocket');
  WriteLn('network');
  Result := 0;
end;

{ Closes the connection that it made last, and makes another one. }
procedure ConnectAgain;
begin
  if Socket <> nil then
  begin
    Write(Socket^.State = SCK_CLOSED, ' ');
    SysSocketClose(Socket);
  end;
  Socket := SysSocket(SOCKET_STREAM);
  Socket^.DestIp := 2;
  Socket^.DestPort := 90;
  WriteLn('connected ', SysSocketConnect(Socket));
end;

{ Halts the timer of this core, as a thaw may do that cannot restore it. }
procedure LoseTimer; assembler; nostackframe;
asm
  push rax
  mov eax, LAPIC_TIMER_INITIAL
  mov dword ptr [rax], 0
  pop rax
  iretq
end;

var
  IsBusy: Boolean;

{ Does not let its core serve a device. }
function BeBusy(Parameter: Pointer): PtrInt;
begin
  IsBusy := True;
  Delay(20);
  Result := 0;
end;

function FreezeHere(Parameter: Pointer): PtrInt;
begin
  WriteLn(Freeze);
  WriteLn('core ', GetCoreId);
  Result := 0;
end;

function SleepHere(Parameter: Pointer): PtrInt;
begin
  Sleep(1); { measures the timer }
  WriteLn('sleeps');
  Sleep(200);
  WriteLn('awake');
  Result := 0;
end;

procedure Start(Func: TThreadFunc; Core: LongInt);
var
  ID: TThreadID;
begin
  BeginThread(nil, 32768, Func, nil, Core, ID);
end;

var
  Source, Target: THandle;
  Made: LongInt;

function OpenHere(Parameter: Pointer): PtrInt;
begin
  DedicateBlockDriver('FS', GetCoreId);
  SysMount('virtiofs', 'FS', 0);
  Source := SysOpenFile('/source', O_RDONLY);
  Target := SysCreateFile('/target');
  WriteLn('opened ', (Source <> 0) and (Target <> 0));
  Result := 0;
end;

{ Copies the next ten bytes through handles that stay open, and makes a file. }
procedure CopyPart;
var
  Part: array[0..9] of Char;
  Name: ShortString;
  Count: Int64;
  F: THandle;
begin
  Count := SysReadFile(Source, SizeOf(Part), @Part);
  Count := SysWriteFile(Target, Count, @Part);
  Inc(Made);
  Str(Made, Name);
  Name := '/made' + Name + #0;
  F := SysCreateFile(@Name[1]);
  SysCloseFile(F);
  WriteLn('copied ', Count, ' ', F <> 0);
end;

var
  Line: ShortString;
  Core: LongInt;
begin
  CaptureInt(LOSE_VECTOR, @LoseTimer);
  WriteLn('ready');
  repeat
    ReadLn(Line);
    SysThreadSwitch; { the kernel notices a thaw before the line }
    case Line of
      'subscribe': WriteLn(SubscribeToThaw(@First) and SubscribeToThaw(@Second));
      'subscribe freeze': WriteLn(SubscribeToThaw(@FreezeAgain));
      'tell': Tell('now');
      'network elsewhere': Start(@NetworkHere, CPU_COUNT - 1);
      'connect':
        begin
          ConnectAgain;
          SubscribeToThaw(@ConnectAgain);
        end;
      'open elsewhere': Start(@OpenHere, CPU_COUNT - 1);
      'copy': CopyPart;
      'seed':
        begin
          RandSeed := 1;
          WriteLn('seeded');
        end;
      'freeze': WriteLn(Freeze);
      'freeze while busy elsewhere':
        begin
          IsBusy := False;
          Start(@BeBusy, CPU_COUNT - 1);
          while not IsBusy do
            SysThreadSwitch;
          WriteLn(Freeze);
        end;
      'freeze elsewhere': Start(@FreezeHere, CPU_COUNT - 1);
      'sleep':
        for Core := 0 to CPU_COUNT - 1 do
          Start(@SleepHere, Core);
    end;
  until Line = 'end';
end.
