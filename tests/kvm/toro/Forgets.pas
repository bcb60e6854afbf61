{ When the file system FS is told to forget a file: right after it was removed or replaced, else
  within a second or so. NAME.forgotten exists, says the test, when NAME is not known any more. }
program Forgets;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Filesystem, Console, VirtIO, VirtIOFS, Checks;

const
  AT_ONCE = 5;
  STEP = 20; { ms }

{ How many steps it takes. }
function StepsUntilForgotten(const Name: AnsiString): LongInt;
var
  Inode: TInode;
begin
  Result := 0;
  while SysStatFile(PChar(Name + '.forgotten'), @Inode) = 0 do
  begin
    Sleep(STEP);
    Inc(Result);
  end;
end;

procedure MakeFile(Name: PChar);
var
  F: THandle;
begin
  F := SysCreateFile(Name);
  SysWriteFile(F, 4, PChar('data'));
  SysCloseFile(F);
end;

function Use(Parameter: Pointer): PtrInt;
begin
  MakeFile('/elsewhere');
  Result := 0;
end;

var
  Thread: TThreadID;
begin
  DedicateBlockDriver('FS', 0);
  SysMount('virtiofs', 'FS', 0);
  MakeFile('/removed');
  SysRemoveFile('/removed');
  Check(StepsUntilForgotten('/removed') < AT_ONCE, 'a removed file is forgotten at once');
  MakeFile('/old');
  MakeFile('/new');
  SysRenameFile('/new', '/old');
  Check(StepsUntilForgotten('/old') < AT_ONCE, 'and so is one that was replaced');
  SysCreateDir('/dir');
  MakeFile('/dir/inside');
  SysRemoveFile('/dir/inside');
  SysRemoveDir('/dir');
  Check(StepsUntilForgotten('/dir') < AT_ONCE, 'and a directory');
  MakeFile('/used');
  Check(StepsUntilForgotten('/used') >= 0, 'a closed file is forgotten later');
  BeginThread(nil, 65536, @Use, nil, CPU_COUNT - 1, Thread);
  WaitForThreadTerminate(Thread, 0);
  Check(StepsUntilForgotten('/elsewhere') >= 0, 'also one of another core');
end.
