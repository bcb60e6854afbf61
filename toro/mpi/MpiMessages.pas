{ Messages between the ranks of MPI, which are the cores.

  Each rank has a mailbox. A sender pushes a message there without a lock, and the owner
  moves it to its queue when it looks for one. A small message is a copy; a large one
  stays where it is, and its sender waits until the receiver has read it there: all
  ranks share one address space, so nothing is copied twice. }
unit MpiMessages;

{$mode objfpc}

interface

uses Arch, CoreThreads;

const
  ANY = -1; { source or tag }

type
  PMessage = ^TMessage;
  TMessage = record
    Next: PMessage;
    Data: Pointer;
    Bytes: PtrUInt;
    Source, Tag, Context: LongInt;
    Small: Boolean;
    Done: LongInt;     { of a large one: it has been read }
    Sender: TThreadID; { that waits for it }
  end;

{ Sends Bytes at Data to a rank that there is. Data can be changed afterwards. }
procedure SendMessage(Destination, Tag, Context: LongInt; Data: Pointer; Bytes: PtrUInt);

{ Waits for the first message of a context with this source and tag (or ANY). It can be
  read until FinishMessage. }
function ReceiveMessage(Source, Tag, Context: LongInt): PMessage;
procedure FinishMessage(Message: PMessage);

{ Returns when all ranks have called it as often as this one. }
procedure WaitForAll;

implementation

uses Memory, Scheduling, ThreadRequests, WaitQueues;

const
  SMALL_MESSAGE = 4096; { bytes }

