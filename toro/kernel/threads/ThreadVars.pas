{ Thread variables. FPC keeps an offset in front of each one's static place and
  calls FPC_THREADVAR_RELOCATE with it; what that returns is the current thread's. }
unit ThreadVars;

{$mode objfpc}
{$asmmode intel}

interface

{ Bytes that the thread variables of the whole program take. }
function ThreadVarsSize: PtrUInt;

{ Makes them the thread's own, from here on. The current thread keeps the values
  that it has; Manager is the one that the run-time library will use. }
procedure InstallThreadVars(var Manager: TThreadManager);

{ Gives the current thread's their first values: the library's own, and console
  files that are open. }
procedure StartThreadVars;

implementation

uses Arch, CoreThreads, Memory, consoleio;

var
  Size: PtrUInt;

function ThreadVarsSize: PtrUInt;
begin
  Result := Size;
end;

procedure AddThreadVar(var Offset: DWord; Bytes: DWord);
begin
  Size := (Size + 15) and not PtrUInt(15);
  Offset := Size;
  Inc(Size, Bytes);
end;

function Relocate(Offset: DWord): Pointer; assembler; nostackframe;
asm
  mov eax, edi
  add rax, gs:[CORE_SIZE - SCHEDULER_SIZE + TCPU.ThreadVars]
end;

procedure AllocateFirst;
begin
  with GetCurrentThread^ do
  begin
    TLS := ToroAllocMem(Size);
    CPU^.ThreadVars := TLS;
  end;
end;

procedure InstallThreadVars(var Manager: TThreadManager);
begin
  Manager.InitThreadVar := @AddThreadVar;
  Manager.RelocateThreadVar := @Relocate;
  Manager.AllocateThreadVars := @AllocateFirst;
  SetThreadManager(Manager);
  InitThreadVars(@Relocate);
end;

procedure StartThreadVars;
begin
  with GetCurrentThread^ do
  begin
    InitThread(StackSize);
    StackBottom := Pointer(StackLow);
    StackLength := StackHigh - StackLow;
  end;
  OpenConsole;
end;

end.
