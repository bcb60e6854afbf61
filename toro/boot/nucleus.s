# The nucleus: everything of Toro that runs in ring 0.
#
# Why so little: a hypervisor without hardware support interprets ring 0, some 100
# times slower than ring 3, which always runs natively. So the scheduler, the
# drivers and the application are ring-3 code in one address space, and call each
# other directly. Ring 0 keeps what ring 3 cannot do: set a CPU up, take
# interrupts and exceptions, and halt.
#
#   interrupt   Sets the vector's bit in the core's block and returns. No driver
#               runs here: the scheduler polls these bits, so ring 3 never has to
#               disable interrupts. But some vectors are special: one that is
#               routed to another core is sent on to it, and one that the
#               application has captured (CaptureInt) continues in KernelInterrupt,
#               in ring 3.
#   hlt         Privileged, so in ring 3 it raises #GP, which leads here. The CPU
#               halts unless a vector is pending. None is lost between ring 3's last
#               look at its queues and the halt: interrupts are off while that is
#               checked, and one that comes while HaltCore looks makes it return.
#   ud2         Raises #UD, which is how ring 3 calls the nucleus: not every
#               hypervisor supports int and syscall in ring 3. A magic number in
#               RAX, plus one from 0, selects the call: 0 splits 2 MiB of RAM into
#               4 KiB pages, some of them guard pages; 1 gives the core globals of
#               its own; 2 changes a byte of the code, in a program that contains a
#               debugger; 3 makes a page read-only, or changes how it is cached; 4
#               has KVM tell how long the core was not run.
#   exception   Saves the registers in the core's block and continues in
#               KernelException, in ring 3, on a stack of its own.
#
# Ring 3 runs with IOPL 3 and a clear I/O bitmap: some hypervisors honour only one
# of the two.
#
# A CPU's supervisor page (docs/boot-protocol.md). Its top is the ring-0 stack, so
# the page's address, and with it the core's block, follows from RSP:

        .intel_syntax noprefix

        .set AREA_SIZE, 0x1000
        .set GDT, 0x000                 # 7 descriptors
        .set TSS, 0x040                 # Intel SDM volume 3, section 8.7
        .set IO_BITMAP, TSS + 0x68      # ports 0 to 0xfff
        .set IO_BITMAP_SIZE, 512
        .set POINTER, 0x2c0             # operand of lgdt
        .set CORE, 0x2d0                # address of the core's block
        .set SHARED_ROOT, 0x2d8         # CR3 before OWN_TABLES
        .set OWN_TABLES, 0x2e0          # region with this core's tables; 0: it has none
        .set OWN_FIRST, 0x2e8           # the first 2 MiB that they map otherwise
        .set OWN_COUNT, 0x2f0           # and their number

# A core's block (TCore in Arch.pas), at the top of its ring-3 stack. The
# exception stack is below it, and below that the stack that the core starts on.

        .set CORE_SIZE, 0x240
        .set EXCEPTION_STACK_SIZE, 0x4000
        .set CORE_SELF, 0x00
        .set CORE_INDEX, 0x08
        .set CORE_PENDING, 0x10         # 256 bits
        .set CORE_IN_EXCEPTION, 0x30
        .set CORE_IN_CALL, 0x38         # KernelInterrupt has not yet read CORE_CALL_*
        .set CORE_FRAME, 0x40
        .set CORE_CAPTURED, 0xf8        # 256 bits
        .set CORE_ROUTE, 0x118          # APIC id plus one, for each of ROUTED vectors from 32
        .set ROUTED, 48
        .set CORE_CALL_VECTOR, 0x148
        .set CORE_CALL_RIP, 0x150
        .set CORE_CALL_RFLAGS, 0x158
        .set CORE_CALL_RSP, 0x160
        .set CORE_SPECIAL, 0x168        # 256 bits: vectors that are captured or routed
        .set CORE_STEAL, 0x200          # KVM's steal clock
        .set FRAME_WORDS, 22            # 15 registers, vector, error code, 5 words of the CPU

        .set CALLS, 5                   # numbers of calls by ud2
        .set STACK_SIZE, 0x40000
        .set BOOT_INFO_MARKS, 128

        .set KERNEL_CODE, 0x08
        .set KERNEL_DATA, 0x10
        .set USER_DATA, 0x18 + 3
        .set USER_CODE, 0x20 + 3
        .set TSS_SELECTOR, 0x28
        .set USER_RFLAGS, 0x3202        # IOPL 3, IF

        .set NUCLEUS, 0x100000          # where toro.ld puts it
        .set REGION_SIZE, 0x200000
        # Page-table entries (Intel SDM volume 3, section 4.5).
        .set TABLE, 7                   # present, writable, user
        .set USER, 4
        .set WRITABLE, 2
        .set UNCACHED, 0x10
        .set LARGE, 0x80

        .set CPUID_FSGSBASE, 1          # leaf 7, EBX
        .set CR4_FSGSBASE, 0x10000

        .set LAPIC, 0xfee00000
        .set LAPIC_EOI, LAPIC + 0xb0
        .set LAPIC_SPURIOUS, LAPIC + 0xf0
        .set LAPIC_ICR, LAPIC + 0x300
        .set LAPIC_ICR_HIGH, LAPIC + 0x310
        .set DEBUG_EXIT, 0xf4
        .set SERIAL, 0x3f8
        .set STATUS_EXCEPTION, 120

