{ The system calls that FPC's library for Linux makes. They are calls of routines here, with
  Linux's numbers, arguments and errors, so FPC's units work unchanged.

  This unit has what every program needs: the console, and the end. All else is in LibraryCalls,
  FileCalls and SocketCalls, which `pyvmm build` adds to programs that use it. }
unit SystemCalls;

{$mode objfpc}

interface

const
  { Numbers of system calls }
  CALL_READ = 0;
  CALL_WRITE = 1;
  CALL_OPEN = 2;
  CALL_CLOSE = 3;
  CALL_STAT = 4;
  CALL_FSTAT = 5;
  CALL_LSTAT = 6;
  CALL_POLL = 7;
  CALL_LSEEK = 8;
  CALL_MMAP = 9;
  CALL_MUNMAP = 11;
  CALL_SIGACTION = 13;
  CALL_SIGPROCMASK = 14;
  CALL_IOCTL = 16;
  CALL_ACCESS = 21;
  CALL_SELECT = 23;
  CALL_SCHED_YIELD = 24;
  CALL_DUP = 32;
  CALL_DUP2 = 33;
  CALL_NANOSLEEP = 35;
  CALL_GETPID = 39;
  CALL_SOCKET = 41;
  CALL_CONNECT = 42;
  CALL_ACCEPT = 43;
  CALL_SENDTO = 44;
  CALL_RECVFROM = 45;
  CALL_SHUTDOWN = 48;
  CALL_BIND = 49;
  CALL_LISTEN = 50;
  CALL_GETSOCKNAME = 51;
  CALL_GETPEERNAME = 52;
  CALL_SOCKETPAIR = 53;
  CALL_SETSOCKOPT = 54;
  CALL_GETSOCKOPT = 55;
  CALL_EXIT = 60;
  CALL_UNAME = 63;
  CALL_FCNTL = 72;
  CALL_FSYNC = 74;
  CALL_TRUNCATE = 76;
  CALL_FTRUNCATE = 77;
  CALL_GETCWD = 79;
  CALL_CHDIR = 80;
  CALL_RENAME = 82;
  CALL_MKDIR = 83;
  CALL_RMDIR = 84;
  CALL_UNLINK = 87;
  CALL_READLINK = 89;
  CALL_CHMOD = 90;
  CALL_UMASK = 95;
  CALL_GETTIMEOFDAY = 96;
  CALL_GETUID = 102;
  CALL_GETGID = 104;
  CALL_GETEUID = 107;
  CALL_GETEGID = 108;
  CALL_GETPPID = 110;
  CALL_UTIME = 132;
  CALL_TIME = 201;
  CALL_GETDENTS64 = 217;
  CALL_CLOCK_GETTIME = 228;
  CALL_EXIT_GROUP = 231;

  PROGRAM_NAME = '/program'; { ParamStr(0) }

  { Errors, as on Linux; returned negative }
  ENOTTY = 25;
  ENOSYS = 38;

type
  { A system call: its number on Linux, and its arguments }
  TCall = record
    Number: PtrInt;
    case LongInt of
      0: (Args: array[1..6] of PtrInt);
      1: (Pointers: array[1..6] of Pointer);
  end;

  TCallHandler = function(const Call: TCall): PtrInt;

{ An ioctl of the console. }
function ConsoleControl(const Call: TCall): PtrInt;

{ The calls that every program may make. }
function PlainCall(const Call: TCall): PtrInt;

var
  { Handles all calls; set by LibraryCalls. }
  OnCall: TCallHandler = @PlainCall;

implementation

uses Arch, Console;

const
  TCGETS = $5401; { ioctl by which a terminal is recognized }

procedure SetErrno(Error: LongInt); external name 'FPC_SYS_SETERRNO';

function ConsoleControl(const Call: TCall): PtrInt;
begin
  Result := 0;
  if Call.Args[2] <> TCGETS then
    Result := -ENOTTY;
end;

procedure Leave(Status: PtrInt); noreturn;
begin
  FlushConsole;
  PowerOff(Status and $FF);
end;

{ readlink: of the program itself, from which FPC's library takes ParamStr(0). }
function ReadLink(Target: PChar): PtrInt;
begin
  Result := Length(PROGRAM_NAME);
  Move(PChar(PROGRAM_NAME)^, Target^, Result);
end;

{ Files that a program without LibraryCalls has open are the console. }
function PlainCall(const Call: TCall): PtrInt;
begin
  Result := 0;
  case Call.Number of
    CALL_READ: Result := ReadConsole(Call.Pointers[2], Call.Args[3]);
    CALL_WRITE:
      begin
        WriteConsole(Call.Pointers[2], Call.Args[3]);
        Result := Call.Args[3];
      end;
    CALL_IOCTL: Result := ConsoleControl(Call);
    CALL_SIGACTION, CALL_SIGPROCMASK: ; { there are no signals }
    CALL_READLINK: Result := ReadLink(Call.Pointers[2]);
    CALL_EXIT, CALL_EXIT_GROUP: Leave(Call.Args[1]);
  else
    Result := -ENOSYS;
  end;
end;

function SystemCall(Number, A, B, C, D, E, F: PtrInt): PtrInt;
  [public, alias: 'FPC_SYSCALL0', alias: 'FPC_SYSCALL1', alias: 'FPC_SYSCALL2', alias: 'FPC_SYSCALL3',
  alias: 'FPC_SYSCALL4', alias: 'FPC_SYSCALL5', alias: 'FPC_SYSCALL6'];
var
  Call: TCall;
begin
  Call.Number := Number;
  Call.Args[1] := A;
  Call.Args[2] := B;
  Call.Args[3] := C;
  Call.Args[4] := D;
  Call.Args[5] := E;
  Call.Args[6] := F;
  Result := OnCall(Call);
  if Result < 0 then
  begin
    SetErrno(-Result);
    Result := -1;
  end;
end;

{ GetCPUCount of FPC's system unit }
function CountCores: LongWord; public name 'toro_cpucount';
begin
  Result := CPU_COUNT;
end;

end.
