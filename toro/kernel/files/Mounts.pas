{ The volumes of all drivers, and which of them is mounted where. Unit Filesystem declares the routines
  for programs. }
unit Mounts;

{$mode objfpc}

interface

uses FileDrivers;

procedure AddFilesystem(Driver: PFilesystem);

{ The volume that is mounted on this core; False: none. }
function Mounted(out Mount: TMount): Boolean;

implementation

uses Arch, FileErrors, Filesystem, InodeVolumes;

var
  Filesystems: PFilesystem;
  MountOf: array[0..MAX_CPU - 1] of TMount; { by core }
  FirstMount: TMount;

procedure AddFilesystem(Driver: PFilesystem);
begin
  Driver^.Next := Filesystems;
  Filesystems := Driver;
end;

procedure DedicateBlockDriver(const Name: PChar; Core: LongInt); public name 'Mounts.DedicateBlockDriver';
var
  Filesystem: PFilesystem;
begin
  if DedicateDriver(Name, Core) then
    Exit;
  Filesystem := Filesystems;
  while (Filesystem <> nil) and not Filesystem^.Dedicate(Name, Core) do
    Filesystem := Filesystem^.Next;
end;

function SysMount(const FileSystemName, BlockName: PChar; const Minor: LongInt): Boolean; public name 'Mounts.SysMount';
var
  Filesystem: PFilesystem;
  Volume: Pointer;
begin
  Volume := nil;
  Filesystem := Filesystems;
  while (Filesystem <> nil) and not StrCmp(Filesystem^.Name, FileSystemName, StrLen(FileSystemName) + 1) do
    Filesystem := Filesystem^.Next;
  if Filesystem <> nil then
    Volume := Filesystem^.Mount(BlockName)
  else if MountVolume(FileSystemName, BlockName, Minor) then
  begin
    Filesystem := @InodeFilesystem;
    Volume := Storages[GetCoreId].FileSystemMounted;
  end;
  Result := Volume <> nil;
  if not Result then
  begin
    LastError := ENODEV;
    Exit;
  end;
  MountOf[GetCoreId].Filesystem := Filesystem;
  MountOf[GetCoreId].Volume := Volume;
  if (FirstMount.Volume = nil) and (Filesystem <> @InodeFilesystem) then
    FirstMount := MountOf[GetCoreId];
end;

function VolumeName(Index: LongInt): PChar; public name 'Mounts.VolumeName';
var
  Filesystem: PFilesystem;
  I: LongInt;
begin
  Filesystem := Filesystems;
  while Filesystem <> nil do
  begin
    I := 0;
    repeat
      Result := Filesystem^.VolumeName(I);
      if (Result <> nil) and (Index = 0) then
        Exit;
      Inc(I);
      Dec(Index);
    until Result = nil;
    Inc(Index);
    Filesystem := Filesystem^.Next;
  end;
  Result := nil;
end;

function FindMount(Name: PChar; out Mount: TMount): Boolean; public name 'Mounts.FindMount';
begin
  Mount.Volume := nil;
  DedicateBlockDriver(Name, GetCoreId);
  Mount.Filesystem := Filesystems;
  while Mount.Filesystem <> nil do
  begin
    Mount.Volume := Mount.Filesystem^.Mount(Name);
    if Mount.Volume <> nil then
      Exit(True);
    Mount.Filesystem := Mount.Filesystem^.Next;
  end;
  Result := False;
end;

function Mounted(out Mount: TMount): Boolean;
begin
  Mount := MountOf[GetCoreId];
  if Mount.Volume = nil then
    Mount := FirstMount;
  Result := Mount.Volume <> nil;
  if not Result then
    LastError := ENODEV;
end;

end.