# ---- ELF note: the direct-boot contract ------------------------------------

        .section .note.Toro, "a", @note
        .balign 4
        .long 2f - 1f, 4f - 3f, 1
1:      .asciz "Toro"
2:      .balign 4
3:      .long 1, 0
        .quad entry64
        .long AREA_SIZE, STACK_SIZE
4:

# ---- Exception and interrupt stubs, at fixed distances for the IDT ---------

        .section .nucleus.text, "ax"
        .globl nucleus, entry64
nucleus:

        .set STUB_EXCEPTION, 10
        .set STUB_INTERRUPT, 8

        .set vector, 0
        .rept 32
        .org vector * STUB_EXCEPTION
        # A zero for those without an error code (Intel SDM volume 3, table 6-1).
        .if (vector < 8) || (vector == 9) || (vector == 15) || (vector == 16) || ((vector > 17) && (vector != 21) && (vector != 29) && (vector != 30))
        push 0
        .endif
        push vector
        jmp exception
        .set vector, vector + 1
        .endr

        .org 32 * STUB_EXCEPTION
        .rept 223
        .balign STUB_INTERRUPT
        push vector - 128               # fits in a byte
        .byte 0xe9                      # jmp rel32: every stub has the same length
        .long interrupt - . - 4
        .set vector, vector + 1
        .endr
        .balign STUB_INTERRUPT
        iretq                           # 255: spurious; takes no EOI

# ---- Start of a CPU --------------------------------------------------------
# RDI boot-info block, RSI index, RSP top of the supervisor page, RDX top of the
# stack; 64-bit mode, interrupts off, identity map.

entry64:
        mov     r8, rdx
        rdtsc
        test    esi, esi
        jnz     1f
        mov     [rdi + BOOT_INFO_MARKS], eax
        mov     [rdi + BOOT_INFO_MARKS + 4], edx
