{ A block device in memory and a file system on it, as third-party drivers for Toro: each is
  written against the driver interface of unit Filesystem alone. The disk has blocks of 512
  bytes. Block 0 is a directory of 16 names; the file with inode N has the 8 blocks behind block
  8 * N. }
unit RamDisk;

{$mode delphi}

interface

implementation

uses
  Arch, Process, Memory, Filesystem;

const
  BLOCK = 512;
  BLOCKS = 256;
  ROOT = 1;
  FILE_BLOCKS = 8;
  NAMES = 16;

type
  PEntry = ^TEntry;
  TEntry = packed record
    Ino, Size: LongInt; { Ino is 0: unused }
    Name: array[0..23] of Char;
  end;
  PDirectory = ^TDirectory;
  TDirectory = array[0..NAMES - 1] of TEntry;

var
  Disk: array[0..BLOCKS * BLOCK - 1] of Byte;
  Device: TBlockDriver;
  Minor: TFileBlock;
  Flat: TFileSystemDriver;
  Directory: TDirectory;

{ ---- The block driver ---- }

function ReadDisk(FileDesc: PFileBlock; Block, Count: LongInt; Buffer: Pointer): LongInt;
begin
  GetDevice(FileDesc.BlockDriver);
  if Block + Count > BLOCKS then
    Count := BLOCKS - Block;
  Move(Disk[Block * 512], Buffer^, Count * 512);
  FreeDevice(FileDesc.BlockDriver);
  Result := Count;
end;

function WriteDisk(FileDesc: PFileBlock; Block, Count: LongInt; Buffer: Pointer): LongInt;
begin
  GetDevice(FileDesc.BlockDriver);
  if Block + Count > BLOCKS then
    Count := BLOCKS - Block;
  Move(Buffer^, Disk[Block * 512], Count * 512);
  FreeDevice(FileDesc.BlockDriver);
  Result := Count;
end;

procedure DedicateDisk(Controller: PBlockDriver; CPUID: LongInt);
begin
  Minor.BlockDriver := Controller;
  Minor.Minor := 0;
  DedicateBlockFile(@Minor, CPUID);
end;

{ ---- The file system ---- }

procedure Save(Super: PSuperBlock);
begin
  Super.BlockDevice.BlockDriver.WriteBlock(Super.BlockDevice, 0, 1, @Directory);
end;

function ReadSuper(Super: PSuperBlock): PSuperBlock;
begin
  Result := nil;
  if Super.BlockDevice.BlockDriver.ReadBlock(Super.BlockDevice, 0, 1, @Directory) <> 1 then
    Exit;
  Super.BlockSize := BLOCK;
  Super.InodeROOT := GetInode(ROOT);
  Result := Super;
end;

procedure ReadInode(Ino: PInode);
var
  I: LongInt;
begin
  if Ino.Ino = ROOT then
  begin
    Ino.Mode := INODE_DIR;
    Ino.Size := SizeOf(Directory);
    Exit;
  end;
  for I := 0 to NAMES - 1 do
    if Directory[I].Ino = Ino.Ino then
    begin
      Ino.Mode := INODE_REG;
      Ino.Size := Directory[I].Size;
    end;
end;

procedure WriteInode(Ino: PInode);
var
  I: LongInt;
begin
  for I := 0 to NAMES - 1 do
    if Directory[I].Ino = Ino.Ino then
      Directory[I].Size := Ino.Size;
  Save(Ino.SuperBlock);
end;

function LookupInode(Ino: PInode; Name: PXChar): PInode;
var
  I: LongInt;
begin
  Result := nil;
  for I := 0 to NAMES - 1 do
    if (Directory[I].Ino <> 0) and StrCmp(Directory[I].Name, Name, StrLen(Name) + 1) then
      Result := GetInode(Directory[I].Ino);
end;

function CreateInode(Ino: PInode; Name: PXChar): PInode;
var
  I: LongInt;
