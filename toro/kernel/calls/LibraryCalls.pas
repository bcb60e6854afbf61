{ The system calls of a program that uses more of FPC's library than the console: descriptors and
  time. Those for files and sockets are in units of their own. }
unit LibraryCalls;

{$mode objfpc}

interface

uses SystemCalls;

var
  { Set by FileCalls and SocketCalls; nil: the program has none. Calls with a path; those about
    sockets and poll }
  OnFileCall, OnSocketCall: TCallHandler;

implementation

uses Arch, Console, Descriptors, Process;

const
  TIMES_CLOCK_REALTIME = 0;
  NS = 1000000000;

  { Commands of fcntl }
  F_DUPFD = 0;
  F_GETFD = 1;
  F_SETFD = 2;
  F_GETFL = 3;
  F_SETFL = 4;

type
  PTime = ^TTime;
  TTime = record
    Seconds, Rest: Int64; { the rest in ns or µs }
  end;

{ ---- The console ---- }

function ReadInput(Description: PDescription; Data: PByte; Count: PtrInt): PtrInt;
begin
  Result := ReadConsole(PChar(Data), Count);
end;

function WriteOutput(Description: PDescription; Data: PByte; Count: PtrInt): PtrInt;
begin
  WriteConsole(PChar(Data), Count);
  Result := Count;
end;

procedure CloseConsole(Description: PDescription);
begin
end;

function ConsoleReady(Description: PDescription): LongInt;
begin
  Result := POLLOUT;
  if InputReady then
    Result := Result or POLLIN;
end;

function ConsoleOther(Description: PDescription; const Call: TCall): PtrInt;
begin
  case Call.Number of
    CALL_IOCTL: Result := ConsoleControl(Call);
    CALL_LSEEK: Result := -ESPIPE;
  else
    Result := -EINVAL;
  end;
end;

const
  ConsoleKind: TKind = (Read: @ReadInput; Write: @WriteOutput; Close: @CloseConsole; Ready: @ConsoleReady;
    Other: @ConsoleOther);

{ ---- Time ---- }

procedure StoreTime(Time: PTime; Ns_, Unit_: QWord);
begin
  Time^.Seconds := Ns_ div NS;
  Time^.Rest := Ns_ mod NS div Unit_;
end;

function ClockTime(Clock: PtrInt): QWord;
begin
  if Clock = TIMES_CLOCK_REALTIME then
    Result := UnixTimeNs
  else
    Result := MonotonicNs;
end;

function Nap(Time: PTime): PtrInt;
begin
  if (Time^.Seconds < 0) or (Time^.Rest < 0) or (Time^.Rest >= NS) then
    Exit(-EINVAL);
  Result := 0;
  if (Time^.Seconds = 0) and (Time^.Rest = 0) then
    SysThreadSwitch
  else
    SleepUntil(read_rdtsc + TicksOf(Time^.Seconds * 1000 + Time^.Rest div 1000000) +
      TicksOfMicro(Time^.Rest div 1000 mod 1000));
end;

{ ---- Calls ---- }

function Control(Description: PDescription; const Call: TCall): PtrInt;
begin
  Result := 0;
  case Call.Args[2] of
    F_DUPFD: Result := Duplicate(Call.Args[1], Call.Args[3], False);
    F_GETFD, F_SETFD: ;
    F_GETFL: Result := Description^.Flags;
    F_SETFL: Description^.Flags := Description^.Flags and not O_NONBLOCK or Call.Args[3] and O_NONBLOCK;
  else
    Result := -EINVAL;
  end;
end;

{ A call whose first argument is a descriptor }
function CallOf(const Call: TCall): PtrInt;
var
  Description: PDescription;
begin
  Description := Acquire(Call.Args[1]);
  if Description = nil then
    Exit(-EBADF);
  case Call.Number of
    CALL_READ: Result := Description^.Kind^.Read(Description, Call.Pointers[2], Call.Args[3]);
    CALL_WRITE: Result := Description^.Kind^.Write(Description, Call.Pointers[2], Call.Args[3]);
    CALL_FCNTL: Result := Control(Description, Call);
    CALL_DUP: Result := Duplicate(Call.Args[1], 0, False);
  else
    Result := Description^.Kind^.Other(Description, Call);
  end;
  Release(Description);
end;

function Perform(const Call: TCall): PtrInt;
begin
  Result := 0;
  case Call.Number of
    CALL_READ, CALL_WRITE, CALL_FSTAT, CALL_LSEEK, CALL_IOCTL, CALL_DUP, CALL_FCNTL, CALL_FSYNC, CALL_FTRUNCATE,
    CALL_GETDENTS64:
      Result := CallOf(Call);
    CALL_CLOSE: Result := CloseDescriptor(Call.Args[1]);
    CALL_DUP2: Result := Duplicate(Call.Args[1], Call.Args[2], True);
    CALL_SCHED_YIELD: SysThreadSwitch;
    CALL_NANOSLEEP: Result := Nap(Call.Pointers[1]);
    CALL_GETPID, CALL_GETPPID: Result := 1;
    CALL_GETUID, CALL_GETGID, CALL_GETEUID, CALL_GETEGID: ;
    CALL_TIME: Result := UnixTimeNs div NS;
    CALL_GETTIMEOFDAY: StoreTime(Call.Pointers[1], UnixTimeNs, 1000);
    CALL_CLOCK_GETTIME: StoreTime(Call.Pointers[2], ClockTime(Call.Args[1]), 1);
    CALL_SIGACTION, CALL_SIGPROCMASK, CALL_EXIT, CALL_EXIT_GROUP: Result := PlainCall(Call);
    CALL_READLINK:
      if StrCmp(Call.Pointers[1], '/proc/self/exe', 15) then
        Result := PlainCall(Call)
      else
        Result := -EINVAL;
    CALL_POLL, CALL_SELECT, CALL_SOCKET..CALL_GETSOCKOPT:
      if Assigned(OnSocketCall) then
        Result := OnSocketCall(Call)
      else
        Result := -ENOSYS;
  else
    if Assigned(OnFileCall) then
      Result := OnFileCall(Call)
    else
      Result := -ENOSYS;
  end;
end;

initialization
  OpenStandard(@ConsoleKind);
  OnCall := @Perform;
end.
