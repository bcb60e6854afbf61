{ FUSE messages, protocol 7.31 (Linux: include/uapi/linux/fuse.h), as far as VirtIOFS uses them.

  A primer. The client (this kernel) sends requests, the server (virtiofsd) replies. Files have
  no paths in this protocol: a client starts at ROOT_NODE, and LOOKUP of a name in a directory's
  node returns the node of that file. OPEN of a node returns a handle for READ and WRITE. FORGET
  returns nodes to the server, RELEASE handles.

  A request consists of a header, the operation's arguments, and then zero-terminated names or
  data; a reply of a header, results, and data. }
unit Fuse;

{$mode objfpc}

interface

const
  FUSE_MAJOR = 7;
  FUSE_MINOR = 31;
  ROOT_NODE = 1;

  OP_LOOKUP = 1;
  OP_GETATTR = 3;
  OP_SETATTR = 4;
  OP_READLINK = 5;
  OP_MKDIR = 9;
  OP_UNLINK = 10;
  OP_RMDIR = 11;
  OP_RENAME = 12;
  OP_OPEN = 14;
  OP_READ = 15;
  OP_WRITE = 16;
  OP_RELEASE = 18;
  OP_FSYNC = 20;
  OP_INIT = 26;
  OP_OPENDIR = 27;
  OP_READDIR = 28;
  OP_RELEASEDIR = 29;
  OP_CREATE = 35;
  OP_BATCH_FORGET = 42;
  OP_READDIRPLUS = 44;

  { Flags of INIT }
  INIT_ASYNC_READ = 1 shl 0;    { several READs of a file at a time }
  INIT_BIG_WRITES = 1 shl 5;    { WRITEs of more than a page }
  INIT_READDIRPLUS = 1 shl 13;  { READDIRPLUS }
  INIT_PARALLEL_DIROPS = 1 shl 18;
  INIT_MAX_PAGES = 1 shl 22;    { the reply has MaxPages }

  FORGET_BATCH = 64;            { nodes of one BATCH_FORGET, at most }

  GETATTR_HANDLE = 1;           { flag of GETATTR: Handle is valid }

  { What SETATTR sets: bits of Valid }
  SETATTR_MODE = 1 shl 0;
  SETATTR_SIZE = 1 shl 3;
  SETATTR_ATIME = 1 shl 4;
  SETATTR_MTIME = 1 shl 5;
  SETATTR_HANDLE = 1 shl 6;

  { File types in Mode }
  MODE_KIND = &170000;
  MODE_DIRECTORY = &040000;
  MODE_REGULAR = &100000;
  MODE_LINK = &120000;

type
  TFuseRequestHeader = packed record
    Length, Opcode: LongWord;
    Unique, Node: QWord;
    Uid, Gid, Pid, Padding: LongWord;
  end;

  TFuseReplyHeader = packed record
    Length: LongWord;
    Error: LongInt;             { 0, or a negative errno }
    Unique: QWord;
  end;

  TFuseInit = packed record
    Major, Minor, MaxReadahead, Flags: LongWord;
  end;

  TFuseInitReply = packed record
    Major, Minor, MaxReadahead, Flags: LongWord;
    MaxBackground, CongestionThreshold: Word;
    MaxWrite, TimeGranularity: LongWord;
    MaxPages, MapAlignment: Word;
    Flags2: LongWord;
    Unused: array[0..6] of LongWord;
  end;

  TFuseAttributes = packed record
    Ino, Size, Blocks, ATime, MTime, CTime: QWord;
    ATimeNs, MTimeNs, CTimeNs, Mode, Links, Uid, Gid, Device, BlockSize, Flags: LongWord;
  end;

  { Reply to LOOKUP and MKDIR, and part of the replies to CREATE and READDIRPLUS. The times tell for
    how long the client may rely on the name, and on the attributes. }
  PFuseEntry = ^TFuseEntry;
  TFuseEntry = packed record
    Node, Generation, EntryValid, AttributesValid: QWord;
    EntryValidNs, AttributesValidNs: LongWord;
    Attributes: TFuseAttributes;
  end;

  TFuseAttributesReply = packed record
    Valid: QWord;
    ValidNs, Padding: LongWord;
    Attributes: TFuseAttributes;
  end;

  TFuseGetAttr = packed record
    Flags, Padding: LongWord;
    Handle: QWord;
  end;

  TFuseSetAttr = packed record
    Valid, Padding: LongWord;
    Handle, Size, LockOwner, ATime, MTime, CTime: QWord;
    ATimeNs, MTimeNs, CTimeNs, Mode, Unused, Uid, Gid, Unused2: LongWord;
  end;

  TFuseOpen = packed record
    Flags, OpenFlags: LongWord;
  end;

  TFuseOpenReply = packed record
    Handle: QWord;
    OpenFlags, Padding: LongWord;
  end;

  TFuseCreate = packed record
    Flags, Mode, Umask, OpenFlags: LongWord;
  end;

  TFuseCreateReply = packed record
    Entry: TFuseEntry;
    Open: TFuseOpenReply;
  end;

  TFuseMkDir = packed record
    Mode, Umask: LongWord;
  end;

  TFuseRename = packed record
    NewDirectory: QWord;
  end;

  { For READ, READDIR, READDIRPLUS and WRITE }
  TFuseTransfer = packed record
    Handle, Offset: QWord;
    Size, Flags: LongWord;
    LockOwner: QWord;
    OpenFlags, Padding: LongWord;
  end;

  TFuseWriteReply = packed record
    Size, Padding: LongWord;
  end;

  TFuseRelease = packed record
    Handle: QWord;
    OpenFlags, ReleaseFlags: LongWord;
    LockOwner: QWord;
  end;

  TFuseSync = packed record
    Handle: QWord;
    Flags, Padding: LongWord;
  end;

  TFuseForget = packed record
    Count, Padding: LongWord;
  end;

  TFuseForgetOne = packed record
    Node, Lookups: QWord;
  end;

  { A message BATCH_FORGET, which has no reply }
  PFuseForgets = ^TFuseForgets;
  TFuseForgets = packed record
    Header: TFuseRequestHeader;
    Batch: TFuseForget;
    Nodes: array[0..FORGET_BATCH - 1] of TFuseForgetOne;
  end;

  { Followed by the name, and zeroes up to a multiple of 8. READDIRPLUS puts a TFuseEntry before each,
    whose node is 0 if it was not looked up. }
  PFuseDirent = ^TFuseDirent;
  TFuseDirent = packed record
    Ino, Offset: QWord;         { where READDIR continues after this entry }
    NameLength, Kind: LongWord; { bits 12 to 15 of a mode }
  end;

implementation

end.
