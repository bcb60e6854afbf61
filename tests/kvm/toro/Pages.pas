{ Makes pages read-only and changes their caching, says where they are, and writes to one that the
  command line names. }
program Pages;

{$mode objfpc}

uses
  Arch, BootInfo, Checks;

const
  OTHER = 3 * REGION_SIZE;

var
  Block: PByte;
  Global: array[0..8191] of Byte;
  Page: PByte;

begin
  Block := Align(GetMem(5 * REGION_SIZE), REGION_SIZE);
  FillByte(Block^, 4 * REGION_SIZE, 7);
  SetPageReadOnly(Block + 100);
  Check((Block[0] = 7) and (Block[REGION_SIZE - 1] = 7), 'it can be read');
  Block[REGION_SIZE] := 8;
  Check(Block[REGION_SIZE] = 8, 'the next one can be written');
  RemovePageCache(Block + REGION_SIZE);
  RemovePageCache(Block + OTHER);
  SetPageCache(Block + OTHER);
  Block[OTHER] := 9;
  Check((Block[REGION_SIZE] = 8) and (Block[OTHER] = 9), 'uncached memory is memory');
  Page := Align(@Global, 4096);
  SetPageReadOnly(Page);
  { Neither is ring 3's. }
  SetPageReadOnly(nil);
  RemovePageCache(Pointer($100000));
  SetPageCache(Pointer(QWord(1) shl 47));
  SetPageReadOnly(Pointer(QWord(1) shl 46));
  WriteLn(PtrUInt(Block), ' ', PtrUInt(Page));
  case String(TheBootInfo^.CommandLine) of
    'ram': Block[REGION_SIZE - 1] := 1;
    'image': Page[4095] := 1;
  end;
end.
