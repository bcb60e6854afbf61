{ Uses files until something fails, and says what, with the error. }
program FilesTampered;

{$mode delphi}

uses
  Kernel, Arch, Filesystem, Console, VirtIOFS;

procedure Must(Done: Boolean; const What: ShortString);
begin
  if Done then
    Exit;
  WriteLn(What, ' ', SysFileError);
  Halt(0);
end;

var
  Inode: TInode;
  F: THandle;
  Entry: TDirEntry;
begin
  DedicateBlockDriver('FS', 0);
  Must(SysMount('virtiofs', 'FS', 0), 'init');
  Must(SysStatFile('/', @Inode) = 1, 'getattr');
  Must(SysStatFile('/given', @Inode) = 1, 'lookup');
  F := SysOpenFile('/given/hello', O_RDWR);
  Must(F <> 0, 'open');
  Must(SysWriteFile(F, 5, PChar('12345')) = 5, 'write');
  F := SysOpenDir('/given');
  Must(SysReadDir(F, Entry) and (Entry.Name = 'hello'), 'list');
  WriteLn('nothing failed');
end.
