{ Requests of HTTP/1.1 (RFC 9112). Their bodies are not read. }
unit HttpRequests;

{$mode delphi}

interface

uses Network, HttpTexts;

const
  REQUEST_MAX = 8192; { bytes of a request's head }
  CRLF = #13#10;

type
  { The headers that count }
  THeader = (hdHost, hdContentLength, hdTransferEncoding, hdConnection, hdIfMatch, hdIfNoneMatch, hdIfModifiedSince,
    hdIfRange, hdRange);

  { A time since 1970 in seconds, and as HTTP writes it; the text is empty where there is none yet }
  TStamp = record
    Second: Int64;
    Text: String[29];
  end;

  PRequest = ^TRequest;
  TRequest = record
    Socket: PSocket;
    Text: array[0..REQUEST_MAX] of Char; { what has been received }
    Count: LongInt;
    Size: LongInt;   { bytes of the request that is answered, which is at the beginning }
    Target: PChar;   { in Text: path and query as they were sent }
    TargetSize, RawSize: LongInt; { bytes of both, and of the path }
    Path: array[0..REQUEST_MAX + 16] of Char; { decoded, with room for a name }
    Has: set of THeader;
    Headers: array[THeader] of String; { values of those; of several, joined by commas }
    Fault: String[40]; { the status of the reply to what is no request; else empty }
    IsGet, IsHead: Boolean;
    IsOld: Boolean;  { HTTP/1.0: the connection is closed, unless both say otherwise }
    KeepAlive: Boolean;
    Now, Modified: TStamp; { the last ones that were written }
    Reply: TText;
  end;

{ Receives until there is a whole request, and parses it. False: the client has closed the connection,
  or has not begun, or not ended, a request for Timeout milliseconds. }
function ReceiveRequest(var Request: TRequest; Timeout: LongInt): Boolean;

{ Makes room for the next request, whose beginning may have been received. }
procedure DropRequest(var Request: TRequest);

{ Whether a text is the value of a header that is there, or a part of it. }
function HeaderIs(const Request: TRequest; Header: THeader; const Text: ShortString): Boolean;
function HeaderHas(const Request: TRequest; Header: THeader; const Text: ShortString): Boolean;

{ Whether a text is a decimal number. Value: High(Int64) for a larger one. }
function IsNumber(const Text: String; out Value: Int64): Boolean;

implementation

uses Arch, SysUtils;

const
  BAD = '400 Bad Request';
  NAMES: array[THeader] of String[17] = ('host', 'content-length', 'transfer-encoding', 'connection', 'if-match',
    'if-none-match', 'if-modified-since', 'if-range', 'range');
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

{ Decodes %XX in the path From, up to Last. False: no path, or a zero, which would end the name of a file. }
function DecodePath(From, Last, Path: PChar): Boolean;
begin
  Result := From^ = '/';
  while From < Last do
  begin
    Path^ := From^;
    if From^ = '%' then
    begin
      Path^ := #0;
      if (HexDigit(From[1]) >= 0) and (HexDigit(From[2]) >= 0) then
        Path^ := Char(16 * HexDigit(From[1]) + HexDigit(From[2]));
      Inc(From, 2);
    end;
    Result := Result and (From^ > ' ') and (Path^ <> #0);
    Inc(From);
    Inc(Path);
  end;
  Path^ := #0;
end;

function StartsWith(Text: PChar; const Word: ShortString): Boolean;
begin
  Result := CompareByte(Text^, Word[1], Length(Word)) = 0;
end;

{ Parses the request line, METHOD TARGET HTTP/1.x, which ends at Stop. False: it is none. }
function ParseLine(var Request: TRequest; out Stop: PChar): Boolean;
var
  Line, Last, Query: PChar;
begin
  Line := @Request.Text;
  if StartsWith(Line, CRLF) then { clients may have sent one too many before }
    Inc(Line, 2);
  Stop := Line;
  while not (Stop^ in [#0, #10, #13]) do
    Inc(Stop);
  Request.IsGet := StartsWith(Line, 'GET ');
  Request.IsHead := StartsWith(Line, 'HEAD ');
  if not StartsWith(Stop, CRLF) or (Stop - Line <= 9) or not StartsWith(Stop - 9, ' HTTP/1.') or
     not (Stop[-1] in ['0'..'9']) then
    Exit(False);
  Request.IsOld := Stop[-1] = '0';
  Last := Stop - 9;
  while (Line < Last) and (Line^ <> ' ') do
    Inc(Line);
  Inc(Line);
  if StartsWith(Line, 'http://') then { as to a proxy }
  begin
    Inc(Line, 7);
    while (Line < Last) and not (Line^ in ['/', '?', '#']) do
      Inc(Line);
    if Line^ <> '/' then
      Dec(Line);
    Line^ := '/';
  end;
  while (Line[0] = '/') and (Line[1] = '/') do
    Inc(Line); { else Location could name another host }
  Query := Line;
  while (Query < Last) and not (Query^ in ['?', '#']) do
    Inc(Query);
  Request.Target := Line;
  Request.TargetSize := Last - Line;
  Request.RawSize := Query - Line;
  Result := (Line < Last) and DecodePath(Line, Query, @Request.Path);
end;

{ Keeps the value of a header, from At to Stop. }
procedure KeepValue(var Request: TRequest; Header: THeader; At, Stop: PChar);
var
  Value: String;
begin
  while (At < Stop) and (At^ in [' ', #9]) do
    Inc(At);
  while (Stop > At) and (Stop[-1] in [' ', #9]) do
    Dec(Stop);
  SetString(Value, At, Stop - At);
  if Header = hdConnection then
    Value := LowerCase(Value);
  if Header in Request.Has then
    Request.Headers[Header] := Request.Headers[Header] + ', ' + Value
  else
    Request.Headers[Header] := Value;
  Include(Request.Has, Header);
end;

{ The same for a line with a name of Size characters, if that is one of ours. }
procedure KeepHeader(var Request: TRequest; Line: PChar; Size: LongInt; Stop: PChar);
var
  Header: THeader;
  I: LongInt;
begin
  for Header := Low(Header) to High(Header) do
    if Length(NAMES[Header]) = Size then
    begin
      I := 0;
      while (I < Size) and (System.LowerCase(Line[I]) = NAMES[Header][I + 1]) do
        Inc(I);
      if I = Size then
        KeepValue(Request, Header, Line + Size + 1, Stop);
    end;
end;

{ Parses the headers behind the line before. False: they are not all lines of a name, a colon behind it, and a value; what
  others take for the end of a line could hide a header from us. }
function ParseHeaders(var Request: TRequest; Line: PChar): Boolean;
var
  At: PChar;
  Size: LongInt;
begin
  Inc(Line, 2);
  while not StartsWith(Line, CRLF) do
  begin
    At := Line;
    while At^ in NAME_CHARS do
      Inc(At);
    Size := At - Line;
    if (Size = 0) or (At^ <> ':') then
      Exit(False);
    while not (At^ in [#0, #10, #13]) do
      Inc(At);
    if not StartsWith(At, CRLF) then
      Exit(False);
    KeepHeader(Request, Line, Size, At);
    Line := At + 2;
  end;
  Result := True;
end;

procedure ForgetHeaders(var Request: TRequest);
var
  Header: THeader;
begin
  for Header in Request.Has do
    Request.Headers[Header] := '';
  Request.Has := [];
end;

{ What is wrong with a request. HasBody: a body follows, which would be taken for the next request. }
function FaultOf(var Request: TRequest; out HasBody: Boolean): ShortString;
var
  Line: PChar;
  Size: Int64;
begin
  HasBody := True;
  if (Request.Size = 0) and (IndexByte(Request.Text, Request.Count, 10) < 0) then
    Exit('414 URI Too Long');
  if Request.Size = 0 then
    Exit('431 Request Header Fields Too Large');
  if not ParseLine(Request, Line) or not ParseHeaders(Request, Line) then
    Exit(BAD);
  if not Request.IsOld and ((Request.Headers[hdHost] = '') or (Pos(',', Request.Headers[hdHost]) > 0)) then
    Exit(BAD);
  Size := 0;
  if (hdContentLength in Request.Has) and not IsNumber(Request.Headers[hdContentLength], Size) then
    Exit(BAD);
  HasBody := (Size > 0) or (hdTransferEncoding in Request.Has);
  Result := '';
end;

function ReceiveRequest(var Request: TRequest; Timeout: LongInt): Boolean;
var
  Seen: LongInt;
  Deadline: QWord;
  HasBody: Boolean;
begin
  if Request.Count > 0 then { a part of it came with the one before }
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
  ForgetHeaders(Request);
  Request.Fault := FaultOf(Request, HasBody);
  Request.KeepAlive := (Request.Fault = '') and not HasBody and not HeaderHas(Request, hdConnection, 'close') and
    (not Request.IsOld or HeaderHas(Request, hdConnection, 'keep-alive'));
  Result := True;
end;

procedure DropRequest(var Request: TRequest);
begin
  Dec(Request.Count, Request.Size);
  Move(Request.Text[Request.Size], Request.Text, Request.Count);
end;

function HeaderIs(const Request: TRequest; Header: THeader; const Text: ShortString): Boolean;
begin
  Result := (Header in Request.Has) and (Length(Request.Headers[Header]) = Length(Text)) and
    StartsWith(PChar(Request.Headers[Header]), Text);
end;

function HeaderHas(const Request: TRequest; Header: THeader; const Text: ShortString): Boolean;
begin
  Result := (Header in Request.Has) and (Pos(Text, Request.Headers[Header]) > 0);
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
