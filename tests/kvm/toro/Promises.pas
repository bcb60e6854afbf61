{ How much memory is promised to the peers of connections. }
program Promises;

{$mode objfpc}

uses Kernel, Memory, Checks, ReceiveWindows;

const
  MOST = 4096;

var
  Windows: array[0..MOST - 1] of LongWord;
  Window, Before: LongWord;
  All: PtrUInt;
  I, Wide: LongInt;

begin
  Window := TakeWindow;
  Check(Window = WINDOW_FIRST, 'the first window');
  for I := 1 to 5 do
    GrowWindow(Window);
  Check(Window = WINDOW_MOST, 'a window grows, up to a bound');
  ReturnWindow(Window);
  Check(Window = 0, 'it is returned');
  Wide := 0;
  for I := 0 to 19 do
  begin
    Windows[I] := TakeWindow;
    GrowWindow(Windows[I]);
    GrowWindow(Windows[I]);
    Inc(Wide, Ord(Windows[I] = WINDOW_MOST));
  end;
  Check((Wide > 1) and (Wide < 20), 'some grow');
  Check(Windows[19] = WINDOW_FIRST, 'and leave enough for others');
  I := 20;
  repeat
    Windows[I] := TakeWindow;
    Inc(I);
  until (Windows[I - 1] = 0) or (I = MOST);
  Check(I < MOST, 'there is no memory for more');
  Before := Windows[0];
  GrowWindow(Windows[0]);
  Check(Windows[0] = Before, 'nor for larger ones');
  All := 0;
  for Window in Windows do
    Inc(All, Window);
  Check(All <= HeapStatistics.Total div 2, 'they are half of the heap at most');
  for I := 0 to MOST - 1 do
    ReturnWindow(Windows[I]);
  Window := TakeWindow;
  GrowWindow(Window);
  Check(Window = 2 * WINDOW_FIRST, 'all has been returned');
end.
