{ The final page tables (Intel SDM volume 3, section 4.5): an identity map of the largest pages
  that fit. New tables are taken one page after another from where the first one is. }
unit LoaderPaging;

{$mode objfpc}
{$asmmode intel}

interface

const
  PAGE = 4096;
  PRESENT = 1;        { the bit of an entry }

var
  { Address of the next table. }
  NextTable: QWord;

{ Starts the map with an empty root table at Start, a multiple of the page size. }
procedure StartPaging(Start: QWord);

{ Maps whole pages to themselves with Rights (bits of a page-table entry), or unmaps them if
  Rights lack PRESENT. A large page that is mapped already is split where only a part of it
  changes. }
procedure MapPages(Start, Stop, Rights: QWord);

implementation

const
  TABLE = 7;          { present, writable, user: the last level decides }
  LARGE = $80;
  ADDRESS = $000FFFFFFFFFF000;
  ENTRIES = 512;
  TOP_SPAN = QWord(1) shl 39;
  GIGABYTE = QWord(1) shl 30;

var
  RootTable: PQWord;
  GigabytePages: Boolean;

function HasGigabytePages: Boolean; assembler; nostackframe;
asm
  push rbx
  mov eax, $80000001
  cpuid
  bt edx, 26
  setc al
  pop rbx
end;

function NewTable: PQWord;
var
  I: LongInt;
begin
  Result := PQWord(NextTable);
  Inc(NextTable, PAGE);
  for I := 0 to ENTRIES - 1 do
    Result[I] := 0;
end;

procedure StartPaging(Start: QWord);
begin
  NextTable := Start;
  GigabytePages := HasGigabytePages;
  RootTable := NewTable;
end;

{ The table that an entry points to. A large page, or nothing, becomes a table that maps the
  same. }
function TableOf(var Entry: QWord; Span: QWord): PQWord;
var
  I: LongInt;
  Old, Flags: QWord;
begin
  Old := Entry;
  if (Old and PRESENT <> 0) and (Old and LARGE = 0) then
    Exit(PQWord(Old and ADDRESS));
  Result := NewTable;
  Entry := PtrUInt(Result) or TABLE;
  if Old and PRESENT = 0 then
    Exit;
  Span := Span div ENTRIES;
  Flags := Old and not QWord(ADDRESS);
  if Span = PAGE then
    Flags := Flags and not QWord(LARGE);
  for I := 0 to ENTRIES - 1 do
    Result[I] := (Old and ADDRESS + QWord(I) * Span) or Flags;
end;

{ Maps pages through a table whose entries cover Span bytes each, the first of them from Base. }
procedure MapIn(Table: PQWord; Base, Span, Start, Stop, Rights: QWord);
var
  I, Low, Part: QWord;
  Leaf: Boolean;
begin
  Leaf := (Span < GIGABYTE) or ((Span = GIGABYTE) and GigabytePages);
  while Start < Stop do
  begin
    I := (Start - Base) div Span;
    Low := Base + I * Span;
    Part := Low + Span;
    if Part > Stop then
      Part := Stop;
    if Leaf and (Start = Low) and (Part = Low + Span) and
       ((Span = PAGE) or (Table[I] and (PRESENT or LARGE) <> PRESENT)) then
    begin
      if Rights and PRESENT = 0 then
        Table[I] := 0
      else if Span = PAGE then
        Table[I] := Low or Rights
      else
        Table[I] := Low or Rights or LARGE;
    end
    else
      MapIn(TableOf(Table[I], Span), Low, Span div ENTRIES, Start, Part, Rights);
    Start := Part;
  end;
end;

procedure MapPages(Start, Stop, Rights: QWord);
begin
  MapIn(RootTable, 0, TOP_SPAN, Start, Stop, Rights);
end;

end.
