{ A web service with Free Pascal's own library. The same source is compiled for Linux by
  `fpc WebService.pas` and for Toro by `pyvmm build WebService.pas`.

    GET  /date?day=2024-02-29   facts about a day (DateUtils)
    POST /sha1                  the SHA-1 of the body, computed by a pool of threads
    GET  /count?limit=20000     how many primes there are below the limit, by the pool
    GET  /files                 the files in the current directory
    GET  /files/NAME            the contents of one
    PUT  /files/NAME            stores one

  Arguments: the port, and `threaded` for a thread per connection. }
program WebService;

{$mode objfpc}{$H+}

uses
  {$ifdef unix}cthreads,{$endif}
  SysUtils, Classes, SyncObjs, DateUtils, httpdefs, httproute, fphttpapp, fpjson, sha1;

const
  WORKERS = 4;

type
  { Something to be computed, and the event that says it is done. }
  TJob = class
    Done: TEvent;
    constructor Create;
    destructor Destroy; override;
    procedure Compute; virtual; abstract;
  end;

  TDigestJob = class(TJob)
    Text, Digest: string;
    procedure Compute; override;
  end;

  TPrimesJob = class(TJob)
    First, Last, Count: Integer;
    procedure Compute; override;
  end;

  TWorker = class(TThread)
    procedure Execute; override;
  end;

var
  Jobs: TThreadList;
  Wake: TEvent;

{ ---- The pool ---- }

constructor TJob.Create;
begin
  Done := TEvent.Create(nil, True, False, '');
end;

destructor TJob.Destroy;
begin
  Done.Free;
  inherited Destroy;
end;

procedure TDigestJob.Compute;
begin
  Digest := SHA1Print(SHA1String(Text));
end;

procedure TPrimesJob.Compute;
var
  Number, Divisor: Integer;
begin
  for Number := First to Last do
  begin
    Divisor := 2;
    while (Divisor * Divisor <= Number) and (Number mod Divisor <> 0) do
      Inc(Divisor);
    if (Number > 1) and (Divisor * Divisor > Number) then
      Inc(Count);
  end;
end;

function NextJob: TJob;
begin
  Result := nil;
  with Jobs.LockList do
    try
      if Count > 0 then
      begin
        Result := TJob(Items[0]);
        Delete(0);
      end;
    finally
      Jobs.UnlockList;
    end;
end;

procedure TWorker.Execute;
var
  Job: TJob;
begin
  while not Terminated do
  begin
    Job := NextJob;
    if Job = nil then
    begin
      Wake.WaitFor(INFINITE);
      Continue;
    end;
    Wake.SetEvent; { there may be more for another worker }
    Job.Compute;
    Job.Done.SetEvent;
  end;
end;

procedure Start(Job: TJob);
begin
  Jobs.Add(Job);
  Wake.SetEvent;
end;

{ ---- Answers ---- }

procedure Answer(Response: TResponse; Json: TJSONObject);
begin
  Response.ContentType := 'application/json';
  Response.Content := Json.AsJSON + LineEnding;
  Json.Free;
end;

procedure Refuse(Response: TResponse; Code: Integer; const Why: string);
begin
  Response.Code := Code;
  Answer(Response, TJSONObject.Create(['error', Why]));
end;

procedure Day(Request: TRequest; Response: TResponse);
var
  When: TDateTime;
begin
  if not TryISOStrToDate(Request.QueryFields.Values['day'], When) then
    Refuse(Response, 400, 'day is not YYYY-MM-DD')
  else
    Answer(Response, TJSONObject.Create(['day', FormatDateTime('yyyy-mm-dd', When), 'week', WeekOf(When),
      'weekday', DayOfTheWeek(When), 'leap', IsInLeapYear(When), 'days', DaysInMonth(When),
      'tomorrow', DateToISO8601(IncDay(When), True)]));
end;

procedure Digest(Request: TRequest; Response: TResponse);
var
  Job: TDigestJob;
begin
  Job := TDigestJob.Create;
  Job.Text := Request.Content;
  Start(Job);
  Job.Done.WaitFor(INFINITE);
  Answer(Response, TJSONObject.Create(['bytes', Length(Job.Text), 'sha1', Job.Digest]));
  Job.Free;
end;

procedure CountPrimes(Request: TRequest; Response: TResponse);
var
  Parts: array[0..WORKERS - 1] of TPrimesJob;
  Limit, I, Count: Integer;
begin
  Limit := StrToIntDef(Request.QueryFields.Values['limit'], 1000);
  for I := 0 to WORKERS - 1 do
  begin
    Parts[I] := TPrimesJob.Create;
    Parts[I].First := Limit * I div WORKERS;
    Parts[I].Last := Limit * (I + 1) div WORKERS - 1;
    Start(Parts[I]);
  end;
  Count := 0;
  for I := 0 to WORKERS - 1 do
  begin
    Parts[I].Done.WaitFor(INFINITE);
    Count := Count + Parts[I].Count;
    Parts[I].Free;
  end;
  Answer(Response, TJSONObject.Create(['limit', Limit, 'primes', Count]));
end;

procedure Files(Request: TRequest; Response: TResponse);
var
  Found: TSearchRec;
  Names: TStringList;
  Listed: TJSONArray;
  Name: string;
begin
  Names := TStringList.Create;
  if FindFirst('*', faAnyFile, Found) = 0 then
    repeat
      if Found.Attr and faDirectory = 0 then
        Names.Add(Found.Name);
    until FindNext(Found) <> 0;
  FindClose(Found);
  Names.Sort;
  Listed := TJSONArray.Create;
  for Name in Names do
    Listed.Add(Name);
  Names.Free;
  Answer(Response, TJSONObject.Create(['files', Listed]));
end;

procedure OneFile(Request: TRequest; Response: TResponse);
var
  Name: string;
  Stream: TFileStream;
begin
  Name := ExtractFileName(Request.RouteParams['name']);
  if Request.Method = 'PUT' then
  begin
    Stream := TFileStream.Create(Name, fmCreate);
    try
      Stream.WriteBuffer(PChar(Request.Content)^, Length(Request.Content));
    finally
      Stream.Free;
    end;
    Answer(Response, TJSONObject.Create(['stored', Name, 'bytes', Length(Request.Content)]));
  end
  else if FileExists(Name) then
  begin
    Response.ContentType := 'application/octet-stream';
    Response.ContentStream := TFileStream.Create(Name, fmOpenRead or fmShareDenyNone);
    Response.FreeContentStream := True;
  end
  else
    Refuse(Response, 404, Name + ' is not there');
end;

var
  I: Integer;
begin
  Jobs := TThreadList.Create;
  Wake := TEvent.Create(nil, False, False, '');
  for I := 1 to WORKERS do
    TWorker.Create(False);
  HTTPRouter.RegisterRoute('/date', @Day);
  HTTPRouter.RegisterRoute('/sha1', @Digest);
  HTTPRouter.RegisterRoute('/count', @CountPrimes);
  HTTPRouter.RegisterRoute('/files', @Files);
  HTTPRouter.RegisterRoute('/files/:name', @OneFile);
  Application.Port := StrToIntDef(ParamStr(1), 8080);
  Application.Threaded := ParamStr(2) = 'threaded';
  Application.Initialize;
  WriteLn('listening on port ', Application.Port);
  Application.Run;
end.
