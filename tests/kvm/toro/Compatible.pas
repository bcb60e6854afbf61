{ What programs written for other Toro kernels rely on: values of routines, and which registers
  stay. It is compiled as they are, without a mode, in that of FPC's `-MObjfpc -Sgic`. }
program Compatible;

uses
  Checks, Kernel, Process, Memory, Debug, Arch, Filesystem, Network, Console, BaseUnix, Unix, SysUtils;

{$asmmode intel}

var
  Ran: array[0..1] of LongInt = (-1, -1);

function OnCore(Parameter: Pointer): PtrInt;
begin
  Ran[PtrUInt(Parameter)] := GetCoreId;
  Result := 0;
end;

procedure TestThreads;
var
  ID: TThreadID;
  Before, After: array[0..6] of QWord;
begin
  BeginThread(nil, 4096, @OnCore, Pointer(0), DWord(-1), ID);
  BeginThread(nil, 4096, @OnCore, Pointer(1), CPU_COUNT - 1, ID);
  while (Ran[0] < 0) or (Ran[1] < 0) do
    SysThreadSwitch;
  Check((Ran[0] = 0) and (Ran[1] = CPU_COUNT - 1), 'core -1 is this one');
  asm
    push rbx
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    lea rax, Before
    mov rbx, 101
    mov rsi, 102
    mov rdi, 103
    mov r12, 104
    mov r13, 105
    mov r14, 106
    mov r15, 107
    mov [rax], rbx
    mov [rax + 8], rsi
    mov [rax + 16], rdi
    mov [rax + 24], r12
    mov [rax + 32], r13
    mov [rax + 40], r14
    mov [rax + 48], r15
    call SysThreadSwitch
    call SysThreadSwitch
    lea rax, After
    mov [rax], rbx
    mov [rax + 8], rsi
    mov [rax + 16], rdi
    mov [rax + 24], r12
    mov [rax + 32], r13
    mov [rax + 40], r14
    mov [rax + 48], r15
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
  end ['rax', 'rcx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11'];
  Check(CompareByte(Before, After, SizeOf(Before)) = 0, 'registers stay in a switch');
end;

var
  Here, There: Pointer;
  Coroutine: array[0..1023] of Pointer;
  Visits: LongInt;

procedure RunCoroutine;
begin
  while True do
  begin
    Inc(Visits);
    SwitchStack(@There, @Here);
  end;
end;

procedure TestStacks;
var
  Kept, I: LongInt;
begin
  { RBP, and where it starts: its stack is aligned as after a call. }
  Coroutine[High(Coroutine) - 2] := nil;
  Coroutine[High(Coroutine) - 1] := @RunCoroutine;
  There := @Coroutine[High(Coroutine) - 2];
  Kept := 5;
  for I := 1 to 3 do
    SwitchStack(@Here, @There);
  Check((Visits = 3) and (Kept = 5) and (There < @Coroutine[High(Coroutine) - 2]), 'another stack');
end;

procedure TestMemory;
var
  P: Pointer;
  Heap: PXHeap;
  Total: LongInt;
begin
  Check(ToroFreeMem(nil) = 1, 'nil cannot be freed');
  Check(ToroFreeMem(ToroGetMem(64)) = 0, 'memory can');
  Check(ToroGetMem(0) <> nil, 'no bytes can be had');
  Check(ToroGetMem(QWord(2) shl 40) = nil, 'too many cannot');
  P := ToroGetMem(100);
  Check((GetPointerSize(P) >= 100) and (IsPrivateHeap(P) = 0), 'a block');
  P := NumaReAllocMem(P, 1000);
  Check((P <> nil) and (GetPointerSize(P) >= 1000) and (NumaFreeMem(P) = 0) and (NumaFreeMem(nil) = 1), 'any core''s');
  Total := XHeapStatsTotal;
  Heap := XHeapAcquire(0);
  P := XHeapAlloc(Heap, 100);
  Check((IsPrivateHeap(P) = 2) and (GetPointerSize(P) >= 100) and (GetPointerSize(P) < 128), 'a piece');
  P := XHeapAlloc(Heap, 100000);
  Check((IsPrivateHeap(P) = 2) and (GetPointerSize(P) >= 100000), 'a large one');
  Check((XHeapStatsCurrent = 1) and (XHeapStatsTotal = Total + 1) and (XHeapStatsCurrentVirtualAllocCount = 2) and
    (XHeapStatsCurrentVirtualAllocSize > 100000), 'what private heaps have');
  XHeapFree(Heap, P);
  XHeapRelease(Heap);
  Check((XHeapStatsCurrent = 0) and (XHeapStatsCurrentVirtualAllocSize = 0) and (XHeapStatsMaxVirtualAllocCount = 2) and
    (XHeapStatsTotalCount = 2) and (XHeapStatsTotalSize >= 100100), 'what they had');
  Check((MemoryPerCpu > 1000000) and (MemoryPerCpu * CPU_COUNT <= AvailableMemory), 'memory of a core');
end;

procedure TestBits;
begin
  Check((find_msb_set(0) = 32) and (find_msb_set(4) = 2) and (find_msb_set(12) = 2) and
    (find_msb_set($80000000) = 31), 'the lowest bit');
end;

procedure TestCores;
var
  I: LongInt;
  Apart: Boolean;
begin
  Apart := True;
  for I := 0 to CPU_COUNT - 1 do
    Apart := Apart and (PtrUInt(@CPU[I]) mod (CACHELINE_LEN * SizeOf(QWord)) = 0) and
      (PtrUInt(@PerCPUVar[I]) mod (CACHELINE_LEN * SizeOf(QWord)) = 0) and (CPU[I].ApicID = I) and
      (PtrUInt(@Storages[I]) mod (CACHELINE_LEN * SizeOf(QWord)) = 0) and (PerCPUVar[I][PERCPUAPICID] = I);
  Check(Apart, 'data of cores are in cache lines of their own');
  Check((GetCPU = @CPU[0]) and (CPU[0].CurrentThread = GetCurrentThread), 'this core');
  SetPerCPUVar(1, 5);
  Check((PerCPUVar[0][1] = 5) and (GetGSOffset(8) = 5), 'a variable of this core');
  CPU[0].LastIrq := 0;
  UpdateLastIrq;
  Check(CPU[0].LastIrq > 0, 'the last interrupt');
end;

procedure TestRegions;
var
  Region: TMemoryRegion;
  ID: LongInt;
begin
  Check((GetMemoryRegion(0, @Region) = SizeOf(Region)) and (Region.Base = 0), 'memory regions begin with 0');
  Check((GetMemoryRegion(-1, @Region) = 0) and (GetMemoryRegion(100, @Region) = 0), 'and end');
  ID := GetNextUsableMemoryRegion(0);
  Check((ID > 0) and (GetMemoryRegion(ID, @Region) <> 0) and (Region.Flag = MEM_AVAILABLE), 'a usable region');
  while GetNextUsableMemoryRegion(ID) > 0 do
    ID := GetNextUsableMemoryRegion(ID);
  Check(GetNextUsableMemoryRegion(ID) = 0, 'the last one');
end;

procedure TestLocks;
var
  Lock: QWord;
begin
  Lock := 7;
  Check((SpinLock(7, 3, Lock) = 7) and (Lock = 3), 'a spin lock');
  Check(is_apic_ready and (PDWord(GetApicBaseAddr + $20)^ shr 24 = GetCoreId), 'the local APIC');
  Check(read_ioapic_reg(1) = DWord(-1), 'no IOAPIC');
end;

procedure TestSystem;
var
  Time: TTimeVal;
begin
  Check(fpgeterrno = 0, 'no error');
  errno := ESysENOENT;
  Check(fpgeterrno = 2, 'an error');
  fpGetTimeOfDay(@Time, nil);
  Check(Abs(fpTime - Time.tv_sec) <= 1, 'the time');
end;

procedure TestText;
var
  I: LongInt;
begin
  I := 40;
  I += 2; { C operators }
  WriteConsoleF('%d|%d|%h|%h|%p|%c|%%|\v|\\|\c|', [I, PtrUInt(-1), 5, PtrUInt(-1), PtrUInt(PChar('text')), 65]);
  PrintDecimal(0);
  PutCtoSerial(' ');
  PrintDecimal(PtrUInt(-1));
  FlushUp;
  WriteConsoleF('\t\n', []);
end;

begin
  TestThreads;
  TestStacks;
  TestMemory;
  TestBits;
  TestCores;
  TestRegions;
  TestLocks;
  TestSystem;
  TestText;
  WriteDebug('PASSED %d\n', [7]);
end.