type
  TMailbox = record
    Inbox: PMessage;        { the last one pushed first; any core }
    Waiting: TWaitQueue;
    Pushes: LongInt;        { to the inbox, so that a waiter sees a change }
    First, Last: PMessage;  { in the order of arrival; the owner's }
    { Of WaitForAll: }
    Barriers: LongWord;     { how many this rank has begun }
    Arrived: array[0..7] of LongWord; { signals, by round }
    Line: array[0..7] of QWord;
  end;
  PMailbox = ^TMailbox;

  { What a receiver waits for. }
  TWanted = record
    Box: PMailbox;
    Seen: LongInt;
  end;
  PWanted = ^TWanted;

  TRound = record
    Box: PMailbox;
    Number: LongInt;
    Barrier: LongWord;
  end;
  PRound = ^TRound;

var
  Boxes: array[0..MAX_CPU - 1] of TMailbox;

procedure Push(Box: PMailbox; Message: PMessage);
var
  First: PMessage;
begin
  repeat
    First := Box^.Inbox;
    Message^.Next := First;
  until InterlockedCompareExchange(Pointer(Box^.Inbox), Message, First) = First;
  InterlockedIncrement(Box^.Pushes);
  if Box^.Waiting.First <> nil then
    WakeAll(Box^.Waiting);
end;

procedure SendCopy(Message: PMessage; Destination: LongInt; const Original: TMessage);
begin
  Message^ := Original;
  Message^.Data := Message + 1;
  Message^.Small := True;
  Move(Original.Data^, Message^.Data^, Original.Bytes);
  Push(@Boxes[Destination], Message);
end;

function IsUnread(Data: Pointer): Boolean;
begin
  Result := InterlockedExchangeAdd(PMessage(Data)^.Done, 0) = 0;
end;

procedure SendMessage(Destination, Tag, Context: LongInt; Data: Pointer; Bytes: PtrUInt);
var
  Message: TMessage;
  Copy: PMessage;
begin
  Message := Default(TMessage);
  Message.Data := Data;
  Message.Bytes := Bytes;
  Message.Source := GetCoreId;
  Message.Tag := Tag;
  Message.Context := Context;
  Message.Sender := GetCurrentThread^.ThreadID;
  if Bytes <= SMALL_MESSAGE then
  begin
    Copy := ToroGetMem(SizeOf(TMessage) + Bytes);
    if Copy <> nil then
    begin
      SendCopy(Copy, Destination, Message);
      Exit;
    end;
  end;
  Push(@Boxes[Destination], @Message);
  { The message is on this stack, so even a thread that is killed stays. }
  YieldWhile(@IsUnread, @Message);
  while IsUnread(@Message) do
    Block(0);
  Checkpoint;
end;

{ Moves what has come to the end of the queue. }
procedure TakeInbox(Box: PMailbox);
var
  Message, Next, First, Last: PMessage;
begin
  if Box^.Inbox = nil then
    Exit;
  Message := InterlockedExchange(Pointer(Box^.Inbox), nil);
  Last := Message;
  First := nil;
  while Message <> nil do
  begin
    Next := Message^.Next;
    Message^.Next := First;
    First := Message;
    Message := Next;
  end;
  if Box^.First = nil then
    Box^.First := First
  else
    Box^.Last^.Next := First;
  Box^.Last := Last;
end;

{ Takes the first message that fits out of the queue, or returns nil. }
function Find(Box: PMailbox; Source, Tag, Context: LongInt): PMessage;
var
  Previous: PMessage;
begin
  Previous := nil;
  Result := Box^.First;
  while Result <> nil do
  begin
    if (Result^.Context = Context) and ((Source = ANY) or (Result^.Source = Source)) and
      ((Tag = ANY) or (Result^.Tag = Tag)) then
      Break;
    Previous := Result;
    Result := Result^.Next;
  end;
  if Result = nil then
    Exit;
  if Previous = nil then
    Box^.First := Result^.Next
  else
    Previous^.Next := Result^.Next;
  if Result^.Next = nil then
    Box^.Last := Previous;
end;

function NothingCame(Data: Pointer): Boolean;
begin
  with PWanted(Data)^ do
    Result := Box^.Pushes = Seen;
end;

function ReceiveMessage(Source, Tag, Context: LongInt): PMessage;
var
  Wanted: TWanted;
begin
  Wanted.Box := @Boxes[GetCoreId];
  repeat
    Wanted.Seen := InterlockedExchangeAdd(Wanted.Box^.Pushes, 0);
    TakeInbox(Wanted.Box);
    Result := Find(Wanted.Box, Source, Tag, Context);
    if Result = nil then
      WaitWhile(@NothingCame, @Wanted, Wanted.Box^.Waiting);
  until Result <> nil;
end;

procedure FinishMessage(Message: PMessage);
var
  Sender: TThreadID;
begin
  if Message^.Small then
  begin
    ToroFreeMem(Message);
    Exit;
  end;
  { Once it is done, the message may be gone. }
  Sender := Message^.Sender;
  InterlockedExchange(Message^.Done, 1);
  WakeThread(Sender);
end;

{ ---- Barrier ----

  Dissemination: in round K each rank signals the one 2^K further on and waits for the
  signal from the one 2^K before. After log2 rounds everybody has heard of everybody. }

function NotSignalled(Data: Pointer): Boolean;
begin
  with PRound(Data)^ do
    Result := LongInt(Box^.Arrived[Number] - Barrier) < 0;
end;

procedure WaitForAll;
var
  Round: TRound;
  Partner: PMailbox;
  Distance: LongInt;
begin
  Round.Box := @Boxes[GetCoreId];
  Inc(Round.Box^.Barriers);
  Round.Barrier := Round.Box^.Barriers;
  Round.Number := 0;
  Distance := 1;
  while Distance < CPU_COUNT do
  begin
    Partner := @Boxes[(GetCoreId + Distance) mod CPU_COUNT];
    InterlockedIncrement(LongInt(Partner^.Arrived[Round.Number]));
    if Partner^.Waiting.First <> nil then
      WakeAll(Partner^.Waiting);
    WaitWhile(@NotSignalled, @Round, Round.Box^.Waiting);
    Inc(Round.Number);
    Distance := Distance * 2;
  end;
end;

end.
