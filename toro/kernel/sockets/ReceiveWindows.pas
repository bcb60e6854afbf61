{ Memory for the receive buffers (windows) of sockets. A window is a promise to the peer, so its
  memory must be there when the peer makes use of it. All windows together get half of the
  heap, and each quarter of that is for windows a quarter as large as those before. One that is
  too small for its stream grows, as long as less than an eighth of that is taken. }
unit ReceiveWindows;

{$mode objfpc}

interface

const
  WINDOW_FIRST = 262144;
  WINDOW_MOST = 1048576;

{ A window's size in bytes; 0: there is no memory for another. }
function TakeWindow: LongWord;

{ Makes a window twice as large, if there is memory for that. }
procedure GrowWindow(var Window: LongWord);

{ Returns a window, unless it is 0, and sets it to 0. }
procedure ReturnWindow(var Window: LongWord);

{ The size of the chunks of a window's queue (see ByteQueues). }
function ChunkOf(Window: LongWord): LongWord;

implementation

uses ByteQueues, Memory;

const
  PARTS = 4;

var
  All: PtrUInt;   { memory for windows, in bytes; 0: not known yet }
  Taken: PtrUInt; { of it }

function ChunkOf(Window: LongWord): LongWord;
begin
  Result := Window div PARTS;
  if Result > CHUNK_MOST then
    Result := CHUNK_MOST;
end;

{ What a full queue takes at most: two of its chunks may be partly used, and each has a header. }
function CostOf(Window: LongWord): PtrUInt;
begin
  Result := Window + 2 * (Window div PARTS) + 1024;
end;

procedure GrowWindow(var Window: LongWord);
var
  More: PtrUInt;
begin
  More := CostOf(2 * Window) - CostOf(Window);
  if (2 * Window > WINDOW_MOST) or (Taken + More > All div (2 * PARTS)) then
    Exit;
  Inc(Taken, More);
  Window := 2 * Window;
end;

function TakeWindow: LongWord;
begin
  if All = 0 then
    All := HeapStatistics.Total div 2;
  Result := WINDOW_FIRST shr (2 * (PARTS * Taken div All));
  if Taken + CostOf(Result) > All then
    Exit(0);
  Inc(Taken, CostOf(Result));
end;

procedure ReturnWindow(var Window: LongWord);
begin
  if Window > 0 then
    Dec(Taken, CostOf(Window));
  Window := 0;
end;

end.
