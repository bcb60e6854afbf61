{ Files through sockets. }
unit SendFile;

{$mode objfpc}

interface

uses Filesystem, Network;

{ Sends HeadSize bytes of Head, of MAX_HEAD (4000) at most, and then Count bytes of a file from Offset
  through a socket that blocks. What is kept of the file is not copied, and the device may read it
  after the return. Returns the bytes of the file that were sent: less than Count if it ends before,
  or cannot be read any more, or the peer takes no more; -1 if nothing was sent because it cannot be
  read (SysFileError). Changes the file's position. }
function SysSocketSendFile(Socket: PSocket; FileHandle: THandle; Offset, Count: Int64; Head: PChar = nil;
  HeadSize: LongInt = 0): Int64;

implementation

uses Memory, SocketSending, VSockPackets;

const
  PART_SIZE = 262144; { bytes at a time }

type
  { What is held of a file while the device reads it }
  PSending = ^TSending;
  TSending = record
    Transfer: TTransfer; { first: Release gets its address }
    Held: THeldPart;
  end;

{ Reads a part into Buffer, which is made if need be. Returns how many bytes, or -1. }
function ReadPart(FileHandle: THandle; Offset, Count: Int64; var Buffer: PByte): Int64;
begin
  if Count = 0 then
    Exit(0);
  if Buffer = nil then
    Buffer := ToroGetMem(PART_SIZE);
  if (Buffer = nil) or (SysSeekFile(FileHandle, Offset, SeekSet) < 0) then
    Exit(-1);
  Result := SysReadFile(FileHandle, Count, Buffer);
end;

procedure Release(Transfer: PTransfer);
begin
  ReleaseFile(PSending(Transfer)^.Held);
  ToroFreeMem(Transfer);
end;

{ Sends a head and what is held of a file, which is released once the device has read it. Returns the
  bytes of the file. }
function SendHeld(Socket: PSocket; Head: PChar; HeadSize: LongInt; Data: PByte; Count: Int64; const Held: THeldPart): Int64;
var
  Sending: PSending;
begin
  Sending := ToroGetMem(SizeOf(TSending));
  if Sending <> nil then
  begin
    Sending^.Transfer.Finished := @Release;
    Sending^.Held := Held;
    Result := SendInPlace(Socket, Head, HeadSize, PChar(Data), Count, @Sending^.Transfer);
  end
  else
  begin
    Result := SendHeadAndData(Socket, Head, HeadSize, PChar(Data), Count);
    ReleaseFile(Held);
  end;
end;

function SysSocketSendFile(Socket: PSocket; FileHandle: THandle; Offset, Count: Int64; Head: PChar;
  HeadSize: LongInt): Int64;
var
  Part, Kept, Sent: Int64;
  Data, Buffer: PByte;
  Held: THeldPart;
  IsFirst: Boolean;
begin
  Result := 0;
  Buffer := nil;
  IsFirst := True;
  repeat
    Part := Count - Result;
    if Part > PART_SIZE then
      Part := PART_SIZE;
    Kept := HoldFile(FileHandle, Offset + Result, Part, Data, Held);
    if Kept <> 0 then
      Part := Kept
    else
      Part := ReadPart(FileHandle, Offset + Result, Part, Buffer);
    if Part < 0 then
    begin
      if IsFirst then
        Result := -1;
      Break;
    end;
    IsFirst := False;
    if Kept > 0 then
      Sent := SendHeld(Socket, Head, HeadSize, Data, Part, Held)
    else
      Sent := SendHeadAndData(Socket, Head, HeadSize, PChar(Buffer), Part);
    HeadSize := 0;
    Inc(Result, Sent);
  until (Result = Count) or (Sent < Part) or (Part = 0);
  ToroFreeMem(Buffer);
end;

end.
