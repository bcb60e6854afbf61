{ Messages between MPI ranks, which are cores.

  Each rank has a mailbox. Senders push messages on its inbox without a lock; the owner moves
  them to a queue when it looks for one. A small message is copied. A large one is not: all
  ranks share an address space, so the receiver reads it in place while the sender waits. }
unit MpiMessages;

{$mode objfpc}

interface

uses Arch, CoreThreads;

const
  ANY = -1; { matches every source or tag }

type
  PMessage = ^TMessage;
  TMessage = record
    Next: PMessage;
    Data: Pointer;
    Bytes: PtrUInt;
    Source, Tag, Context: LongInt;
    Small: Boolean;
    Done: LongInt;     { for large messages: set when it has been read }
    Sender: TThreadID; { the thread that waits for Done }
  end;

{ Sends Bytes at Data to an existing rank. Data may be changed afterwards. }
procedure SendMessage(Destination, Tag, Context: LongInt; Data: Pointer; Bytes: PtrUInt);

{ Waits for the first message with this context, source and tag (or ANY). It is valid until
  FinishMessage. }
function ReceiveMessage(Source, Tag, Context: LongInt): PMessage;
procedure FinishMessage(Message: PMessage);

{ Waits until all ranks have called this equally often. }
procedure WaitForAll;

implementation

uses Memory, Scheduling, ThreadRequests, WaitQueues;

const
  SMALL_MESSAGE = 4096; { bytes }

type
  TMailbox = record
    Inbox: PMessage;        { newest first; written by all cores }
    Waiting: TWaitQueue;
    Pushes: LongInt;        { number of pushes, by which a waiter notices one }
    First, Last: PMessage;  { in order of arrival; used by the owner only }
    { For WaitForAll: }
    Barriers: LongWord;     { number of barriers that this rank has entered }
    Arrived: array[0..7] of LongWord; { signals received, by round }
    Line: array[0..7] of QWord;
  end;
  PMailbox = ^TMailbox;

  { What a receiver waits for: a push after Seen. }
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
  { The message is on this stack, so the thread must wait even if it is killed. }
  YieldWhile(@IsUnread, @Message);
  while IsUnread(@Message) do
    Block(0);
  Checkpoint;
end;

{ Moves the inbox to the end of the queue, in order of arrival. }
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

{ Takes the first matching message from the queue; nil: none. }
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
  { The sender may free the message as soon as Done is set. }
  Sender := Message^.Sender;
  InterlockedExchange(Message^.Done, 1);
  WakeThread(Sender);
end;

{ ---- Barrier ----

  The dissemination algorithm: in round K each rank signals the rank 2^K behind it, modulo their
  number, and waits for the signal of the rank 2^K before it. After log2 N rounds each rank has
  heard, directly or not, of all others. }

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
