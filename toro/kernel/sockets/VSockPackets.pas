{ Packets of virtio-vsock (virtio 1.2, section 5.10.6). }
unit VSockPackets;

{$mode objfpc}

interface

uses CoreThreads;

const
  HOST_CID = 2;
  TYPE_STREAM = 1;

  OP_REQUEST = 1;
  OP_RESPONSE = 2;
  OP_RST = 3;
  OP_SHUTDOWN = 4;
  OP_RW = 5;
  OP_CREDIT_UPDATE = 6;
  OP_CREDIT_REQUEST = 7;

  { Flags of OP_SHUTDOWN: the sender takes, or sends, no more. }
  SHUTDOWN_RECEIVE = 1;
  SHUTDOWN_SEND = 2;
  SHUTDOWN_BOTH = 3;

  MAX_PAYLOAD = 65536;

type
  PVSockHeader = ^TVSockHeader;
  TVSockHeader = packed record
    SrcCid, DstCid: QWord;
    SrcPort, DstPort: LongWord;
    Length: LongWord;   { bytes of data that follow }
    Kind, Op: Word;     { TYPE_*, OP_* }
    Flags: LongWord;
    BufAlloc: LongWord; { how many bytes its sender may have been sent and not taken }
    FwdCnt: LongWord;   { how many it has taken so far, modulo 2^32 }
  end;

  { A part of a thread's memory on its way, without a copy. }
  PTransfer = ^TTransfer;
  TTransfer = record
    Packets: LongInt;   { those that the device still has }
    Thread: TThreadID;  { to be woken when there are none }
  end;

  { What sockets need of a device. All is called with NetworkLock. }
  PNetworkDriver = ^TNetworkDriver;
  TNetworkDriver = record
    Name: PChar;
    { Starts it on this core; False when there is no such device. }
    Start: function: Boolean;
    { The machine's own address. }
    Cid: QWord;
    { Sends a packet without data, later if there is no room now. }
    SendControl: procedure(const Header: TVSockHeader);
    { Sends Header.Length bytes at Data: copies them if they are few, else they
      stay where they are until Transfer has no packets left. False when there is no room. }
    SendData: function(const Header: TVSockHeader; Data: Pointer; var Transfer: TTransfer): Boolean;
    { Wakes Room when the device gives a packet back, and the threads of transfers. True:
      there is room by now. }
    WantRoom: function: Boolean;
    Room: TWaitQueue;
    { Tells the device what was sent. }
    Flush: procedure;
    Next: PNetworkDriver;
  end;

implementation

end.
