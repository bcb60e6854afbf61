{ What a share keeps from the guest, and when the host sees what it writes. }
program Shares;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Filesystem, Console, VirtIO, VirtIOFS, Checks;

function Fails(Condition: Boolean; Error: LongInt): Boolean;
begin
  Result := not Condition and (SysFileError = Error);
end;

procedure TestReadOnly;
var
  F: THandle;
begin
  F := SysOpenFile('/file', O_RDONLY);
  Check(F <> 0, 'a file is read');
  Check(Fails(SysWriteFile(F, 1, PChar('x')) <> -1, EBADF), 'and not written through this handle');
  Check(Fails(SysTruncateFile(F, 0) = 1, EROFS) or (SysFileError = EINVAL), 'nor emptied');
  Check(Fails(SysOpenFile('/file', O_WRONLY) <> 0, EROFS), 'it is not opened for writing');
  Check(Fails(SysOpenFile('/file', O_RDWR or O_TRUNC) <> 0, EROFS), 'nor to be emptied');
  Check(Fails(SysCreateFile('/new') <> 0, EROFS), 'none is made');
  Check(Fails(SysCreateDir('/new') = 1, EROFS), 'nor a directory');
  Check(Fails(SysRemoveFile('/file') = 1, EROFS), 'nor removed');
  Check(Fails(SysRenameFile('/file', '/new') = 1, EROFS), 'nor moved');
end;

procedure TestEscape;
var
  Inode: TInode;
begin
  Check(SysStatFile('/../../../../secret', @Inode) = 0, 'not behind ..');
  Check(SysStatFile('/inside/../../secret', @Inode) = 0, 'nor behind .. of a directory');
  Check(SysStatFile('/absolute', @Inode) = 0, 'nor behind a symbolic link');
  Check(SysOpenFile('/absolute', O_RDONLY) = 0, 'nor is it opened');
  Check(SysOpenFile('/relative', O_RDONLY) = 0, 'nor a relative one');
  Check(SysOpenFile('/outside/secret', O_RDONLY) = 0, 'nor one on the way');
  Check(SysCreateFile('/outside/new') = 0, 'nothing is made there');
end;

procedure TestStat(Path: PChar);
var
  Inode: TInode;
begin
  Check((SysStatFile(Path, @Inode) = 1) and (Inode.Mode = INODE_REG), 'the file is there');
end;

procedure TestWriting;
var
  F: THandle;
  Any: Char;
begin
  F := SysCreateFile('/closed');
  SysWriteFile(F, 5, PChar('12345'));
  SysCloseFile(F);
  SysCreateDir('/directory');
  F := SysCreateFile('/synchronized');
  SysWriteFile(F, 5, PChar('67890'));
  SysSyncFile(F);
  WriteConsoleF('written\n', []);
  ReadFromSerial(Any);
end;

begin
  DedicateBlockDriver('FS', 0);
  Check(SysMount('virtiofs', 'FS', 0), 'mounted');
  case GetKernelParam(0)^ of
    'r': TestReadOnly;
    'e': TestEscape;
    'w': TestWriting;
    's': TestStat(GetKernelParam(1));
  end;
end.
