{ Paths of system calls, on the volumes of Filesystem.

  /TAG/… is a path on the share with that tag. Every other absolute path is on the first share,
  and so are relative ones at first: the current directory is /TAG of the first share. A share is
  mounted when it is first used. Without any, nothing is found. }
unit SharePaths;

{$mode objfpc}

interface

uses Filesystem;

const
  PATH_MAX = 4096;

type
  TPath = array[0..PATH_MAX - 1] of Char;

{ All return 0 or more, or a negative error. }

{ The share that a path is on, and the path there. Returns 0 or an error. }
function Find(Source: PChar; out Mount: TMount; out Path: TPath): LongInt;

{ What is at a path }
function StatPath(Path: PChar; out Inode: TInode): LongInt;

{ Change the current directory, and tell it: as Linux does, with the zero at the end. }
function ChangeDir(Path: PChar): PtrInt;
function CurrentDir(Data: PChar; Size: PtrInt): PtrInt;

implementation

uses Arch, Descriptors, Scheduling;

const
  ERANGE = 34;

var
  Lock: LongInt;
  Mounting: LongInt;       { 1: a thread mounts a share }
  Current: TPath;          { the current directory; empty: that of the first share }
  Shares: array[0..15] of TMount;
  Names: array[0..15] of PChar;
  ShareCount: LongInt = -1; { not looked for yet }

{ Several cores may do the same at once, so the count is set last. }
procedure FindShares;
var
  Count: LongInt;
begin
  Count := 0;
  while (Count <= High(Names)) and (VolumeName(Count) <> nil) do
  begin
    Names[Count] := VolumeName(Count);
    Inc(Count);
  end;
  ReadWriteBarrier;
  ShareCount := Count;
end;

{ Mounts a share, unless another thread has done so meanwhile, or is about to. }
function MountShare(I: LongInt; out Mount: TMount): Boolean;
begin
  while InterlockedExchange(Mounting, 1) <> 0 do
    Yield;
  Result := (Shares[I].Volume <> nil) or FindMount(Names[I], Mount);
  AcquireLock(Lock);
  if Shares[I].Volume <> nil then
    Mount := Shares[I]
  else if Result then
    Shares[I] := Mount;
  ReleaseLock(Lock);
  InterlockedExchange(Mounting, 0);
end;

procedure AppendTo(var Path: TPath; var Length: PtrInt; Text: PChar; Count: PtrInt);
begin
  if Length + Count >= PATH_MAX then
    Count := PATH_MAX - 1 - Length;
  Move(Text^, Path[Length], Count);
  Inc(Length, Count);
  Path[Length] := #0;
end;

{ Adds the parts of Source to Path, which is absolute, without `.`, and `..` taken lexically. }
procedure AddParts(var Path: TPath; var Length: PtrInt; Source: PChar);
var
  Part: PtrInt;
begin
  while Source^ <> #0 do
  begin
    while Source^ = '/' do
      Inc(Source);
    Part := 0;
    while not (Source[Part] in [#0, '/']) do
      Inc(Part);
    if (Part = 2) and (Source[0] = '.') and (Source[1] = '.') then
    begin
      while (Length > 0) and (Path[Length - 1] <> '/') do
        Dec(Length);
      if Length > 0 then
        Dec(Length);
      Path[Length] := #0;
    end
    else if (Part > 1) or ((Part = 1) and (Source^ <> '.')) then
    begin
      AppendTo(Path, Length, '/', 1);
      AppendTo(Path, Length, Source, Part);
    end;
    Inc(Source, Part);
  end;
end;

{ The absolute form of a path; empty: the root. Returns 0 or an error. }
function Absolute(Source: PChar; out Path: TPath): LongInt;
var
  Length: PtrInt;
begin
  Length := 0;
  Path[0] := #0;
  if Source^ = #0 then
    Exit(-ENOENT);
  if StrLen(Source) >= PATH_MAX then
    Exit(-ENAMETOOLONG);
  if ShareCount < 0 then
    FindShares;
  if (Source^ <> '/') and (Current[0] <> #0) then
    AddParts(Path, Length, Current)
  else if (Source^ <> '/') and (ShareCount > 0) then
    AddParts(Path, Length, Names[0]);
  AddParts(Path, Length, Source);
  if Length >= PATH_MAX - 1 then
    Exit(-ENAMETOOLONG);
  Result := 0;
end;

{ Whether an absolute path begins with a share's tag. }
function BeginsWith(const Path: TPath; Tag: PChar): Boolean;
var
  Length: PtrInt;
begin
  Length := StrLen(Tag);
  Result := (Path[0] = '/') and StrCmp(@Path[1], Tag, Length) and (Path[Length + 1] in [#0, '/']);
end;

function Find(Source: PChar; out Mount: TMount; out Path: TPath): LongInt;
var
  I: LongInt;
  Skip: PtrInt;
begin
  Result := Absolute(Source, Path);
  if Result < 0 then
    Exit;
  if ShareCount = 0 then
    Exit(-ENOENT);
  I := ShareCount - 1;
  while (I >= 0) and not BeginsWith(Path, Names[I]) do
    Dec(I);
  Skip := 0;
  if I >= 0 then
    Skip := StrLen(Names[I]) + 1
  else
    I := 0;
  if Skip > 0 then
    Move(Path[Skip], Path[0], StrLen(@Path[Skip]) + 1);
  if Path[0] = #0 then
    Path := '/';
  AcquireLock(Lock);
  Mount := Shares[I];
  ReleaseLock(Lock);
  if Mount.Volume <> nil then
    Exit;
  if not MountShare(I, Mount) then
    Exit(-EIO);
end;

function StatPath(Path: PChar; out Inode: TInode): LongInt;
var
  Mount: TMount;
  There: TPath;
begin
  Result := Find(Path, Mount, There);
  if Result = 0 then
    Result := Mount.Filesystem^.Stat(Mount.Volume, There, Inode);
end;

function ChangeDir(Path: PChar): PtrInt;
var
  Inode: TInode;
  There: TPath;
begin
  Result := StatPath(Path, Inode);
  if Result < 0 then
    Exit;
  if Inode.Mode <> INODE_DIR then
    Exit(-ENOTDIR);
  Result := Absolute(Path, There);
  if There[0] = #0 then
    There := '/';
  AcquireLock(Lock);
  Current := There;
  ReleaseLock(Lock);
end;

function CurrentDir(Data: PChar; Size: PtrInt): PtrInt;
var
  Path: TPath;
begin
  Result := Absolute('.', Path);
  if Path[0] = #0 then
    Path := '/';
  Result := StrLen(Path) + 1;
  if Result > Size then
    Exit(-ERANGE);
  Move(Path, Data^, Result);
end;

end.
