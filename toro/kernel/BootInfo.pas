{ The boot-info block, which the VMM or the loader hands to the kernel: docs/boot-protocol.md
  describes each field. }
unit BootInfo;

{$mode objfpc}

interface

const
  BOOT_INFO_MAGIC = $6F726F54; { 'Toro' }
  BOOT_INFO_VERSION = 3;

  BOOT_INFO_LINES = 1; { flag: devices hold their interrupt line until it is acknowledged }

  { The part of the address space that belongs to devices }
  MMIO_START = QWord(3) shl 30;
  MMIO_END = QWord(4) shl 30;

  MEMORY_FREE = 1;
  MEMORY_IN_USE = 2;

  { Indexes of TBootInfo.Marks }
  MARK_ENTRY = 0;
  MARK_KERNEL = 1;
  MARK_APPLICATION = 2;
  MARK_EXIT = 3;

type
  TMemoryMapEntry = packed record
    Start, Size: QWord; { guest-physical, bytes }
    Kind: LongWord;     { MEMORY_* }
    Reserved: LongWord;
  end;
  PMemoryMapEntry = ^TMemoryMapEntry;

  TDeviceEntry = packed record
    Base: QWord;        { guest-physical address of the virtio-mmio registers }
    Size: LongWord;     { bytes }
    Vector: LongWord;   { interrupt vector }
    DeviceID: LongWord; { virtio device type }
    Reserved: LongWord;
  end;
  PDeviceEntry = ^TDeviceEntry;

  TBootInfo = packed record
    Magic, Version, Size, CpuCount: LongWord;
    TscHz: QWord;
    WallClockNs: QWord;  { Unix time in ns when the TSC was WallClockTsc }
    WallClockTsc: QWord;
    CommandLine: PChar;
    CommandLineSize: LongWord;
    MemoryMapCount: LongWord;
    MemoryMap: PMemoryMapEntry;
    Devices: PDeviceEntry;
    DeviceCount: LongWord;
    ConsoleVector: LongWord;
    CpuAreas: PtrUInt;
    CpuAreaSize: QWord;
    SupervisorSize, StackSize: LongWord;
    Flags: QWord;        { BOOT_INFO_* }
    ShutdownVector: LongWord;
    GenerationVector: LongWord;
    Generation: QWord;   { number of thaws since the boot }
    Marks: array[0..15] of QWord;
    Random: array[0..3] of QWord; { unpredictable, unless another loader left it 0 }
  end;
  PBootInfo = ^TBootInfo;

var
  { Set before any unit is initialized. }
  TheBootInfo: PBootInfo;

implementation

end.