1:      lea     rbp, [rsp - AREA_SIZE]

        mov     rax, gdt[rip]
        mov     [rbp + GDT + KERNEL_CODE], rax
        mov     rax, gdt[rip + 8]
        mov     [rbp + GDT + KERNEL_DATA], rax
        mov     rax, gdt[rip + 16]
        mov     [rbp + GDT + (USER_DATA & ~3)], rax
        mov     rax, gdt[rip + 24]
        mov     [rbp + GDT + (USER_CODE & ~3)], rax
        lea     rax, [rbp + TSS]        # below 4 GiB: bits 63:32 stay zero
        mov     word ptr [rbp + GDT + TSS_SELECTOR], IO_BITMAP + IO_BITMAP_SIZE - TSS
        mov     [rbp + GDT + TSS_SELECTOR + 2], ax
        shr     eax, 16
        mov     [rbp + GDT + TSS_SELECTOR + 4], al
        mov     byte ptr [rbp + GDT + TSS_SELECTOR + 5], 0x89
        mov     [rbp + GDT + TSS_SELECTOR + 7], ah
        mov     [rbp + TSS + 4], rsp    # RSP0
        mov     word ptr [rbp + TSS + 0x66], IO_BITMAP - TSS
        mov     byte ptr [rbp + IO_BITMAP + IO_BITMAP_SIZE], 0xff

        mov     word ptr [rbp + POINTER], TSS_SELECTOR + 16 - 1
        mov     [rbp + POINTER + 2], rbp
        lgdt    [rbp + POINTER]
        lidt    idt_pointer[rip]
        mov     eax, TSS_SELECTOR
        ltr     ax
        mov     eax, USER_DATA
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax

        lea     rbx, [r8 - CORE_SIZE]
        mov     [rbp + CORE], rbx
        mov     [rbx + CORE_SELF], rbx
        mov     [rbx + CORE_INDEX], rsi
        mov     ecx, 0xc0000101         # IA32_GS_BASE
        mov     eax, ebx
        xor     edx, edx
        wrmsr
        mov     eax, LAPIC_SPURIOUS
        mov     dword ptr [rax], 0x1ff  # enabled, spurious vector 255

        lea     rbx, [rbx - EXCEPTION_STACK_SIZE - 8]
        push    USER_DATA
        push    rbx                     # aligned as after a call
        push    USER_RFLAGS
        push    USER_CODE
        push    offset KernelEntry
        iretq

# ---- Interrupts ------------------------------------------------------------

# A hypervisor that interprets ring 0 takes a microsecond or two for each of these
# instructions, and for those of a halt, so there are as few as possible. RDX is the
# vector minus 128, which the stub has pushed in one byte; a bit's offset may be
# negative.

interrupt:
        cmp     qword ptr [rsp + 8], offset halted
        jne     1f
        pop     rdx                     # RAX and RCX are HaltCore's
        bts     [rax + CORE_PENDING + 128 / 8], rdx
        mov     dword ptr [rcx], 0
        add     rsp, 48                 # this interrupt's frame, and the error code of #GP
        inc     qword ptr [rsp]         # step over the hlt
        iretq

1:      cmp     qword ptr [rsp + 8], offset toro_hlt
        ja      2f
        cmp     qword ptr [rsp + 8], offset HaltCore
        jb      2f
        mov     qword ptr [rsp + 8], offset toro_hlt + 1
2:      xchg    rdx, [rsp]
        push    rax
        mov     rax, rsp
        and     rax, -AREA_SIZE
        mov     rax, [rax + CORE]
        bt      [rax + CORE_SPECIAL + 128 / 8], rdx
        jc      special
        bts     [rax + CORE_PENDING + 128 / 8], rdx
over:   mov     eax, LAPIC_EOI
        mov     dword ptr [rax], 0
        pop     rax
        pop     rdx
        iretq

special:
        sub     rdx, -128
        cmp     edx, 32 + ROUTED
        jae     captured
        cmp     byte ptr [rax + CORE_ROUTE + rdx - 32], 0
        je      captured

# Sends the vector in RDX on to the core that it is routed to.
        push    rcx
        push    rbx
        movzx   ecx, byte ptr [rax + CORE_ROUTE + rdx - 32]
        dec     ecx
        shl     ecx, 24
        mov     eax, LAPIC_ICR_HIGH
        mov     ebx, [rax]              # ring 3 may be between its writes to ICR_HIGH and ICR
        mov     [rax], ecx
        mov     eax, LAPIC_ICR
        mov     [rax], edx
        mov     eax, LAPIC_ICR_HIGH
        mov     [rax], ebx
        pop     rbx
        pop     rcx
        jmp     over

