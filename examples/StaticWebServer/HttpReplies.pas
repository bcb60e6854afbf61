{ Replies of HTTP/1.1: their heads (RFC 9110), and which part of a file is wanted. }
unit HttpReplies;

{$mode delphi}

interface

uses HttpRequests;

type
  { Which bytes of a file are sent }
  TPart = record
    Offset, Count: Int64;
    IsWhole, IsPossible: Boolean;
  end;

{ What a Range header asks of a file; several ranges, and what is no range, are the whole file. }
function PartOf(const Range: String; Size: Int64): TPart;

{ The value of Content-Type for a path. }
function TypeOf(Path: PChar): String;

{ A time as HTTP writes it. Last: the one before, whose text is taken if it is the same. }
function DateOf(var Last: TStamp; Time: Int64): String;

{ Sends a reply without more than a line of text. False: the connection must be closed. }
function Refuse(var Request: TRequest; const Status: String; const Headers: String = ''): Boolean;

{ Sends all of it. }
function Send(var Request: TRequest; Data: PChar; Count: Int64): Boolean;

{ The head of a reply, whose Headers are whole lines. }
function HeadOf(var Request: TRequest; const Status: String; Size: Int64; const Headers: String): String;

implementation

uses Arch, Network, SysUtils;

const
  NS = 1000000000; { in a second }
  DAY = 86400;
  DAYS: array[1..7] of String[3] = ('Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat');
  MONTHS: array[1..12] of String[3] =
    ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec');
  TYPES: array[0..27, 0..1] of String = (
    ('html', 'text/html; charset=utf-8'), ('htm', 'text/html; charset=utf-8'),
    ('txt', 'text/plain; charset=utf-8'), ('md', 'text/plain; charset=utf-8'),
    ('css', 'text/css'), ('csv', 'text/csv'), ('js', 'text/javascript'), ('mjs', 'text/javascript'),
    ('json', 'application/json'), ('xml', 'application/xml'), ('pdf', 'application/pdf'),
    ('wasm', 'application/wasm'), ('zip', 'application/zip'), ('gz', 'application/gzip'),
    ('svg', 'image/svg+xml'), ('png', 'image/png'), ('gif', 'image/gif'), ('jpg', 'image/jpeg'),
    ('jpeg', 'image/jpeg'), ('webp', 'image/webp'), ('avif', 'image/avif'), ('ico', 'image/x-icon'),
    ('woff', 'font/woff'), ('woff2', 'font/woff2'), ('mp3', 'audio/mpeg'), ('ogg', 'audio/ogg'),
    ('mp4', 'video/mp4'), ('webm', 'video/webm'));

function PartOf(const Range: String; Size: Int64): TPart;
var
  Dash: LongInt;
  First, Last: Int64;
  HasFirst, HasLast: Boolean;
begin
  Result.Offset := 0;
  Result.Count := Size;
  Result.IsWhole := True;
  Result.IsPossible := True;
  if LowerCase(Copy(Range, 1, 6)) <> 'bytes=' then
    Exit;
  Dash := Pos('-', Range);
  HasFirst := IsNumber(Copy(Range, 7, Dash - 7), First);
  HasLast := IsNumber(Copy(Range, Dash + 1, Length(Range)), Last);
  if (Dash = 0) or not (HasFirst or (Dash = 7)) or not (HasLast or (Dash = Length(Range))) or
     not (HasFirst or HasLast) or (HasFirst and HasLast and (Last < First)) then
    Exit;
  Result.IsWhole := False;
  if not HasFirst then
  begin
    First := Size - Last;
    if First < 0 then
      First := 0;
  end;
  if not (HasFirst and HasLast) or (Last >= Size) then
    Last := Size - 1;
  Result.Offset := First;
  Result.Count := Last - First + 1;
  Result.IsPossible := Result.Count > 0;
end;

function TypeOf(Path: PChar): String;
var
  Extension: String;
  I: LongInt;
begin
  Result := 'application/octet-stream';
  I := StrLen(Path);
  while (I > 0) and not (Path[I - 1] in ['.', '/']) do
    Dec(I);
  if (I = 0) or (Path[I - 1] = '/') then
    Exit;
  Extension := LowerCase(Path + I);
  for I := Low(TYPES) to High(TYPES) do
    if TYPES[I, 0] = Extension then
      Exit(TYPES[I, 1]);
end;

function MakeDate(Time: Int64): String;
var
  Year, Month, Day_: Word;
  Date: TDateTime;
  Second: LongInt;

  procedure Put(At: LongInt; const Text: ShortString);
  begin
    Move(Text[1], Result[At], Length(Text));
  end;

  procedure PutTwoDigits(At, Number: LongInt);
  begin
    Result[At] := Chr(Ord('0') + Number div 10 mod 10);
    Result[At + 1] := Chr(Ord('0') + Number mod 10);
  end;

begin
  Date := UnixDateDelta + Time div DAY;
  Second := Time mod DAY;
  DecodeDate(Date, Year, Month, Day_);
  Result := 'Thu, 01 Jan 1970 00:00:00 GMT';
  UniqueString(Result);
  Put(1, DAYS[DayOfWeek(Date)]);
  PutTwoDigits(6, Day_);
  Put(9, MONTHS[Month]);
  PutTwoDigits(13, Year div 100);
  PutTwoDigits(15, Year);
  PutTwoDigits(18, Second div 3600);
  PutTwoDigits(21, Second div 60 mod 60);
  PutTwoDigits(24, Second mod 60);
end;

function DateOf(var Last: TStamp; Time: Int64): String;
begin
  if (Last.Text = '') or (Last.Second <> Time) then
  begin
    Last.Second := Time;
    Last.Text := MakeDate(Time);
  end;
  Result := Last.Text;
end;

function Send(var Request: TRequest; Data: PChar; Count: Int64): Boolean;
begin
  Result := SysSocketSend(Request.Socket, Data, Count, 0) = Count;
end;

function HeadOf(var Request: TRequest; const Status: String; Size: Int64; const Headers: String): String;
var
  SizeLine, ConnectionLine: String;
begin
  if Size >= 0 then
    SizeLine := 'Content-Length: ' + IntToStr(Size) + CRLF;
  if not Request.KeepAlive then
    ConnectionLine := 'Connection: close' + CRLF
  else if Request.IsOld then
    ConnectionLine := 'Connection: keep-alive' + CRLF;
  Result := 'HTTP/1.1 ' + Status + CRLF + 'Server: Toro' + CRLF + 'Date: ' + DateOf(Request.Now, UnixTimeNs div NS) + CRLF +
    Headers + SizeLine + ConnectionLine + CRLF;
end;

function Refuse(var Request: TRequest; const Status: String; const Headers: String): Boolean;
var
  Text: String;
begin
  Text := HeadOf(Request, Status, Length(Status) + 1, 'Content-Type: text/plain' + CRLF + Headers);
  if not Request.IsHead then
    Text := Text + Status + #10;
  Result := Send(Request, PChar(Text), Length(Text));
end;

end.
