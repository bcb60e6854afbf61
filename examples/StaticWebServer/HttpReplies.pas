{ Replies of HTTP/1.1: their heads (RFC 9110), and which part of a file is wanted. }
unit HttpReplies;

{$mode delphi}

interface

uses HttpRequests;

const
  NO_SIZE = -1;

type
  { Which bytes of a file are sent }
  TPart = record
    Offset, Count: Int64;
    IsWhole, IsPossible: Boolean;
  end;

function WholeOf(Size: Int64): TPart;

{ What a Range header asks of a file; several ranges, and what is no range, are the whole file. }
function PartOf(const Range: String; Size: Int64): TPart;

{ The value of Content-Range for a part of a file. }
function RangeOf(const Part: TPart; Size: Int64): ShortString;

{ The value of Content-Type for a path. }
function TypeOf(Path: PChar): ShortString;

{ A time as HTTP writes it. Last: the one before, whose text is taken if it is the same. }
function DateOf(var Last: TStamp; Time: Int64): ShortString;

{ The head of a reply: its first lines, others, and the last, with the size of the body if there is one. }
procedure StartHead(var Request: TRequest; const Status: ShortString);
procedure AddHeader(var Request: TRequest; const Name, Value: ShortString);
procedure EndHead(var Request: TRequest; Size: Int64);

{ Sends the reply as it is. False: the connection must be closed. }
function SendReply(var Request: TRequest): Boolean;

{ Sends a reply without more than a line of text, perhaps with one header more. }
function Refuse(var Request: TRequest; const Status: ShortString; const Name: ShortString = '';
  const Value: ShortString = ''): Boolean;

{ The same for the path of a directory, which should end with a slash. }
function Redirect(var Request: TRequest): Boolean;

implementation

uses Arch, Network, SysUtils, HttpTexts;

const
  NS = 1000000000; { in a second }
  DAY = 86400;
  DAYS: array[1..7] of String[3] = ('Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat');
  MONTHS: array[1..12] of String[3] =
    ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec');
  TYPES: array[0..27, 0..1] of String[25] = (
    ('html', 'text/html; charset=utf-8'), ('htm', 'text/html; charset=utf-8'),
    ('txt', 'text/plain; charset=utf-8'), ('md', 'text/plain; charset=utf-8'),
    ('css', 'text/css'), ('csv', 'text/csv'), ('js', 'text/javascript'), ('mjs', 'text/javascript'),
    ('json', 'application/json'), ('xml', 'application/xml'), ('pdf', 'application/pdf'),
    ('wasm', 'application/wasm'), ('zip', 'application/zip'), ('gz', 'application/gzip'),
    ('svg', 'image/svg+xml'), ('png', 'image/png'), ('gif', 'image/gif'), ('jpg', 'image/jpeg'),
    ('jpeg', 'image/jpeg'), ('webp', 'image/webp'), ('avif', 'image/avif'), ('ico', 'image/x-icon'),
    ('woff', 'font/woff'), ('woff2', 'font/woff2'), ('mp3', 'audio/mpeg'), ('ogg', 'audio/ogg'),
    ('mp4', 'video/mp4'), ('webm', 'video/webm'));

function WholeOf(Size: Int64): TPart;
begin
  Result.Offset := 0;
  Result.Count := Size;
  Result.IsWhole := True;
  Result.IsPossible := True;
end;

function PartOf(const Range: String; Size: Int64): TPart;
var
  Dash: LongInt;
  First, Last: Int64;
  HasFirst, HasLast: Boolean;
begin
  Result := WholeOf(Size);
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

function RangeOf(const Part: TPart; Size: Int64): ShortString;
begin
  if Part.IsPossible then
    Result := IntToStr(Part.Offset) + '-' + IntToStr(Part.Offset + Part.Count - 1)
  else
    Result := '*';
  Result := 'bytes ' + Result + '/' + IntToStr(Size);
end;

function TypeOf(Path: PChar): ShortString;
var
  Extension: ShortString;
  I: LongInt;
begin
  Result := 'application/octet-stream';
  I := StrLen(Path);
  while (I > 0) and not (Path[I - 1] in ['.', '/']) do
    Dec(I);
  if (I = 0) or (Path[I - 1] = '/') then
    Exit;
  SetString(Extension, Path + I, StrLen(Path + I));
  Extension := System.LowerCase(Extension);
  for I := Low(TYPES) to High(TYPES) do
    if TYPES[I, 0] = Extension then
      Exit(TYPES[I, 1]);
end;

function MakeDate(Time: Int64): ShortString;
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
  Put(1, DAYS[DayOfWeek(Date)]);
  PutTwoDigits(6, Day_);
  Put(9, MONTHS[Month]);
  PutTwoDigits(13, Year div 100);
  PutTwoDigits(15, Year);
  PutTwoDigits(18, Second div 3600);
  PutTwoDigits(21, Second div 60 mod 60);
  PutTwoDigits(24, Second mod 60);
end;

function DateOf(var Last: TStamp; Time: Int64): ShortString;
begin
  if (Last.Text = '') or (Last.Second <> Time) then
  begin
    Last.Second := Time;
    Last.Text := MakeDate(Time);
  end;
  Result := Last.Text;
end;

procedure StartHead(var Request: TRequest; const Status: ShortString);
begin
  Request.Reply.Count := 0;
  Add(Request.Reply, 'HTTP/1.1 ');
  Add(Request.Reply, Status);
  Add(Request.Reply, CRLF + 'Server: Toro' + CRLF);
  AddHeader(Request, 'Date', DateOf(Request.Now, UnixTimeNs div NS));
end;

procedure AddHeader(var Request: TRequest; const Name, Value: ShortString);
begin
  Add(Request.Reply, Name);
  Add(Request.Reply, ': ');
  Add(Request.Reply, Value);
  Add(Request.Reply, CRLF);
end;

procedure EndHead(var Request: TRequest; Size: Int64);
begin
  if Size <> NO_SIZE then
  begin
    Add(Request.Reply, 'Content-Length: ');
    AddNumber(Request.Reply, Size);
    Add(Request.Reply, CRLF);
  end;
  if not Request.KeepAlive then
    AddHeader(Request, 'Connection', 'close')
  else if Request.IsOld then
    AddHeader(Request, 'Connection', 'keep-alive');
  Add(Request.Reply, CRLF);
end;

function SendReply(var Request: TRequest): Boolean;
begin
  Result := SysSocketSend(Request.Socket, @Request.Reply.Chars, Request.Reply.Count, 0) = Request.Reply.Count;
end;

function EndRefusal(var Request: TRequest; const Status: ShortString): Boolean;
begin
  AddHeader(Request, 'Content-Type', 'text/plain');
  EndHead(Request, Length(Status) + 1);
  if not Request.IsHead then
    Add(Request.Reply, Status + #10);
  Result := SendReply(Request);
end;

function Refuse(var Request: TRequest; const Status: ShortString; const Name, Value: ShortString): Boolean;
begin
  StartHead(Request, Status);
  if Name <> '' then
    AddHeader(Request, Name, Value);
  Result := EndRefusal(Request, Status);
end;

function Redirect(var Request: TRequest): Boolean;
const
  STATUS = '301 Moved Permanently';
begin
  StartHead(Request, STATUS);
  Add(Request.Reply, 'Location: ');
  AddChars(Request.Reply, Request.Target, Request.RawSize);
  Add(Request.Reply, '/');
  AddChars(Request.Reply, Request.Target + Request.RawSize, Request.TargetSize - Request.RawSize);
  Add(Request.Reply, CRLF);
  Result := EndRefusal(Request, STATUS);
end;

end.