# The application has a handler for this vector: returns to KernelInterrupt,
# with the registers and on the stack of the interrupted code. Not if that was
# ring 0, if ring 3 is on its exception stack, or if KernelInterrupt has not yet
# read what the last call left for it; then the vector stays pending until the
# next scheduling point.
captured:
        bts     [rax + CORE_PENDING], rdx
        bt      [rax + CORE_CAPTURED], rdx
        jnc     over
        test    byte ptr [rsp + 24], 3
        jz      over
        cmp     qword ptr [rax + CORE_IN_EXCEPTION], 0
        jne     over
        cmp     qword ptr [rax + CORE_IN_CALL], 0
        jne     over
        inc     qword ptr [rax + CORE_IN_CALL]
        mov     [rax + CORE_CALL_VECTOR], rdx
        mov     rdx, [rsp + 16]
        mov     [rax + CORE_CALL_RIP], rdx
        mov     rdx, [rsp + 32]
        mov     [rax + CORE_CALL_RFLAGS], rdx
        mov     rdx, [rsp + 40]
        mov     [rax + CORE_CALL_RSP], rdx
        mov     qword ptr [rsp + 16], offset KernelInterrupt
        jmp     over

# ---- Exceptions ------------------------------------------------------------
# On the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS.

# On the stack: error code, RIP and so on.
general_protection:
        cmp     qword ptr [rsp + 8], offset toro_hlt
        jne     1f
        sti                             # takes effect after the next instruction
        hlt
halted: add     rsp, 8                  # only if no interrupt has ended the halt
        inc     qword ptr [rsp]
        iretq
1:      push    13

exception:
        cmp     dword ptr [rsp], 13
        jne     2f
        cmp     dword ptr [rsp + 8], 0
        jne     report
        test    byte ptr [rsp + 24], 3
        jz      report
        push    rax
        mov     rax, [rsp + 24]
        cmp     rax, canonical_end[rip] # reading the byte at a non-canonical RIP would fault
        jae     1f
        cmp     byte ptr [rax], 0xf4    # hlt
        je      halt
1:      pop     rax
        jmp     report
2:      cmp     dword ptr [rsp], 6
        jne     report
        sub     rax, call_magic[rip]
        cmp     rax, CALLS
        jb      call
        add     rax, call_magic[rip]

report:
        push    r15
        push    r14
        push    r13
        push    r12
        push    r11
        push    r10
        push    r9
        push    r8
        push    rdi
        push    rsi
        push    rbp
        push    rbx
        push    rdx
        push    rcx
        push    rax
        mov     rbp, rsp
        and     rbp, -AREA_SIZE
        mov     rbx, [rbp + CORE]
        test    byte ptr [rsp + (15 + 3) * 8], 3
        jz      inner
        cmp     qword ptr [rbx + CORE_IN_EXCEPTION], 0
        jne     nested                  # raised by KernelException
        inc     qword ptr [rbx + CORE_IN_EXCEPTION]
        mov     rsi, rsp
        lea     rdi, [rbx + CORE_FRAME]
        mov     ecx, FRAME_WORDS
        cld
        rep movsq
        mov     rax, cr2
        stosq
        lea     rsp, [rbp + AREA_SIZE]
        mov     rdi, rbx
        sub     rbx, 8
        push    USER_DATA
        push    rbx
        push    USER_RFLAGS
        push    USER_CODE
        push    offset KernelException
        iretq

# Raised by the nucleus itself. An MSR that may be missing is left alone.
inner:
        cmp     qword ptr [rsp + (15 + 2) * 8], offset write_steal
        jmp     1f

# A debugger copies memory that may not be mapped: its copy ends at the fault.
nested:
        cmp     qword ptr [rsp + (15 + 2) * 8], offset toro_debugger_copy
1:      jne     fatal
        add     qword ptr [rsp + (15 + 2) * 8], 2 # step over the wrmsr, or the rep movsb
        .irp    register, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
        pop     \register
        .endr
        add     rsp, 16
        iretq

# A hlt of the application's own
halt:
        inc     qword ptr [rsp + 24]
        mov     rax, rsp
        and     rax, -AREA_SIZE
        mov     rax, [rax + CORE]
        cmp     qword ptr [rax + CORE_PENDING], 0
        jne     1f
        cmp     qword ptr [rax + CORE_PENDING + 8], 0
        jne     1f
        cmp     qword ptr [rax + CORE_PENDING + 16], 0
        jne     1f
        cmp     qword ptr [rax + CORE_PENDING + 24], 0
        jne     1f
        sti                             # takes effect after the next instruction
        hlt
        cli
