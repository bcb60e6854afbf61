{ Files through sockets. }
unit SendFile;

{$mode objfpc}

interface

uses Filesystem, Network;

{ Sends HeadSize bytes of Head, if any, and then Count bytes of a file from Offset through a socket
  that blocks. What is kept of the file is not copied. Returns the bytes of the file that were sent:
  less than Count if it ends before, or cannot be read any more, or the peer takes no more; -1 if
  nothing was sent because it cannot be read (SysFileError). Changes the file's position. }
function SysSocketSendFile(Socket: PSocket; FileHandle: THandle; Offset, Count: Int64; Head: PChar = nil;
  HeadSize: LongInt = 0): Int64;

implementation

uses Memory;

const
  PART_SIZE = 262144; { bytes at a time }
  AT_ONCE = 4000;     { a head and a file that are no longer go into one packet }

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

{ Sends Head and Data. Returns the bytes of Data. }
function SendBoth(Socket: PSocket; Head: PChar; HeadSize: LongInt; Data: PByte; Count: Int64): Int64;
var
  Both: array[0..AT_ONCE - 1] of Char;
begin
  if HeadSize + Count <= AT_ONCE then
  begin
    Move(Head^, PChar(@Both)^, HeadSize);
    Move(Data^, PChar(@Both)[HeadSize], Count);
    Result := SysSocketSend(Socket, @Both, HeadSize + Count, 0) - HeadSize;
    if Result < 0 then
      Result := 0;
  end
  else if SysSocketSend(Socket, Head, HeadSize, 0) = HeadSize then
    Result := SysSocketSend(Socket, PChar(Data), Count, 0)
  else
    Result := 0;
end;

function SysSocketSendFile(Socket: PSocket; FileHandle: THandle; Offset, Count: Int64; Head: PChar;
  HeadSize: LongInt): Int64;
var
  Part, Sent: Int64;
  Data, Buffer: PByte;
  Held: THeldPart;
  IsHeld, IsFirst: Boolean;
begin
  Result := 0;
  Buffer := nil;
  IsFirst := True;
  repeat
    Part := Count - Result;
    if Part > PART_SIZE then
      Part := PART_SIZE;
    Sent := HoldFile(FileHandle, Offset + Result, Part, Data, Held);
    IsHeld := Sent > 0;
    if Sent = 0 then
    begin
      Sent := ReadPart(FileHandle, Offset + Result, Part, Buffer);
      Data := Buffer;
    end;
    if Sent < 0 then
    begin
      if IsFirst then
        Result := -1;
      Break;
    end;
    IsFirst := False;
    Part := Sent;
    Sent := SendBoth(Socket, Head, HeadSize, Data, Part);
    if IsHeld then
      ReleaseFile(Held);
    HeadSize := 0;
    Inc(Result, Sent);
  until (Result = Count) or (Sent < Part) or (Part = 0);
  ToroFreeMem(Buffer);
end;

end.
