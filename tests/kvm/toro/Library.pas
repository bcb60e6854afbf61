{ Does with FPC's library what the first argument names. }
program Library_;

{$mode objfpc}{$H+}
{$M 4194304,0}

uses
  {$ifdef UNIX}cthreads,{$endif} Dos, SysUtils, Classes, SyncObjs, DateUtils;

procedure Arguments;
var
  I: LongInt;
begin
  for I := 0 to ParamCount do
    WriteLn(I, ' <', ParamStr(I), '>');
  WriteLn(GetEnvironmentVariable('NAME'), ' <', GetEnvironmentVariable('OTHER'), '>');
end;

procedure Time;
var
  Year, Month, Day, WeekDay: Word;
  Start: QWord;
begin
  WriteLn(DateTimeToUnix(Now, False));
  GetDate(Year, Month, Day, WeekDay);
  WriteLn(EncodeDate(Year, Month, Day) = Date);
  Start := GetTickCount64;
  SysUtils.Sleep(20);
  WriteLn(GetTickCount64 - Start >= 20);
end;

procedure Lines;
var
  Line: string;
begin
  while not Eof do
  begin
    ReadLn(Line);
    WriteLn('<', Line, '>');
  end;
  WriteLn('end');
end;

procedure Names;
var
  Found: TSearchRec;
  List: TStringList;
begin
  List := TStringList.Create;
  if FindFirst('*', faAnyFile, Found) = 0 then
    repeat
      List.Add(Found.Name + ' ' + BoolToStr(Found.Attr and faDirectory <> 0, 'directory', IntToStr(Found.Size)));
    until FindNext(Found) <> 0;
  FindClose(Found);
  List.Sort;
  Write(List.Text);
  List.Free;
end;

procedure Files;
var
  List: TStringList;
  Stream: TFileStream;
  T: Text;
  F: file of LongInt;
  Number: LongInt;
  Line: string;
begin
  WriteLn(GetCurrentDir);
  List := TStringList.Create;
  List.Add('one');
  List.SaveToFile('list');
  List.Clear;
  List.LoadFromFile('/first/list');
  Write(List.Text);
  Assign(T, 'list');
  Append(T);
  WriteLn(T, 'two');
  Close(T);
  Reset(T);
  while not Eof(T) do
  begin
    ReadLn(T, Line);
    WriteLn(Line);
  end;
  Close(T);
  Assign(F, '/second/numbers');
  Rewrite(F);
  for Number := 1 to 1000 do
    Write(F, Number);
  Seek(F, 500);
  Read(F, Number);
  WriteLn(Number, ' ', FileSize(F), ' ', FilePos(F));
  Close(F);
  Stream := TFileStream.Create('huge', fmCreate);
  Stream.Size := Int64(5) shl 30;
  Stream.Seek(-1, soEnd);
  Stream.WriteByte(7);
  WriteLn(Stream.Position);
  Stream.Free;
  WriteLn(ForceDirectories('a/b/c'), DirectoryExists('a/b'), FileExists('a'), FileExists('list'));
  WriteLn(RenameFile('list', 'a/list'), SysUtils.DeleteFile('huge'), RemoveDir('a'), RemoveDir('a/b/c'));
  FileSetDate('a/list', DateTimeToFileDate(EncodeDate(2020, 2, 29)));
  WriteLn(DateToISO8601(FileDateToDateTime(FileAge('a/list'))));
  SetCurrentDir('a');
  WriteLn(GetCurrentDir, ' ', ExpandFileName('../x'));
  Names;
end;

procedure Missing;
var
  T: Text;

  procedure Told(const What: string; Result_: Word);
  begin
    WriteLn(What, ' ', Result_);
  end;

begin
  {$I-}
  Assign(T, 'nothing');
  Reset(T);
  Told('Reset', IOResult);
  Erase(T);
  Told('Erase', IOResult);
  Rename(T, 'other');
  Told('Rename', IOResult);
  Assign(T, 'no/where');
  Rewrite(T);
  Told('Rewrite', IOResult);
  {$I+}
  try
    TFileStream.Create('no/where', fmCreate).Free;
  except
    on Error: EFCreateError do
      WriteLn(Error.ClassName);
  end;
  try
    TFileStream.Create('nothing', fmOpenRead).Free;
  except
    on Error: EFOpenError do
      WriteLn(Error.ClassName);
  end;
  WriteLn(FileExists('nothing'), DirectoryExists('/first'));
end;

type
  TCounter = class(TThread)
    procedure Say;
    procedure Ended(Sender: TObject);
    procedure Execute; override;
  end;

var
  Section: TCriticalSection;
  Last: TEvent;
  Sum, Over, Ends: LongInt;

procedure TCounter.Say;
begin
  WriteLn('synchronized in the main thread: ', GetCurrentThreadId = MainThreadID);
end;

procedure TCounter.Ended(Sender: TObject);
begin
  Inc(Ends);
end;

procedure TCounter.Execute;
var
  I: LongInt;
begin
  for I := 1 to 500 do
  begin
    Section.Enter;
    Inc(Sum);
    Section.Leave;
    if I mod 100 = 0 then
      SysUtils.Sleep(1);
  end;
  if InterlockedIncrement(Over) = 4 then
    Synchronize(@Say);
  ReturnValue := 7;
  Last.SetEvent;
end;

procedure Threads;
var
  Counters: array[1..4] of TCounter;
  I, Results: LongInt;
begin
  Section := TCriticalSection.Create;
  Last := TEvent.Create(nil, False, False, '');
  WriteLn(TThread.ProcessorCount, ' ', Last.WaitFor(5) = wrTimeout);
  for I := 1 to 4 do
  begin
    Counters[I] := TCounter.Create(True);
    Counters[I].OnTerminate := @Counters[I].Ended;
    Counters[I].Start;
  end;
  Results := 0;
  for I := 1 to 4 do
    Results := 10 * Results + Counters[I].WaitFor;
  WriteLn(Results, ' ', Sum, ' ', Ends, ' ', Last.WaitFor(0) = wrSignaled);
  for I := 1 to 4 do
    Counters[I].Free;
end;

var
  Below: array[0..65535] of Byte;

procedure Large;
var
  Room: array[0..3999999] of Byte;
begin
  FillChar(Room, SizeOf(Room), 1);
  WriteLn(Room[2000000], ' ', StackLength >= 4194304);
end;

{ Its frame is larger than the stack. }
procedure TooLarge;
var
  Room: array[0..4999999] of Byte;
  I: LongInt;
begin
  Room[0] := 1;
  for I := 0 to High(Below) do
    if Below[I] <> 0 then
      WriteLn('overwritten');
  WriteLn(Room[0]);
end;

begin
  case ParamStr(1) of
    'arguments': Arguments;
    'time': Time;
    'lines': Lines;
    'files': Files;
    'missing': Missing;
    'threads': Threads;
    'large': Large;
    'too-large': TooLarge;
  end;
end.
