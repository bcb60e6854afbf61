{ Thread variables. FPC stores the offset of each variable in front of its static copy, and
  calls the relocation routine with it, which returns the address in the current thread. }
unit ThreadVars;

{$mode objfpc}
{$asmmode intel}

interface

{ Bytes of all thread variables of the program. }
function ThreadVarsSize: PtrUInt;

{ From here on every thread has its own variables. The current thread keeps its values. Manager
  is the thread manager to install. }
procedure InstallThreadVars(var Manager: TThreadManager);

{ Initializes the current thread's variables: those of the run-time library, and the open
  console files. }
procedure StartThreadVars;

implementation

uses Arch, CoreThreads, Memory;

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
  mov rcx, gs:[TCore.Scheduler]
  add rax, [rcx + TCPU.ThreadVars]
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
end;

end.
