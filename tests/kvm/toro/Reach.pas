{ Memory that nobody has touched, by every kind of access: KVM knows none of it
  yet. The heap's own bookkeeping is at the ends of RAM only. }
program Reach;

{$mode objfpc}
{$asmmode intel}

uses
  Checks;

const
  GIB = QWord(1) shl 30;

{ A fresh place: two GiB from the last one. }
function Fresh: Pointer;
const
  Next: QWord = 5 * GIB;
begin
  Result := Pointer(Next + 4096);
  Next := Next + 2 * GIB;
end;

procedure StoreSSE(P: Pointer); assembler; nostackframe;
asm
  pcmpeqd xmm0, xmm0
  movups [rdi], xmm0
end;

procedure AddSSE(P: Pointer); assembler; nostackframe;
asm
  pcmpeqd xmm0, xmm0
  paddd xmm0, [rdi]
  movaps [rdi], xmm0
end;

procedure StoreX87(P: Pointer); assembler; nostackframe;
asm
  fld1
  fstp qword ptr [rdi]
end;

function CompareExchange(P: Pointer): QWord; assembler; nostackframe;
asm
  xor eax, eax
  mov ecx, 77
  lock cmpxchg [rdi], rcx
  mov rax, [rdi]
end;

procedure Fill(P: Pointer; Count: QWord); assembler; nostackframe;
asm
  mov rcx, rsi
  mov rax, $0101010101010101
  rep stosq
end;

procedure Copy(P, From: Pointer; Count: QWord); assembler; nostackframe;
asm
  mov rcx, rdx
  rep movsq
end;

{ A call with the stack there. }
function OnStack(P: Pointer): QWord; assembler; nostackframe;
asm
  mov rdx, rsp
  lea rsp, [rdi + 1024]
  mov eax, 123
  push rax
  xor eax, eax
  pop rax
  mov rsp, rdx
end;

var
  P, Q: PQWord;
begin
  P := Fresh;
  Check(P^ = 0, 'fresh memory reads zero');
  P := Fresh;
  P^ := 5;
  Check(P^ = 5, 'a store');
  P := Fresh;
  PByte(P)[7] := 9;
  Check(P^ = QWord(9) shl 56, 'a byte');
  P := Pointer(PtrUInt(Fresh) - 4);
  P^ := High(QWord);
  Check(P^ = High(QWord), 'a store across two pages');
  P := Fresh;
  Inc(P^, 3);
  Check(P^ = 3, 'read, modify, write');
  P := Fresh;
  Check(CompareExchange(P) = 77, 'lock cmpxchg');
  P := Fresh;
  Fill(P, 100000);
  Check((P[0] = $0101010101010101) and (P[99999] = P[0]) and (P[100000] = 0), 'rep stosq');
  Q := Fresh;
  Copy(Q, P, 1000);
  Check((Q[0] = P[0]) and (Q[999] = P[0]) and (Q[1000] = 0), 'rep movsq');
  P := Fresh;
  Check(OnStack(P) = 123, 'the stack');
  P := Fresh;
  StoreSSE(P);
  Check((P[0] = High(QWord)) and (P[1] = High(QWord)), 'an SSE store');
  P := Fresh;
  StoreX87(P);
  Check(PDouble(P)^ = 1.0, 'an x87 store');
  P := Fresh;
  AddSSE(P);
  Check(P[0] = High(QWord), 'an SSE operand');
  P := Fresh;
  FillChar(P^, 1 shl 20, 7);
  Check(PByte(P)[(1 shl 20) - 1] = 7, 'FillChar');
end.
