{ Requests of HTTP/1.1 (RFC 9112). Their bodies are not read. }
unit HttpRequests;

{$mode delphi}

interface

uses Network;

const
  REQUEST_MAX = 8192; { bytes of a request's head }
  CRLF = #13#10;

type
  { A time since 1970 in seconds, and as HTTP writes it; the text is empty where there is none yet }
  TStamp = record
    Second: Int64;
    Text: String;
  end;

  PRequest = ^TRequest;
  TRequest = record
    Socket: PSocket;
    Text: array[0..REQUEST_MAX] of Char; { what has been received }
    Count: LongInt;
    Size: LongInt;   { bytes of the request that is answered, which is at the beginning }
    Headers: PChar;  { in Text: behind the request line }
    Path: PChar;     { in Text: decoded }
    Target: String;  { path and query as they were sent; RawSize is the path's }
    RawSize: LongInt;
    Fault: String[40]; { the status of the reply to what is no request; else empty }
    IsGet, IsHead: Boolean;
    IsOld: Boolean;  { HTTP/1.0: the connection is closed, unless both say otherwise }
    KeepAlive: Boolean;
    Now, Modified: TStamp; { the last ones that were written }
  end;

{ Receives until there is a whole request, and parses it. False: the client has closed the connection,
  or has not begun, or not ended, a request for Timeout milliseconds. }
function ReceiveRequest(var Request: TRequest; Timeout: LongInt): Boolean;

{ Makes room for the next request, whose beginning may have been received. }
procedure DropRequest(var Request: TRequest);

{ The value of a header, whose name is in lower case, or those of several, joined by commas. }
function HeaderOf(const Request: TRequest; const Name: ShortString; const Missing: String = ''): String;

{ Whether a text is a decimal number. Value: High(Int64) for a larger one. }
function IsNumber(const Text: String; out Value: Int64): Boolean;

implementation

uses Arch, SysUtils;

const
  BAD = '400 Bad Request';
  NAME_CHARS = ['!', '#'..'''', '*', '+', '-', '.', '0'..'9', 'A'..'Z', '^'..'z', '|', '~']; { RFC 9110, section 5.6.2 }

{ The end of the request, behind its empty line; 0: it is incomplete. From: what was looked at. (Lines
  must end by CRLF; a client that does not know is told at once.) }
function EndOf(const Request: TRequest; From: LongInt): LongInt;
var
  I: LongInt;
begin
  if From < 4 then
    From := 4;
  for I := From to Request.Count do
    if (Request.Text[I - 1] = #10) and
       ((Request.Text[I - 2] = #10) or (PLongWord(@Request.Text[I - 4])^ = $0A0D0A0D)) then
      Exit(I);
  Result := 0;
end;

function HexDigit(C: Char): LongInt;
begin
  case C of
    '0'..'9': Result := Ord(C) - Ord('0');
    'A'..'F': Result := Ord(C) - Ord('A') + 10;
    'a'..'f': Result := Ord(C) - Ord('a') + 10;
  else
    Result := -1;
  end;
end;

{ Decodes %XX in a path, up to Last. False: no path, or a zero, which would end the name of a file. }
function DecodePath(Path, Last: PChar): Boolean;
var
  Target: PChar;
begin
  Result := Path^ = '/';
  Target := Path;
  while Path < Last do
  begin
    Target^ := Path^;
    if Path^ = '%' then
    begin
      Target^ := #0;
      if (HexDigit(Path[1]) >= 0) and (HexDigit(Path[2]) >= 0) then
        Target^ := Char(16 * HexDigit(Path[1]) + HexDigit(Path[2]));
      Inc(Path, 2);
    end;
    Result := Result and (Path^ > ' ') and (Target^ <> #0);
    Inc(Path);
    Inc(Target);
  end;
  Target^ := #0;
end;

function StartsWith(Text: PChar; const Word: ShortString): Boolean;
begin
  Result := CompareByte(Text^, Word[1], Length(Word)) = 0;
end;

{ Parses the request line, METHOD TARGET HTTP/1.x. False: it is none. }
function ParseLine(var Request: TRequest): Boolean;
var
  Line, Stop, Query: PChar;
begin
  Line := @Request.Text;
  if StartsWith(Line, CRLF) then { clients may have sent one too many before }
    Inc(Line, 2);
  Stop := Line;
  while not (Stop^ in [#0, #10, #13]) do
    Inc(Stop);
  Request.Headers := Stop;
  Request.IsGet := StartsWith(Line, 'GET ');
  Request.IsHead := StartsWith(Line, 'HEAD ');
  if not StartsWith(Stop, CRLF) or (Stop - Line <= 9) or not StartsWith(Stop - 9, ' HTTP/1.') or
     not (Stop[-1] in ['0'..'9']) then
    Exit(False);
  Request.IsOld := Stop[-1] = '0';
  Stop := Stop - 9;
  while (Line < Stop) and (Line^ <> ' ') do
    Inc(Line);
  Inc(Line);
  if StartsWith(Line, 'http://') then { as to a proxy }
  begin
    Inc(Line, 7);
    while (Line < Stop) and not (Line^ in ['/', '?', '#']) do
      Inc(Line);
    if Line^ <> '/' then
      Dec(Line);
    Line^ := '/';
  end;
  while (Line[0] = '/') and (Line[1] = '/') do
    Inc(Line); { else Location could name another host }
  Query := Line;
  while (Query < Stop) and not (Query^ in ['?', '#']) do
    Inc(Query);
  SetString(Request.Target, Line, Stop - Line);
  Request.RawSize := Query - Line;
  Request.Path := Line;
  Result := (Line < Stop) and DecodePath(Line, Query);
end;

{ Whether all headers are lines of a name, a colon behind it, and a value. What others take for the
  end of a line could hide a header from us. }
function HasValidHeaders(const Request: TRequest): Boolean;
var
  Line, At: PChar;
begin
  Line := Request.Headers + 2;
  while not StartsWith(Line, CRLF) do
  begin
    At := Line;
    while At^ in NAME_CHARS do
      Inc(At);
    if (At = Line) or (At^ <> ':') then
      Exit(False);
    while not (At^ in [#0, #10, #13]) do
      Inc(At);
    if not StartsWith(At, CRLF) then
      Exit(False);
    Line := At + 2;
  end;
  Result := True;
end;

{ What is wrong with a request. HasBody: a body follows, which would be taken for the next request. }
function FaultOf(var Request: TRequest; out HasBody: Boolean): ShortString;
var
  Host: String;
  Size: Int64;
begin
  HasBody := True;
  Request.Headers := @Request.Text[Request.Count];
  if (Request.Size = 0) and (IndexByte(Request.Text, Request.Count, 10) < 0) then
    Exit('414 URI Too Long');
  if Request.Size = 0 then
    Exit('431 Request Header Fields Too Large');
  if not ParseLine(Request) or not HasValidHeaders(Request) then
    Exit(BAD);
  Host := HeaderOf(Request, 'host');
  if not Request.IsOld and ((Host = '') or (Pos(',', Host) > 0)) then
    Exit(BAD);
  if not IsNumber(HeaderOf(Request, 'content-length', '0'), Size) then
    Exit(BAD);
  HasBody := (Size > 0) or (HeaderOf(Request, 'transfer-encoding', 'none') <> 'none');
  Result := '';
end;

function ReceiveRequest(var Request: TRequest; Timeout: LongInt): Boolean;
var
  Seen: LongInt;
  Deadline: QWord;
  HasBody: Boolean;
  Connection: String;
begin
  Deadline := read_rdtsc + TicksOf(Timeout);
  Request.Size := EndOf(Request, 0);
  while (Request.Size = 0) and (Request.Count < REQUEST_MAX) do
  begin
    if not SysSocketSelect(Request.Socket, Timeout) then
      Exit(False);
    Seen := Request.Count;
    if Seen = 0 then
      Deadline := read_rdtsc + TicksOf(Timeout)
    else if read_rdtsc > Deadline then
      Exit(False);
    Inc(Request.Count, SysSocketRecv(Request.Socket, @Request.Text[Seen], REQUEST_MAX - Seen, 0));
    if Request.Count = Seen then
      Exit(False);
    Request.Size := EndOf(Request, Seen);
  end;
  Request.Text[Request.Count] := #0;
  Request.Fault := FaultOf(Request, HasBody);
  Connection := LowerCase(HeaderOf(Request, 'connection'));
  Request.KeepAlive := (Request.Fault = '') and not HasBody and (Pos('close', Connection) = 0) and
    (not Request.IsOld or (Pos('keep-alive', Connection) > 0));
  Result := True;
end;

procedure DropRequest(var Request: TRequest);
begin
  Dec(Request.Count, Request.Size);
  Move(Request.Text[Request.Size], Request.Text, Request.Count);
end;

function HeaderOf(const Request: TRequest; const Name: ShortString; const Missing: String): String;
var
  Line, Stop: PChar;
  Value: String;
  IsFirst: Boolean;

  function IsName: Boolean;
  var
    I: LongInt;
  begin
    for I := 1 to Length(Name) do
      if LowerCase(Line[I - 1]) <> Name[I] then
        Exit(False);
    Result := Line[Length(Name)] = ':';
  end;

begin
  Result := Missing;
  IsFirst := True;
  Line := Request.Headers;
  while StartsWith(Line, CRLF) and (Line[2] <> #13) do
  begin
    Inc(Line, 2);
    Stop := Line;
    while not (Stop^ in [#0, #13]) do
      Inc(Stop);
    if IsName then
    begin
      Inc(Line, Length(Name) + 1);
      while Line^ in [' ', #9] do
        Inc(Line);
      while (Stop > Line) and (Stop[-1] in [' ', #9]) do
        Dec(Stop);
      SetString(Value, Line, Stop - Line);
      if IsFirst then
        Result := Value
      else
        Result := Result + ', ' + Value;
      IsFirst := False;
    end;
    Line := Stop;
  end;
end;

function IsNumber(const Text: String; out Value: Int64): Boolean;
var
  I: LongInt;
begin
  Result := Text <> '';
  for I := 1 to Length(Text) do
    Result := Result and (Text[I] in ['0'..'9']);
  if Result and not TryStrToInt64(Text, Value) then
    Value := High(Int64);
end;

end.
