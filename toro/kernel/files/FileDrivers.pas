{ What a driver of files is. It is one of two kinds: a TFilesystem, which takes paths, or a
  TFileSystemDriver, which knows inodes and finds its blocks through a TBlockDriver. }
unit FileDrivers;

{$mode objfpc}

interface

uses Arch, CoreThreads;

const
  MAX_DEV_NAME = 30;             { characters in a driver's name, with a zero }

type
  PSuperBlock = ^TSuperBlock;
  PInode = ^TInode;

  { What SysStatFile tells about a file, and what an inode driver knows of it }
  TInode = record
    Ino: QWord;
    Size: Int64;                 { bytes }
    Mode: LongInt;               { INODE_* }
    Rights: LongInt;             { permission bits, as for chmod }
    ATime, CTime, MTime: Int64;  { seconds since 1970 }
    { Of an inode driver: }
    DTime: Int64;
    Dirty: Boolean;              { WriteInode is called when nobody uses it any more }
    Count: LongInt;              { users }
    SuperBlock: PSuperBlock;
    InoInfo: Pointer;            { the driver's }
    Next, Prev: PInode;          { in the volume's cache }
  end;

  TDirEntry = record
    Name: String[255];
    Ino: QWord;
    Mode: LongInt;               { INODE_* }
  end;

  { What is to be changed of a file }
  TChange = record
    SetRights, SetTimes: Boolean;
    Rights: LongInt;             { permission bits }
    ATime, MTime: Int64;         { seconds since 1970 }
  end;

  PFilesystem = ^TFilesystem;

  { A volume of a file system }
  TMount = record
    Filesystem: PFilesystem;
    Volume: Pointer;
  end;

  { An open file or directory }
  PFile = ^TFile;
  TFile = record
    Filesystem: PFilesystem;
    Volume: Pointer;
    Path: PChar;                 { the path that it was opened by }
    Node, Handle: QWord;
    Ino: QWord;
    Session: LongWord;           { of the volume, within which Node and Handle are valid }
    Position: Int64;
    Flags: LongInt;
    IsOpen: Boolean;             { Handle is valid: a file that is only read may have none }
    Known, Contents: Pointer;    { the driver's: what keeps Node, and what is kept of the file }
    Entries: PChar;              { of a directory: the entries that were read last, }
    EntryAt, EntryEnd: LongWord; { and the range of those not yet returned }
  end;

  { Bytes of a file that are held }
  THeldPart = record
    Filesystem: PFilesystem;
    Holder: Pointer;
  end;

  { A driver. Its functions return 0 or more, or a negative error. Rights are permission bits
    to which it applies UMASK. }
  TFilesystem = record
    Name: PChar;
    { Dedicate starts a volume on a core. Mount returns a started volume by its name, or nil. }
    Dedicate: function(Name: PChar; Core: LongInt): Boolean;
    Mount: function(Name: PChar): Pointer;
    { The name of a volume, from 0; nil: there are no more. }
    VolumeName: function(Index: LongInt): PChar;
    Open: function(Volume: Pointer; Path: PChar; Flags, Rights: LongInt; var F: TFile): LongInt;
    Close: procedure(var F: TFile);
    Read: function(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
    Write: function(var F: TFile; Offset: Int64; Data: PByte; Count: Int64): Int64;
    { Up to Count bytes where the driver keeps them, which stay there until Release; 0: it does
      not. Both may be nil. }
    Hold: function(var F: TFile; Offset, Count: Int64; out Data: PByte; out Holder: Pointer): Int64;
    Release: procedure(Holder: Pointer);
    Stat: function(Volume: Pointer; Path: PChar; out Inode: TInode): LongInt;
    StatOpen: function(var F: TFile; out Inode: TInode): LongInt;
    Truncate: function(var F: TFile; Size: Int64): LongInt;
    Sync: function(var F: TFile): LongInt;
    MakeDir: function(Volume: Pointer; Path: PChar; Rights: LongInt): LongInt;
    Remove: function(Volume: Pointer; Path: PChar; Directory: Boolean): LongInt;
    Rename: function(Volume: Pointer; OldPath, NewPath: PChar): LongInt;
    Change: function(Volume: Pointer; Path: PChar; const Change: TChange): LongInt;
    OpenDir: function(Volume: Pointer; Path: PChar; var F: TFile): LongInt;
    { Returns 1 and an entry, or 0 at the end. }
    ReadDir: function(var F: TFile; out Entry: TDirEntry): LongInt;
    Next: PFilesystem;
  end;

  { A driver of block devices. Dedicate gives the driver's devices to a core by calls of
    DedicateBlockFile. ReadBlock and WriteBlock return how many blocks they have moved. }
  PBlockDriver = ^TBlockDriver;
  PFileBlock = ^TFileBlock;
  TBlockDriver = record
    Busy: Boolean;               { a thread uses it: see GetDevice }
    WaitOn: PThread;             { that thread }
    Name: array[0..MAX_DEV_NAME - 1] of Char;
    Major: LongInt;
    Dedicate: procedure(Controller: PBlockDriver; CPUID: LongInt);
    WriteBlock: function(FileDesc: PFileBlock; Block, Count: LongInt; Buffer: Pointer): LongInt;
    ReadBlock: function(FileDesc: PFileBlock; Block, Count: LongInt; Buffer: Pointer): LongInt;
    CPUID: LongInt;              { the core that it was dedicated to; -1 before }
    Next: PBlockDriver;
  end;

  { One of its devices }
  TFileBlock = record
    BlockDriver: PBlockDriver;
    Minor: LongInt;
    Next: PFileBlock;
  end;

  { A file that an inode driver has open }
  PFileRegular = ^TFileRegular;
  TFileRegular = record
    FilePos: LongInt;
    Opaque: QWord;               { the driver's }
    Inode: PInode;
  end;

  TInodeCacheSlot = record
    InodesInCache: Int64;
    InodeBuffer: PInode;         { those in use, and those that were }
    FreeInodesCache: PInode;     { records to reuse }
  end;

  { A driver that knows inodes. ReadSuper reads the superblock of Spb^.BlockDevice, sets InodeROOT
    (by GetInode), and returns Spb, or nil: it is no such volume. LookupInode and CreateInode
    return an inode that they have from GetInode, or nil. ReadInode fills in what belongs to
    Ino^.Ino. OpenFile, CloseFile and RemoveInode return less than 0 if they fail; ReadFile and
    WriteFile the bytes they have moved from FilePos on. What a driver cannot do is nil. }
  PFileSystemDriver = ^TFileSystemDriver;
  TFileSystemDriver = record
    Name: array[0..MAX_DEV_NAME - 1] of Char;
    OpenFile: function(FileDesc: PFileRegular; Flags: LongInt): LongInt;
    CloseFile: function(FileDesc: PFileRegular): LongInt;
    ReadFile: function(FileDesc: PFileRegular; Count: LongInt; Buffer: Pointer): LongInt;
    WriteFile: function(FileDesc: PFileRegular; Count: LongInt; Buffer: Pointer): LongInt;
    ReadInode: procedure(Ino: PInode);
    WriteInode: procedure(Ino: PInode);
    CreateInode: function(Ino: PInode; Name: PChar): PInode;
    CreateInodeDir: function(Ino: PInode; Name: PChar): PInode;
    RemoveInode: function(Ino: PInode; Name: PChar): LongInt;
    LookupInode: function(Ino: PInode; Name: PChar): PInode;
    ReadSuper: function(Spb: PSuperBlock): PSuperBlock;
    Next: PFileSystemDriver;
  end;

  { A mounted volume of one }
  TSuperBlock = record
    BlockDevice: PFileBlock;
    InodeROOT: PInode;
    Dirty: Boolean;
    Flags: LongInt;
    BlockSize: LongInt;
    SbInfo: Pointer;             { the driver's }
    FileSystemDriver: PFileSystemDriver;
    InodeCache: TInodeCacheSlot;
  end;

  { What a core has of these, in a cache line of its own }
  PStorage = ^TPerCPUStorage;
  TPerCPUStorage = record
    BlockFiles: PFileBlock;      { devices }
    FileSystemMounted: PSuperBlock;
    Pad: array[1..CACHELINE_LEN - 2] of QWord;
  end;

implementation

end.
