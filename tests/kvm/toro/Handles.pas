{ Opens a file once more when there is no memory for more handles. }
program Handles;

{$mode delphi}

uses
  Kernel, Process, Memory, Arch, Filesystem, Console, VirtIO, VirtIOFS, Checks;

const
  OPEN_FILES = 4080; { as many handles as there are before their table grows to 8176 }
  SIZES: array[0..2] of LongInt = (1 shl 20, 65536, 4096);

type
  PBlock = ^TBlock;
  TBlock = record
    Next: PBlock;
  end;

{ Allocates all blocks of a size that there are. }
function TakeAll(Size: LongInt): PBlock;
var
  Block: PBlock;
begin
  Result := nil;
  repeat
    Block := ToroGetMem(Size);
    if Block <> nil then
    begin
      Block.Next := Result;
      Result := Block;
    end;
  until Block = nil;
end;

{ Frees each block of a list, or one of three. }
procedure GiveBack(Block: PBlock; OneOf: LongInt);
var
  Next: PBlock;
  I: LongInt;
begin
  I := 0;
  while Block <> nil do
  begin
    Next := Block.Next;
    if I mod OneOf = 0 then
      ToroFreeMem(Block);
    Inc(I);
    Block := Next;
  end;
end;

var
  Blocks: array[0..High(SIZES)] of PBlock;
  I: LongInt;
  Last: THandle;
  Data: array[0..2] of Char;
begin
  DedicateBlockDriver('FS', 0);
  SysMount('virtiofs', 'FS', 0);
  for I := 1 to OPEN_FILES do
    Last := SysOpenFile('/file');
  Check(Last = OPEN_FILES, 'files are open');
  for I := 0 to High(SIZES) do
    Blocks[I] := TakeAll(SIZES[I]);
  GiveBack(Blocks[High(SIZES)], 3);
  Check((SysOpenFile('/file') = 0) and (SysFileError = ENOMEM), 'there is no memory for more');
  Check((SysReadFile(Last, 3, @Data) = 3) and (Data = 'abc'), 'those that are open can be read');
  GiveBack(Blocks[0], 1);
  Check(SysOpenFile('/file') = OPEN_FILES + 1, 'with memory more can be opened');
end.
