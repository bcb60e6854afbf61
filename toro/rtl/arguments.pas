{ The program's arguments and environment, from the command line. Blanks separate words; text
  in '…' or "…" is taken as it is. ParamStr has all words, and the environment those that look
  like NAME=VALUE. Words by which a loader describes devices are left out. }
unit arguments;

{$mode objfpc}

interface

implementation

uses BootInfo, Memory, SystemCalls;

const
  DEVICE_WORD: String[20] = 'virtio_mmio.device=';

function IsDevice(Word: PChar): Boolean;
begin
  Result := CompareByte(Word^, DEVICE_WORD[1], Length(DEVICE_WORD)) = 0;
end;

{ The length of the NAME of a word NAME=VALUE; 0: it is no such word. }
function NameLength(Word: PChar): PtrInt;
begin
  Result := 0;
  while Word[Result] in ['A'..'Z', 'a'..'z', '_', '0'..'9'] do
    Inc(Result);
  if (Word[Result] <> '=') or (Word[0] in ['0'..'9']) then
    Result := 0;
end;

{ Copies the word at Source, without quotes, to Target; both are moved behind it. }
procedure CopyWord(var Source, Target: PChar);
var
  Quote: Char;
begin
  Quote := #0;
  while (Source^ <> #0) and ((Source^ <> ' ') or (Quote <> #0)) do
  begin
    if Source^ = Quote then
      Quote := #0
    else if (Quote = #0) and (Source^ in ['''', '"']) then
      Quote := Source^
    else
    begin
      Target^ := Source^;
      Inc(Target);
    end;
    Inc(Source);
  end;
  Target^ := #0;
  Inc(Target);
end;

procedure PartCommandLine;
var
  Copy, Source, Target, Word: PChar;
  Variables: LongInt;
  Size: PtrUInt;
begin
  Size := TheBootInfo^.CommandLineSize;
  Copy := ToroAllocMem(2 * Size + 3 + SizeOf(DEVICE_WORD));
  argv := ToroAllocMem((Size div 2 + 3) * SizeOf(PChar));
  envp := ToroAllocMem((Size div 2 + 2) * SizeOf(PChar));
  if (Copy = nil) or (argv = nil) or (envp = nil) then
    OutOfMemory;
  Move(TheBootInfo^.CommandLine^, Copy^, Size);
  argv[0] := PROGRAM_NAME;
  argc := 1;
  Variables := 0;
  Source := Copy;
  Target := Copy + Size + 1;
  repeat
    while Source^ = ' ' do
      Inc(Source);
    if Source^ = #0 then
      Break;
    Word := Target;
    CopyWord(Source, Target);
    if IsDevice(Word) then
      Continue;
    argv[argc] := Word;
    Inc(argc);
    if NameLength(Word) > 0 then
    begin
      envp[Variables] := Word;
      Inc(Variables);
    end;
  until False;
end;

initialization
  PartCommandLine;
end.