1:      pop     rax
        add     rsp, 16
        iretq

# ---- Calls -----------------------------------------------------------------
# Those that return something do it in RAX. R11 is the supervisor page.

call:
        add     qword ptr [rsp + 16], 2 # step over the ud2
        mov     r11, rsp
        and     r11, -AREA_SIZE
        mov     ecx, eax
        xor     eax, eax
        dec     ecx
        js      split
        jz      own
        sub     ecx, 2
        js      patch
        jz      change

# Has KVM write to the core's block how long it did not run this CPU, in ns
# (Documentation/virt/kvm/x86/msr.rst). Clobbers RAX, RCX, RDX and R11.

        .set MSR_KVM_STEAL_TIME, 0x4b564d03

        mov     eax, [r11 + CORE]
        add     eax, CORE_STEAL + 1     # enabled
        xor     edx, edx
        mov     ecx, MSR_KVM_STEAL_TIME
write_steal:
        wrmsr
        add     rsp, 16
        iretq

# ---- Entries of pages ------------------------------------------------------
# R10: where the shared tables have the entry of the 2 MiB around RDI, R8: the entry,
# R9: the bits of an address. The page at RCX becomes a page directory if a 1 GiB page
# has to be split. If there is no such entry, it does not return, and the call does
# with 0; or with 2, if RCX is 0 and a page is needed. Clobbers RCX and RDX.

find:
        cmp     rdi, canonical_end[rip]
        jae     5f
        mov     r9, address_bits[rip]
        mov     r8, cr3
        cmp     qword ptr [r11 + OWN_TABLES], 0
        cmovne  r8, [r11 + SHARED_ROOT]
        and     r8, r9
        mov     rdx, rdi
        shr     rdx, 39
        mov     r8, [r8 + rdx * 8]
        test    r8b, 1
        jz      5f
        and     r8, r9
        mov     rdx, rdi
        shr     rdx, 30
        and     edx, 511
        lea     r10, [r8 + rdx * 8]
        mov     r8, [r10]
        mov     rdx, r8
        and     rdx, rights_bits[rip]
        cmp     rdx, large_page[rip]
        jne     2f

        test    rcx, rcx
        jz      4f
        and     r8, r9                  # 512 pages of 2 MiB, filled in from the last one
        lea     rdx, [r8 + 511 * REGION_SIZE]
        or      rdx, large_page[rip]
        mov     r8, rcx
        mov     ecx, 512
1:      mov     [r8 + rcx * 8 - 8], rdx
        sub     rdx, REGION_SIZE
        dec     ecx
        jnz     1b
        or      r8, TABLE
        mov     [r10], r8

2:      test    r8b, 1
        jz      5f
        test    r8b, LARGE              # a large page, but not plain RAM
        jnz     5f
        and     r8, r9
        mov     rdx, rdi
        shr     rdx, 21
        and     edx, 511
        lea     r10, [r8 + rdx * 8]
        mov     r8, [r10]
        ret
4:      mov     al, 2
5:      pop     rdx
        jmp     reload

# Takes the rights in ESI, WRITABLE or UNCACHED, from the page at RDI, which has 2 MiB or
# 4 KiB, and gives it UNCACHED, if SI has that bit in its upper half. RDX: page 2 or a
# later one of a region that was split, for a page directory, or 0; ring 3 loses access
# to it. Returns 1 in RAX, or what `find` does. Clobbers RCX, RDX, RSI and R8 to R11.

change:
        mov     rcx, rdx
        test    rdx, rdx
        jz      2f
        mov     r8, rdx
        and     r8, -REGION_SIZE
        shr     edx, 12
        and     edx, 511
        and     byte ptr [r8 + rdx * 8], ~USER
2:      call    find
        test    r8b, USER
        jz      reload
        test    r8b, r8b
        js      1f                      # LARGE
        and     r8, r9
        mov     rdx, rdi
        shr     rdx, 12
        and     edx, 511
        lea     r10, [r8 + rdx * 8]
        test    byte ptr [r10], USER
        jz      reload
