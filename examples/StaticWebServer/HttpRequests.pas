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
    RawPath: String; { as it was sent, without a query }
    IsValid, IsGet, IsHead: Boolean;
    IsOld: Boolean;  { HTTP/1.0: the connection is closed, unless both say otherwise }
    KeepAlive: Boolean;
    Now, Modified: TStamp; { the last ones that were written }
  end;

{ Receives until there is a whole request, and parses it. False: the client has closed the connection,
  or has sent nothing for Timeout milliseconds. A request that is too long is not valid. }
function ReceiveRequest(var Request: TRequest; Timeout: LongInt): Boolean;

{ Makes room for the next request, whose beginning may have been received. }
procedure DropRequest(var Request: TRequest);

{ The value of a header, whose name is in lower case; empty: there is none. }
function HeaderOf(const Request: TRequest; const Name: ShortString): String;

implementation

{ The end of the request, behind its empty line; 0: it is incomplete. From: what was looked at. }
function EndOf(const Request: TRequest; From: LongInt): LongInt;
var
  I: LongInt;
begin
  if From < 4 then
    From := 4;
  for I := From to Request.Count do
    if (Request.Text[I - 1] = #10) and (PLongWord(@Request.Text[I - 4])^ = $0A0D0A0D) then
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

{ Decodes %XX in a path, up to Last. False: a zero, which would end the name of a file, or no path. }
function DecodePath(Path, Last: PChar): Boolean;
var
  Target: PChar;
begin
  Result := Path^ = '/';
  Target := Path;
  while Path < Last do
  begin
    Target^ := Path^;
    if (Path^ = '%') and (HexDigit(Path[1]) >= 0) and (HexDigit(Path[2]) >= 0) then
    begin
      Target^ := Char(16 * HexDigit(Path[1]) + HexDigit(Path[2]));
      Inc(Path, 2);
    end;
    Result := Result and (Target^ <> #0);
    Inc(Path);
    Inc(Target);
  end;
  Target^ := #0;
end;

function StartsWith(Text: PChar; const Word: ShortString): Boolean;
begin
  Result := CompareByte(Text^, Word[1], Length(Word)) = 0;
end;

{ Parses the request line, METHOD PATH HTTP/1.x. }
procedure ParseLine(var Request: TRequest);
var
  Line, Stop, Query: PChar;
begin
  Line := @Request.Text;
  Stop := Line;
  while not (Stop^ in [#0, #13]) do
    Inc(Stop);
  Request.Headers := Stop;
  Request.IsGet := StartsWith(Line, 'GET ');
  Request.IsHead := StartsWith(Line, 'HEAD ');
  Request.IsValid := (Stop - Line > 9) and StartsWith(Stop - 9, ' HTTP/1.');
  Request.IsOld := Request.IsValid and (Stop[-1] = '0');
  if not Request.IsValid then
    Exit;
  Stop := Stop - 9;
  while (Line < Stop) and (Line^ <> ' ') do
    Inc(Line);
  Inc(Line);
  Query := Line;
  while (Query < Stop) and not (Query^ in ['?', '#']) do
    Inc(Query);
  while (Line[0] = '/') and (Line[1] = '/') do
    Inc(Line); { else Location could name another host }
  SetString(Request.RawPath, Line, Query - Line);
  Request.Path := Line;
  Request.IsValid := (Line < Stop) and DecodePath(Line, Query);
end;

{ Whether a body follows, which would be taken for the next request. }
function HasBody(const Request: TRequest): Boolean;
var
  Length: String;
begin
  Length := HeaderOf(Request, 'content-length');
  Result := ((Length <> '') and (Length <> '0')) or (HeaderOf(Request, 'transfer-encoding') <> '');
end;

function ReceiveRequest(var Request: TRequest; Timeout: LongInt): Boolean;
var
  Seen: LongInt;
  Connection: String;
begin
  Request.Size := EndOf(Request, 0);
  while (Request.Size = 0) and (Request.Count < REQUEST_MAX) do
  begin
    if not SysSocketSelect(Request.Socket, Timeout) then
      Exit(False);
    Seen := Request.Count;
    Inc(Request.Count, SysSocketRecv(Request.Socket, @Request.Text[Seen], REQUEST_MAX - Seen, 0));
    if Request.Count = Seen then
      Exit(False);
    Request.Size := EndOf(Request, Seen);
  end;
  if Request.Size = 0 then
    Request.Size := REQUEST_MAX;
  Request.Text[Request.Count] := #0;
  ParseLine(Request);
  Request.IsValid := Request.IsValid and (Request.Size < REQUEST_MAX);
  Connection := LowerCase(HeaderOf(Request, 'connection'));
  Request.KeepAlive := Request.IsValid and (Connection <> 'close') and
    (not Request.IsOld or (Connection = 'keep-alive')) and not HasBody(Request);
  Result := True;
end;

procedure DropRequest(var Request: TRequest);
begin
  Dec(Request.Count, Request.Size);
  Move(Request.Text[Request.Size], Request.Text, Request.Count);
end;

function HeaderOf(const Request: TRequest; const Name: ShortString): String;
var
  Line, Stop: PChar;

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
  Result := '';
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
      SetString(Result, Line, Stop - Line);
      Exit;
    end;
    Line := Stop;
  end;
end;

end.
