{ Files on the RAM disk. }
program RamDiskFiles;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Filesystem, Console, RamDisk;

procedure Check(Condition: Boolean; Name: PChar);
begin
  if Condition then
    WriteConsoleF('ok %p\n', [PtrUInt(Name)])
  else
    WriteConsoleF('FAILED %p\n', [PtrUInt(Name)]);
end;

var
  F: THandle;
  Inode: TInode;
  Text: array[0..2047] of Char;
  I: LongInt;
  Same: Boolean;
begin
  Check(not SysMount('flat', 'ramdisk', 0), 'not mounted before the disk is dedicated');
  DedicateBlockDriver('ramdisk', 0);
  Check(Storages[0].BlockFiles <> nil, 'the disk is of core 0');
  Check(not SysMount('flat', 'ramdisk', 1), 'there is no minor 1');
  Check(not SysMount('fat', 'ramdisk', 0), 'there is no other file system');
  Check(SysMount('flat', 'ramdisk', 0), 'mounted');
  Check((Storages[0].FileSystemMounted <> nil) and (Storages[0].FileSystemMounted.BlockSize = 512), 'a superblock');
  Check(SysOpenFile('/missing', O_RDONLY) = 0, 'no such file');
  F := SysCreateFile('/first');
  Check(F <> 0, 'created');
  for I := 0 to 2047 do
    Text[I] := Char(I * 7);
  Check(SysWriteFile(F, 2000, @Text) = 2000, 'written');
  SysCloseFile(F);
  FillChar(Text, SizeOf(Text), 0);
  F := SysOpenFile('/first', O_RDONLY);
  Check(F <> 0, 'opened');
  Check(SysReadFile(F, 600, @Text) = 600, 'some is read');
  Check(SysReadFile(F, 2048, @Text[600]) = 1400, 'and the rest');
  Check(SysReadFile(F, 10, @Text[2000]) = 0, 'the end');
  Same := True;
  for I := 0 to 1999 do
    Same := Same and (Text[I] = Char(I * 7));
  Check(Same, 'it is what was written');
  Check(SysSeekFile(F, 7, SeekSet) = 7, 'the position is set');
  Check((SysReadFile(F, 1, @Text) = 1) and (Text[0] = Char(49)), 'and read from');
  SysCloseFile(F);
  Check((SysStatFile('/first', @Inode) <> 0) and (Inode.Size = 2000) and (Inode.Mode = INODE_REG), 'its size');
  Check(SysStatFile('/missing', @Inode) = 0, 'no size of what is missing');
  F := SysCreateFile('/second');
  SysWriteFile(F, 3, PChar('abc'));
  SysCloseFile(F);
  F := SysOpenFile('/second', O_RDONLY);
  Check((SysReadFile(F, 10, @Text) = 3) and (Text[2] = 'c'), 'another file');
end.