1:      and     esi, UNCACHED << 8 | UNCACHED | WRITABLE
        mov     edx, esi
        not     edx
        and     [r10], dl
        shr     esi, 8
        or      [r10], sil
        inc     eax
        jmp     reload

# ---- Guard pages -----------------------------------------------------------
# Splits the 2 MiB at RDI into 4 KiB pages. Page 0 becomes their page table, and
# page 1 a page directory if the region was part of a 1 GiB page; ring 3 loses
# access to both. Every page whose number is a multiple of RSI (2 or more), except
# 0, becomes a guard: it is unmapped. The region must be mapped by a large page
# with the rights of plain RAM, so the image and the page tables are out of reach.
# What changes are the shared tables. Returns 1 in RAX, or 0 if nothing was done; in
# either case the core sees what has changed in them. Clobbers RCX, RDX and R8 to R11.

split:
        test    edi, REGION_SIZE - 1
        jnz     reload
        cmp     rsi, 2                  # pages 0 and 1 hold tables, not guards
        jb      reload
        lea     rcx, [rdi + 0x1000]
        call    find
        and     r8, rights_bits[rip]
        cmp     r8, large_page[rip]
        jne     reload

        lea     rdx, [rdi + 511 * 0x1000]
        or      rdx, small_page[rip]
        mov     ecx, 512
3:      mov     [rdi + rcx * 8 - 8], rdx
        sub     rdx, 0x1000
        dec     ecx
        jnz     3b
        and     byte ptr [rdi], ~USER
        and     byte ptr [rdi + 8], ~USER
        mov     rcx, rsi
        jmp     5f
4:      mov     qword ptr [rdi + rcx * 8], 0
        add     rcx, rsi
5:      cmp     rcx, 512
        jb      4b
        lea     rdx, [rdi + TABLE]
        mov     [r10], rdx
        inc     eax

# Loads the tables anew. Those of a core that has its own are copies of the shared
# ones, down to the directory of the first GiB.
reload: mov     r10, [r11 + OWN_TABLES]
        mov     rcx, cr3
        test    r10, r10
        jz      8f
        push    rdi
        push    rsi
        mov     r8, [r11 + SHARED_ROOT]
        lea     rdi, [r10 + 0x2000]
        mov     edx, 3
        cld
6:      and     r8, address_bits[rip]
        mov     rsi, r8
        mov     r8, [r8]                # leads to the next level
        mov     ecx, 512
        rep movsq
        dec     edx
        jnz     6b
        lea     rcx, [r10 + 0x3000 + TABLE]
        mov     [r10 + 0x2000], rcx
        add     rcx, 0x1000
        mov     [r10 + 0x3000], rcx
        mov     r8, [r11 + OWN_FIRST]
        mov     rdx, [r11 + OWN_COUNT]
7:      add     rcx, 0x1000
        mov     [r10 + 0x4000 + r8 * 8], rcx
        inc     r8
        dec     rdx
        jnz     7b
        pop     rsi
        pop     rdi
        lea     rcx, [r10 + 0x2000]
8:      mov     cr3, rcx
        add     rsp, 16
        iretq

# ---- Globals of a core -----------------------------------------------------------
# Gives this core page tables of its own, which differ from the shared ones in RDX
# (1 or more) times 2 MiB of the first GiB, from number RSI. To be called once, with a
# region at RDI that was split: its pages from 2 on become the root, two levels below
# it, and then those RDX page tables, which the caller has filled. Ring 3 loses access
# to all of them. It also gets RDFSBASE and its siblings, by which C finds its
# thread-local variables. Clobbers RAX, RCX, RDX and R8 to R11.

own:
        mov     rax, cr3
        mov     [r11 + SHARED_ROOT], rax
        mov     [r11 + OWN_TABLES], rdi
        mov     [r11 + OWN_FIRST], rsi
        mov     [r11 + OWN_COUNT], rdx
        mov     r8, rbx
        mov     r9, rdx
        mov     eax, 7
        xor     ecx, ecx
        cpuid
        mov     rdx, r9
        test    ebx, CPUID_FSGSBASE
        mov     rbx, r8
        jz      2f
        mov     rax, cr4                # not every VMM has set it
        or      eax, CR4_FSGSBASE
        mov     cr4, rax
