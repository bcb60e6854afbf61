{ Removes /victim while another thread's request is under way whose reply still has it, and says
  whether it is there afterwards. Parameter: `stat` or `list`, which request that is. }
program Stale;

{$mode delphi}

uses
  Kernel, Process, Arch, Filesystem, Console, VirtIOFS;

var
  Asked, Answered: Boolean;

function Ask(Parameter: Pointer): PtrInt;
var
  Dir: THandle;
  Entry: TDirEntry;
  Inode: TInode;
begin
  Dir := SysOpenDir('/');
  Asked := True;
  if GetKernelParam(0)[0] = 's' then
    SysStatFile('/victim', @Inode)
  else
    SysReadDir(Dir, Entry);
  SysCloseFile(Dir);
  Answered := True;
  Result := 0;
end;

var
  Thread: TThreadID;
  Inode: TInode;
begin
  DedicateBlockDriver('FS', 0);
  SysMount('virtiofs', 'FS', 0);
  BeginThread(nil, 32768, Ask, nil, 0, Thread);
  while not Asked do
    SysThreadSwitch;
  if (SysRemoveFile('/victim') = 0) or Answered then
    WriteLn('not as it should be');
  while not Answered do
    SysThreadSwitch;
  WriteLn('found ', SysStatFile('/victim', @Inode));
end.
