{ File descriptors: the numbers by which FPC's library knows what is open, and what each of them
  refers to: the console, a file, a socket. Descriptors that were duplicated share one open
  description, as in POSIX. }
unit Descriptors;

{$mode objfpc}

interface

uses SystemCalls;

const
  { Errors of system calls, as on Linux; returned negative }
  ENOENT = 2;
  EBADF = 9;
  EAGAIN = 11;
  EINVAL = 22;
  EMFILE = 24;
  ESPIPE = 29;

  { Flags of a description }
  O_NONBLOCK = $800;

  { What poll waits for }
  POLLIN = 1;
  POLLOUT = 4;
  POLLERR = 8;
  POLLHUP = 16;

type
  PDescription = ^TDescription;

  { What one kind of descriptions does. All results are those of system calls. }
  PKind = ^TKind;
  TKind = record
    Read, Write: function(Description: PDescription; Data: PByte; Count: PtrInt): PtrInt;
    Close: procedure(Description: PDescription);
    { Which of POLL* hold now }
    Ready: function(Description: PDescription): LongInt;
    { Any other call whose first argument is the descriptor }
    Other: function(Description: PDescription; const Call: TCall): PtrInt;
  end;

  TDescription = record
    Kind: PKind;
    Data: Pointer;
    Flags: LongInt;      { O_* }
    References: LongInt; { descriptors, and calls under way }
  end;

{ Opens the lowest free descriptor. Negative: there is none. }
function NewDescriptor(Kind: PKind; Data: Pointer; Flags: LongInt): PtrInt;

{ What a descriptor refers to; nil: nothing. It is kept until it is released, also when the
  descriptor is closed meanwhile. }
function Acquire(Descriptor: PtrInt): PDescription;
procedure Release(Description: PDescription);

function CloseDescriptor(Descriptor: PtrInt): PtrInt;

{ Makes another descriptor for the same description: Wanted, or if At is False the lowest free
  one from Wanted up. }
function Duplicate(Descriptor, Wanted: PtrInt; At: Boolean): PtrInt;

{ Makes descriptors 0, 1 and 2 refer to something of this kind. }
procedure OpenStandard(Kind: PKind);

implementation

uses Arch, Memory;

const
  DESCRIPTORS_MAX = 4096;
  STANDARD = 3;

var
  Lock: LongInt;
  Table: array[0..DESCRIPTORS_MAX - 1] of PDescription;
  Standards: TDescription;

procedure OpenStandard(Kind: PKind);
var
  I: LongInt;
begin
  Standards.Kind := Kind;
  Standards.References := STANDARD + 1; { never freed }
  for I := 0 to STANDARD - 1 do
    Table[I] := @Standards;
end;

function FreeFrom(Lowest: PtrInt): PtrInt;
begin
  Result := Lowest;
  while (Result < DESCRIPTORS_MAX) and (Table[Result] <> nil) do
    Inc(Result);
  if Result >= DESCRIPTORS_MAX then
    Result := -EMFILE;
end;

function NewDescriptor(Kind: PKind; Data: Pointer; Flags: LongInt): PtrInt;
var
  Description: PDescription;
begin
  Description := ToroAllocMem(SizeOf(TDescription));
  if Description = nil then
    Exit(-EMFILE);
  Description^.Kind := Kind;
  Description^.Data := Data;
  Description^.Flags := Flags;
  Description^.References := 1;
  AcquireLock(Lock);
  Result := FreeFrom(0);
  if Result >= 0 then
    Table[Result] := Description;
  ReleaseLock(Lock);
  if Result < 0 then
    ToroFreeMem(Description);
end;

function Acquire(Descriptor: PtrInt): PDescription;
begin
  Result := nil;
  if (Descriptor < 0) or (Descriptor >= DESCRIPTORS_MAX) then
    Exit;
  AcquireLock(Lock);
  Result := Table[Descriptor];
  if Result <> nil then
    Inc(Result^.References);
  ReleaseLock(Lock);
end;

procedure Release(Description: PDescription);
var
  Last: Boolean;
begin
  AcquireLock(Lock);
  Dec(Description^.References);
  Last := Description^.References = 0;
  ReleaseLock(Lock);
  if not Last then
    Exit;
  Description^.Kind^.Close(Description);
  ToroFreeMem(Description);
end;

{ Takes what is in a place of the table, and puts something else there. }
function Exchange(Descriptor: PtrInt; Description: PDescription): PDescription;
begin
  AcquireLock(Lock);
  Result := Table[Descriptor];
  Table[Descriptor] := Description;
  ReleaseLock(Lock);
end;

function CloseDescriptor(Descriptor: PtrInt): PtrInt;
var
  Description: PDescription;
begin
  if (Descriptor < 0) or (Descriptor >= DESCRIPTORS_MAX) then
    Exit(-EBADF);
  Description := Exchange(Descriptor, nil);
  if Description = nil then
    Exit(-EBADF);
  Release(Description);
  Result := 0;
end;

function Duplicate(Descriptor, Wanted: PtrInt; At: Boolean): PtrInt;
var
  Description, Before: PDescription;
begin
  if (Wanted < 0) or (Wanted >= DESCRIPTORS_MAX) then
    Exit(-EBADF);
  Description := Acquire(Descriptor);
  if Description = nil then
    Exit(-EBADF);
  Before := nil;
  if At then
  begin
    Result := Wanted;
    Before := Exchange(Wanted, Description);
  end
  else
  begin
    AcquireLock(Lock);
    Result := FreeFrom(Wanted);
    if Result >= 0 then
      Table[Result] := Description;
    ReleaseLock(Lock);
    if Result < 0 then
      Before := Description;
  end;
  if Before <> nil then
    Release(Before);
end;

end.
