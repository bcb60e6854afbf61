{ Where threads begin that FPC's own means begin: on the cores in turn. `pyvmm build` adds this unit
  to programs that use them. }
unit threadsinturn;

{$mode objfpc}

interface

implementation

uses Arch, Memory, Process;

const
  SMALL_SHARE = 256; { of the memory }

var
  Turn: LongInt;

{ BeginThread of unit System, whose fifth parameter is a core if it is not 0. FPC's default stack,
  4 MiB, is address space on Linux; here it is memory, so it is smaller when half of that is
  in use. }
function BeginThreadInTurn(SecurityAttributes: Pointer; StackSize: SizeUInt; ThreadFunction: TThreadFunc;
  Parameter: Pointer; CreationFlags: DWord; var ThreadID: TThreadID): TThreadID;
var
  Core: LongInt;
begin
  Core := NextCore - 1;
  NextCore := 0;
  if CreationFlags > 0 then
    Core := CreationFlags;
  if (Core < 0) or (Core >= CPU_COUNT) then
    Core := LongWord(InterlockedIncrement(Turn)) mod LongWord(CPU_COUNT);
  if (StackSize = DefaultStackSize) and (StackSize > AvailableMemory div SMALL_SHARE) then
    with HeapStatistics do
      if Used + StackSize > Total div 2 then
        StackSize := AvailableMemory div SMALL_SHARE;
  Result := Process.BeginThread(SecurityAttributes, StackSize, ThreadFunction, Parameter, Core, ThreadID);
end;

procedure Install;
var
  Manager: TThreadManager;
begin
  Manager := Default(TThreadManager);
  GetThreadManager(Manager);
  Manager.BeginThread := @BeginThreadInTurn;
  SetThreadManager(Manager);
end;

initialization
  Install;
end.