2:
        lea     ecx, [rdx + 5]
1:      and     byte ptr [rdi + rcx * 8 - 8], ~USER
        dec     ecx
        jnz     1b
        jmp     reload

# ---- Breakpoints -----------------------------------------------------------
# Writes SIL to the byte of code at RDI, if the program contains Gdbstub (toro.ld).
# Returns 1 in RAX, or 0 if it does not or RDI is not code. Clobbers RCX and R11.

        .set CR0_WP, 0x10000

patch:
        cmp     rdi, offset toro_text
        jb      9f
        cmp     rdi, offset toro_patchable_end
        jae     9f
        mov     rcx, cr0
        and     ecx, ~CR0_WP
        mov     cr0, rcx
        mov     [rdi], sil
        or      ecx, CR0_WP
        mov     cr0, rcx
        inc     eax
9:      add     rsp, 16
        iretq

fatal:
        lea     rsi, fatal_text[rip]
        mov     ecx, offset fatal_size
        mov     edx, SERIAL
        rep outsb
        mov     al, STATUS_EXCEPTION
        out     DEBUG_EXIT, al
1:      hlt
        jmp     1b

# ---- A halt in ring 3 ---------------------------------------------------------
# Halts unless an interrupt is pending, and returns after the next one. This lies below
# all other code of ring 3, so one comparison tells an interrupt apart that comes here.

        .section .halt.text, "ax"
        .globl HaltCore, toro_hlt
HaltCore:
        mov     rax, gs:[CORE_PENDING]
        or      rax, gs:[CORE_PENDING + 8]
        or      rax, gs:[CORE_PENDING + 16]
        or      rax, gs:[CORE_PENDING + 24]
        jnz     1f
        mov     rax, gs:[CORE_SELF]
        mov     ecx, LAPIC_EOI
toro_hlt:
        hlt
1:      ret

        .section .nucleus.text, "ax"

# ---- Tables ----------------------------------------------------------------

        .balign 8
canonical_end:
        .quad 0x800000000000
call_magic:                             # NUCLEUS_CALL in Arch.pas
        .quad 0x6c6c6163006f5400
address_bits:
        .quad 0x000ffffffffff000
rights_bits:                            # everything but "accessed" and "dirty"
        .quad 0xfff0000000000f9f
large_page:                             # RAM: no-execute, large, user
        .quad 0x8000000000000087
small_page:
        .quad 0x8000000000000007
gdt:                                    # without the null descriptor and the TSS
        .quad 0x00af9b000000ffff        # ring 0 code
        .quad 0x00cf93000000ffff        # ring 0 data
        .quad 0x00cff3000000ffff        # ring 3 data
        .quad 0x00affb000000ffff        # ring 3 code
idt_pointer:
        .word 256 * 16 - 1
        .quad idt
fatal_text:
        .ascii "Toro: exception while handling an exception\n"
        .set fatal_size, . - fatal_text

        .section .nucleus.rodata, "a"

        # An interrupt gate (Intel SDM volume 3, section 6.14.1).
        .macro gate address, type
        .quad ((\address) & 0xffff) | KERNEL_CODE << 16 | (\type) << 40 | ((\address) >> 16 & 0xffff) << 48
        .quad 0
        .endm

idt:
        .set vector, 0
        .rept 32
        .if vector == 13
        gate (NUCLEUS + general_protection - nucleus), 0x8e
        .elseif vector == 3             # int3 is allowed in ring 3
        gate (NUCLEUS + vector * STUB_EXCEPTION), 0xee
        .else
        gate (NUCLEUS + vector * STUB_EXCEPTION), 0x8e
        .endif
        .set vector, vector + 1
        .endr
        .rept 224
        gate (NUCLEUS + 32 * STUB_EXCEPTION + (vector - 32) * STUB_INTERRUPT), 0x8e
        .set vector, vector + 1
        .endr
