{ Packets of virtio-vsock (virtio 1.2, section 5.10.6), and the interface of its driver. }
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

  { Flags of OP_SHUTDOWN: the sender receives no more, or sends no more. }
  SHUTDOWN_RECEIVE = 1;
  SHUTDOWN_SEND = 2;
  SHUTDOWN_BOTH = 3;

  MAX_PAYLOAD = 65536;
  MAX_HEAD = 4000;

type
  PVSockHeader = ^TVSockHeader;
  TVSockHeader = packed record
    SrcCid, DstCid: QWord;
    SrcPort, DstPort: LongWord;
    Length: LongWord;   { bytes of data that follow }
    Kind, Op: Word;     { TYPE_*, OP_* }
    Flags: LongWord;
    BufAlloc: LongWord; { the sender's receive buffer: see the primer in StreamSockets }
    FwdCnt: LongWord;   { how many bytes the sender has read from it }
  end;

  { Data that the device reads where they are. }
  PTransfer = ^TTransfer;
  TTransfer = record
    Packets: LongInt;   { that the device has not returned yet }
    Thread: TThreadID;  { woken when there are none left; 0: Finished is called then }
    Finished: procedure(Transfer: PTransfer); { with NetworkLock held; must not yield }
  end;

  { What sockets need of a driver. All routines are called with NetworkLock held. }
  PNetworkDriver = ^TNetworkDriver;
  TNetworkDriver = record
    Name: PChar;
    { Starts the device on this core. False: there is none. }
    Start: function: Boolean;
    { CID of this machine. }
    Cid: QWord;
    { Sends a packet without data; queues it if the device has no room. }
    SendControl: procedure(const Header: TVSockHeader);
    { Sends Header.Length bytes: first HeadSize ones of Head, of MAX_HEAD at most, and then those at
      Data. The head and few bytes are copied; others must stay unchanged until Transfer.Packets is
      0. False: the device has no room. }
    SendData: function(const Header: TVSockHeader; Head: Pointer; HeadSize: LongWord; Data: Pointer;
      var Transfer: TTransfer): Boolean;
    { Makes Room, and the threads of transfers, be woken when the device returns packets. True:
      there is room already. }
    WantRoom: function: Boolean;
    Room: TWaitQueue;
    { Nothing has come for long: sets GivenUp if the device has failed. nil: it cannot. }
    LookAfter: procedure;
    GivenUp: Boolean; { the device has failed; nothing is sent or received any more }
    { Notifies the device of the packets. }
    Flush: procedure;
    Next: PNetworkDriver;
  end;

implementation

end.