begin
  Result := nil;
  if (Ino.Ino <> ROOT) or (StrLen(Name) > 23) then
    Exit;
  for I := 0 to NAMES - 1 do
    if Directory[I].Ino = 0 then
    begin
      Directory[I].Ino := ROOT + 1 + I;
      Directory[I].Size := 0;
      Move(Name^, Directory[I].Name, StrLen(Name) + 1);
      Save(Ino.SuperBlock);
      Result := GetInode(Directory[I].Ino);
      Exit;
    end;
end;

function CreateInodeDir(Ino: PInode; Name: PXChar): PInode;
begin
  Result := nil;
end;

function RemoveInode(Ino: PInode; Name: PXChar): LongInt;
begin
  Result := 0;
end;

function OpenFile(FileDesc: PFileRegular; Flags: LongInt): LongInt;
begin
  Result := 0;
end;

function CloseFile(FileDesc: PFileRegular): LongInt;
begin
  Result := 0;
end;

{ Moves bytes between the blocks of a file and a buffer. }
function Transfer(FileDesc: PFileRegular; Count: LongInt; Buffer: PChar; Writing: Boolean): LongInt;
var
  Data: array[0..BLOCK - 1] of Byte;
  Device: PFileBlock;
  At, Part: LongInt;
begin
  Device := FileDesc.Inode.SuperBlock.BlockDevice;
  Result := 0;
  while Count > 0 do
  begin
    At := FileDesc.Inode.Ino * FILE_BLOCKS + FileDesc.FilePos div BLOCK;
    Part := BLOCK - FileDesc.FilePos mod BLOCK;
    if Part > Count then
      Part := Count;
    Device.BlockDriver.ReadBlock(Device, At, 1, @Data);
    if Writing then
    begin
      Move(Buffer^, Data[FileDesc.FilePos mod BLOCK], Part);
      Device.BlockDriver.WriteBlock(Device, At, 1, @Data);
    end
    else
      Move(Data[FileDesc.FilePos mod BLOCK], Buffer^, Part);
    Inc(FileDesc.FilePos, Part);
    Inc(Buffer, Part);
    Inc(Result, Part);
    Dec(Count, Part);
  end;
end;

function ReadFile(FileDesc: PFileRegular; Count: LongInt; Buffer: Pointer): LongInt;
begin
  if FileDesc.FilePos + Count > FileDesc.Inode.Size then
    Count := FileDesc.Inode.Size - FileDesc.FilePos;
  Result := Transfer(FileDesc, Count, Buffer, False);
end;

function WriteFile(FileDesc: PFileRegular; Count: LongInt; Buffer: Pointer): LongInt;
begin
  if FileDesc.FilePos + Count > FILE_BLOCKS * BLOCK then
    Count := FILE_BLOCKS * BLOCK - FileDesc.FilePos;
  Result := Transfer(FileDesc, Count, Buffer, True);
  if FileDesc.FilePos > FileDesc.Inode.Size then
  begin
    FileDesc.Inode.Size := FileDesc.FilePos;
    FileDesc.Inode.Dirty := True;
  end;
end;

initialization
  Device.Name := 'ramdisk';
  Device.CPUID := -1; { of no core yet }
  Device.Dedicate := DedicateDisk;
  Device.ReadBlock := ReadDisk;
  Device.WriteBlock := WriteDisk;
  RegisterBlockDriver(@Device);
  Flat.Name := 'flat';
  Flat.OpenFile := OpenFile;
  Flat.CloseFile := CloseFile;
  Flat.ReadFile := ReadFile;
  Flat.WriteFile := WriteFile;
  Flat.ReadInode := ReadInode;
  Flat.WriteInode := WriteInode;
  Flat.CreateInode := CreateInode;
  Flat.CreateInodeDir := CreateInodeDir;
  Flat.RemoveInode := RemoveInode;
  Flat.LookupInode := LookupInode;
  Flat.ReadSuper := ReadSuper;
  RegisterFilesystem(@Flat);
end.
