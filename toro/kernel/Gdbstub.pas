{ A server for GDB's remote protocol (GDB manual, appendix E) on virtio-console. If the machine has
  that device, a program that uses this unit stops before its first line and waits for GDB:

    pyvmm build -g PROGRAM.pas
    pyvmm boot PROGRAM.elf --console virtio=unix:gdb.socket
    gdb PROGRAM.elf -ex 'target remote gdb.socket'

  GDB sees each core as a thread, numbered from 1. When one core stops, all do. A step runs one core
  while the others stay stopped. Only general registers, and breakpoints in code. }
unit Gdbstub;

{$mode objfpc}
{$asmmode intel}

interface

implementation

uses Arch, Console, Exceptions, GdbCores, GdbPackets, VirtIOConsole;

const
  { GDB's numbers of signals }
  SIGNAL_INTERRUPT = 2;
  SIGNAL_ILLEGAL = 4;
  SIGNAL_TRAP = 5;
  SIGNAL_FLOAT = 8;
  SIGNAL_SEGMENT = 11;

  SEGMENTS: array[0..5] of LongWord = ($23, $1B, $1B, $1B, $1B, $1B); { CS, SS, DS, ES, FS, GS }

var
  Waiting: Boolean;   { GDB waits for the program to stop }
  Selected: LongInt;  { the core whose registers GDB reads and writes }

function SignalOf(Vector: QWord): Byte;
begin
  case Vector of
    EXC_DEBUG, EXC_BREAKPOINT: Result := SIGNAL_TRAP;
    EXC_DIVBYZERO, EXC_OVERFLOW, EXC_FPUE, EXC_SIMD: Result := SIGNAL_FLOAT;
    EXC_ILLEGALINS: Result := SIGNAL_ILLEGAL;
  else
    Result := SIGNAL_SEGMENT;
  end;
end;

{ ---- Registers, in the order that GDB has them in ---- }

procedure AddRegisters(const Frame: TExceptionFrame);
var
  Flags: LongWord;
begin
  with Frame do
  begin
    AddHex(@RAX, 8);
    AddHex(@RBX, 8);
    AddHex(@RCX, 8);
    AddHex(@RDX, 8);
    AddHex(@RSI, 8);
    AddHex(@RDI, 8);
    AddHex(@RBP, 8);
    AddHex(@RSP, 8);
    AddHex(@R8, 64);
    AddHex(@RIP, 8);
    Flags := RFLAGS;
    AddHex(@Flags, 4);
  end;
  AddHex(@SEGMENTS, SizeOf(SEGMENTS));
end;

function TakeRegisters(At: PChar; var Frame: TExceptionFrame): Boolean;
var
  Flags: LongWord;
begin
  with Frame do
  begin
    Result := TakeBytes(At, @RAX, 8) and TakeBytes(At, @RBX, 8) and TakeBytes(At, @RCX, 8) and
      TakeBytes(At, @RDX, 8) and TakeBytes(At, @RSI, 8) and TakeBytes(At, @RDI, 8) and TakeBytes(At, @RBP, 8) and
      TakeBytes(At, @RSP, 8) and TakeBytes(At, @R8, 64) and TakeBytes(At, @RIP, 8) and TakeBytes(At, @Flags, 4);
    if Result then
      RFLAGS := Flags;
  end;
end;

{ ---- Packets ---- }

procedure Answer(Good: Boolean);
begin
  if Good then
    AddText('OK')
  else
    AddText('E01');
end;

procedure TellStop(Signal: Byte);
begin
  AddText('T');
  AddHex(@Signal, 1);
  AddText('thread:');
  AddNumber(GetCoreId + 1);
  AddText(';');
  SendReply;
end;

{ ADDRESS,COUNT }
procedure TakeRange(var At: PChar; out Address, Count: QWord);
begin
  Address := TakeNumber(At);
  TakeChar(At, ',');
  Count := TakeNumber(At);
end;

{ mADDRESS,COUNT }
procedure ReadMemory(At: PChar);
var
  Data: array[0..1023] of Byte;
  Address, Count: QWord;
begin
  TakeRange(At, Address, Count);
  if Count > SizeOf(Data) then
    Count := SizeOf(Data);
  Count := CopyMemory(@Data, Pointer(Address), Count);
  if Count = 0 then
    Answer(False)
  else
    AddHex(@Data, Count);
end;

{ MADDRESS,COUNT:BYTES }
procedure WriteMemory(At: PChar);
var
  Data: array[0..2047] of Byte;
  Address, Count: QWord;
begin
  TakeRange(At, Address, Count);
  Answer((Count <= SizeOf(Data)) and TakeChar(At, ':') and TakeBytes(At, @Data, Count) and
    (CopyMemory(Pointer(Address), @Data, Count) = Count));
end;

{ Z0,ADDRESS,KIND or z0,… }
procedure ChangeBreakpoint(At: PChar; Insert: Boolean);
var
  Address: QWord;
begin
  Address := TakeNumber(At);
  if Insert then
    Answer(SetBreakpoint(Address))
  else
    Answer(RemoveBreakpoint(Address));
end;

{ HgTHREAD; 0 and -1 mean any thread }
procedure SelectThread(At: PChar);
var
  Core: Int64;
begin
  Core := Int64(TakeNumber(At)) - 1;
  if Core < 0 then
    Core := GetCoreId;
  Answer(IsStopped(Core));
  if IsStopped(Core) then
    Selected := Core;
end;

procedure ListThreads;
var
  I: LongInt;
  Separator: Char;
begin
  Separator := 'm';
  for I := 0 to CPU_COUNT - 1 do
    if IsStopped(I) then
    begin
      AddText(Separator);
      AddNumber(I + 1);
      Separator := ',';
    end;
end;

{ Answers one packet. True: the program resumes. }
function Serve(Core: PCore; Signal: Byte): Boolean;
var
  At: PChar;
begin
  ReceivePacket;
  Result := False;
  At := @Packet[1];
  case Packet[0] of
    '?':
      begin
        TellStop(Signal);
        Exit;
      end;
    'g': AddRegisters(CoreAt(Selected)^.Frame);
    'G': Answer(TakeRegisters(At, CoreAt(Selected)^.Frame));
    'm': ReadMemory(At);
    'M': WriteMemory(At);
    'c', 'C': Exit(True);
    's', 'S':
      begin
        Core^.Frame.RFLAGS := Core^.Frame.RFLAGS or TRAP_FLAG;
        Exit(True);
      end;
    'D':
      begin
        RemoveBreakpoints;
        Answer(True);
        SendReply;
        Waiting := False;
        Exit(True);
      end;
    'k': PowerOff(0);
  else
    if Begins('Z0,', At) then
      ChangeBreakpoint(At, True)
    else if Begins('z0,', At) then
      ChangeBreakpoint(At, False)
    else if Begins('Hg', At) then
      SelectThread(At)
    else if Begins('Hc', At) then
      Answer(True)
    else if Begins('T', At) then
      Answer(IsStopped(LongInt(TakeNumber(At)) - 1))
    else if Begins('qfThreadInfo', At) then
      ListThreads
    else if Begins('qsThreadInfo', At) then
      AddText('l')
    else if Begins('qC', At) then
    begin
      AddText('QC');
      AddNumber(GetCoreId + 1);
    end
    else if Begins('qAttached', At) then
      AddText('1')
    else if Begins('qSupported', At) then
      AddText('PacketSize=800');
  end;
  SendReply;
end;

{ Answers packets until the program resumes. True: only this core does, for one step. }
function Converse(Core: PCore; Signal: Byte): Boolean;
begin
  Selected := GetCoreId;
  if Waiting then
    TellStop(Signal);
  Waiting := True;
  while not Serve(Core, Signal) do
    ;
  Result := Core^.Frame.RFLAGS and TRAP_FLAG <> 0;
end;

{ ---- Stopping ---- }

procedure Break_; assembler; nostackframe;
asm
  int3
end;

{ Handles an exception of a core. False: the kernel handles it, as without a debugger. }
function TakeException(Core: PCore): Boolean;
var
  Signal: Byte;
  Stepping: Boolean;
begin
  if WasAskedToStop(Core) then
  begin
    Park;
    Exit(True);
  end;
  with Core^.Frame do
  begin
    Stepping := RFLAGS and TRAP_FLAG <> 0; { this core is in control; its instruction may have failed }
    RFLAGS := RFLAGS and not QWord(TRAP_FLAG);
    if not Stepping and not TakeControl then
    begin
      { Another core stopped first. This exception is raised again when the core resumes. }
      if (Vector = EXC_BREAKPOINT) and IsBreakpoint(RIP - 1) then
        Dec(RIP);
      Park;
      Exit(True);
    end;
    if (Vector = EXC_BREAKPOINT) and IsBreakpoint(RIP - 1) then
      Dec(RIP);
    Signal := SignalOf(Vector);
    if Waiting and (Vector = EXC_BREAKPOINT) and (RIP = PtrUInt(@Break_) + 1) then
      Signal := SIGNAL_INTERRUPT; { InputCame's }
    Result := (Vector = EXC_DEBUG) or (Vector = EXC_BREAKPOINT);
  end;
  if not Stepping then
    StopOthers;
  if Converse(Core, Signal) then
    Exit(True);
  ReleaseOthers;
end;

{ Input while the program runs: Ctrl-C, or a new GDB. }
procedure InputCame;
begin
  if InputWaits then
    Break_;
end;

procedure Start;
begin
  if not DedicateConsole(@InputCame) then
    Exit;
  PrepareCores;
  DebugException := @TakeException;
  WriteConsoleF('waiting for GDB\n', []);
  FlushConsole;
  Break_;
end;

initialization
  Start;
end.
