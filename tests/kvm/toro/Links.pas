{ Symbolic links within a share. test_shares.py makes them. }
program Links;

{$mode delphi}

uses
  Kernel, Process, Memory, Debug, Arch, Filesystem, Console, VirtIO, VirtIOFS, Checks;

function Content(Path: PChar): ShortString;
var
  F: THandle;
begin
  F := SysOpenFile(Path, O_RDONLY);
  if F = 0 then
    Exit('');
  SetLength(Result, SysReadFile(F, 255, @Result[1]));
  SysCloseFile(F);
end;

function Kind(Path: PChar): LongInt;
var
  Inode: TInode;
begin
  Result := -1;
  if SysStatFile(Path, @Inode) = 1 then
    Result := Inode.Mode;
end;

function Fails(Path: PChar; Error: LongInt): Boolean;
begin
  Result := (Kind(Path) = -1) and (SysFileError = Error) and (SysOpenFile(Path) = 0) and (SysFileError = Error);
end;

procedure TestFollowing;
var
  F: THandle;
  Entry: TDirEntry;
begin
  Check((Content('/relative') = 'hello') and (Kind('/relative') = INODE_REG), 'a link to a file');
  Check((Content('/directory/file') = 'hello') and (Kind('/directory') = INODE_DIR), 'to a directory');
  Check(Content('/directory/sub/other') = 'other', 'and on below it');
  Check(Content('/inside/up') = 'hello', 'over ..');
  Check(Content('/inside/sub/again') = 'hello', 'to another link');
  Check(Content('/rooted') = 'hello', 'from the root of the share');
  Check(Content('/rooted/') = 'hello', 'with a slash behind it');
  Check(Content('/dots') = 'hello', 'with very many dots');
  Check(Content('/chain40') = 'hello', 'forty of them');
  Check(Content('/directory/../relative') = 'hello', 'the directory above a link is that above its target');
  F := SysOpenDir('/directory/sub');
  Check((F <> 0) and SysReadDir(F, Entry), 'a directory behind a link is read');
  SysCloseFile(F);
  Check(Content('/../inside/./sub/../../inside/file') = 'hello', 'dots in a path; above the root is the root');
  Check((Kind('/inside/..') = INODE_DIR) and (Kind('/.') = INODE_DIR), 'and at its end');
end;

procedure TestRefusals;
begin
  Check(Fails('/above', EXDEV), 'not above the root');
  Check(Fails('/inside/sub/far', EXDEV), 'nor from further below');
  Check(Fails('/outside/file', EXDEV), 'nor on the way');
  Check(Fails('/absolute', ENOENT), 'an absolute path of the host is not of the host');
  Check(Fails('/loop', ELOOP), 'no circles');
  Check(Fails('/loop/file', ELOOP), 'nor on the way');
  Check(Fails('/chain41', ELOOP), 'not more than forty');
  Check(Fails('/dots/././././././././././././././././././././.', ENAMETOOLONG), 'a path has an end');
  Check(Fails('/dangling', ENOENT), 'a link that leads nowhere yet');
end;

procedure TestChanges;
var
  F: THandle;
begin
  Check((SysOpenFile('/dangling', O_WRONLY or O_CREAT or O_EXCL) = 0) and (SysFileError = EEXIST), 'is there');
  F := SysCreateFile('/dangling');
  Check((F <> 0) and (SysWriteFile(F, 3, PChar('new')) = 3), 'and a file is made where it leads');
  SysCloseFile(F);
  Check(Content('/inside/new') = 'new', 'as it were by its name');
  F := SysCreateFile('/relative');
  Check((F <> 0) and (Content('/inside/file') = ''), 'one that exists is emptied');
  SysCloseFile(F);
  F := SysCreateFile('/directory/made');
  Check((F <> 0) and (Kind('/inside/made') = INODE_REG), 'made behind a link');
  SysCloseFile(F);
  Check((SysCreateDir('/relative') = 0) and (SysFileError = EEXIST), 'no directory in place of a link');
  Check((SysCreateFile('/above') = 0) and (SysFileError = EXDEV), 'nothing is made above the root');
  Check((SysRemoveFile('/relative') = 1) and (Kind('/inside/file') = INODE_REG), 'the link is removed');
  Check((SysRenameFile('/rooted', '/moved') = 1) and (Kind('/moved') = INODE_REG), 'the link is moved');
  Check(SysRemoveFile('/inside/file') = 1, 'then the file');
  Check(Fails('/moved', ENOENT), 'and there is none');
  Check((SysRemoveDir('/inside/sub/.') = 0) and (SysFileError = EINVAL), 'a dot is no name to remove');
end;

begin
  DedicateBlockDriver('FS', 0);
  Check(SysMount('virtiofs', 'FS', 0), 'mounted');
  TestFollowing;
  TestRefusals;
  TestChanges;
end.
