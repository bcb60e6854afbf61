{ Does with files what the lines of its input say, and answers each by a line:

    stat PATH         size, or `error N`
    read PATH         the first line of what is read from the file, opened for it
    open PATH         opens it, for
    again             the first line of it, from its beginning
    write PATH TEXT   makes the file of this line, or replaces it
    append PATH TEXT  writes this behind the file
    remove PATH
    list PATH         how many files the directory has, and their bytes
    hot PATH COUNT    reads the file so often }
program Reader;

{$mode objfpc}{$H+}

uses
  Kernel, Process, Memory, Arch, Filesystem, Console, VirtIO, VirtIOFS, SysUtils;

var
  Handle: THandle;

function Error: String;
begin
  Result := 'error ' + IntToStr(SysFileError);
end;

function ReadFrom(F: THandle): String;
var
  Data: array[0..255] of Char;
  Count: Int64;
begin
  if (F = 0) or (SysSeekFile(F, 0, SeekSet) < 0) then
    Exit(Error);
  Count := SysReadFile(F, SizeOf(Data), @Data);
  if Count < 0 then
    Exit(Error);
  SetString(Result, PChar(@Data), Count);
  Result := Copy(Result, 1, Pos(#10, Result + #10) - 1);
end;

function ReadPath(const Path: String): String;
var
  F: THandle;
begin
  F := SysOpenFile(PChar(Path), O_RDONLY);
  Result := ReadFrom(F);
  if F <> 0 then
    SysCloseFile(F);
end;

function Stat(const Path: String): String;
var
  Inode: TInode;
begin
  if SysStatFile(PChar(Path), @Inode) = 0 then
    Exit(Error);
  Result := IntToStr(Inode.Size);
end;

function List(const Path: String): String;
var
  Directory: THandle;
  Entry: TDirEntry;
  Inode: TInode;
  Count, Bytes: Int64;
begin
  Count := 0;
  Bytes := 0;
  Directory := SysOpenDir(PChar(Path));
  while SysReadDir(Directory, Entry) do
    if SysStatFile(PChar(Path + '/' + Entry.Name), @Inode) <> 0 then
    begin
      Inc(Count);
      Inc(Bytes, Inode.Size);
    end;
  SysCloseFile(Directory);
  Result := IntToStr(Count) + ' ' + IntToStr(Bytes);
end;

procedure Write(const Path, Text: String; Flags: LongInt);
var
  F: THandle;
begin
  F := SysOpenFile(PChar(Path), Flags or O_WRONLY);
  SysWriteFile(F, Length(Text), PChar(Text));
  SysCloseFile(F);
end;

function Execute(const Line: AnsiString): String;
var
  Words: array of AnsiString;
  I: LongInt;
begin
  Words := Line.Split([' ']);
  Result := 'ok';
  case Words[0] of
    'stat': Result := Stat(Words[1]);
    'read': Result := ReadPath(Words[1]);
    'open': Handle := SysOpenFile(PChar(Words[1]), O_RDONLY);
    'again': Result := ReadFrom(Handle);
    'write': Write(Words[1], Words[2] + #10, O_CREAT or O_TRUNC);
    'append': Write(Words[1], Words[2], O_APPEND);
    'remove': SysRemoveFile(PChar(Words[1]));
    'list': Result := List(Words[1]);
    'hot':
      for I := 1 to StrToInt(Words[2]) do
        Result := ReadPath(Words[1]);
  end;
end;

var
  Line: String;
begin
  DedicateBlockDriver('FS', 0);
  SysMount('virtiofs', 'FS', 0);
  while True do
  begin
    ReadLn(Line);
    if Line = '' then
      Break;
    WriteLn(Execute(Line));
  end;
end.
