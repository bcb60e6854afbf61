# Entry points for boot protocols other than direct boot: PVH, which QEMU and Xen
# use, and Linux's 64-bit protocol, which Firecracker uses. Both lead to LoaderMain
# (Loader.pas), which prepares what direct boot gets from the VMM
# (docs/boot-protocol.md). Then every CPU enters the nucleus as in a direct boot.
#
# All this is ring-0 code, and finished before the nucleus runs. Until then the
# page tables map the first GiB, and the fourth, where the APICs are, to itself.

        .intel_syntax noprefix

        .set CODE64, 0x08
        .set DATA, 0x10
        .set CODE32, 0x18
        .set KIND_PVH, 0
        .set KIND_LINUX, 1

        .set CR0_BITS, 0x80010033       # PG WP NE ET MP PE
        .set CR4_BITS, 0x620            # PAE OSFXSR OSXMMEXCPT
        .set EFER, 0xc0000080
        .set EFER_BITS, 0x900           # LME NXE

        # Where an AP starts: it needs a page below 1 MiB.
        .set TRAMPOLINE, 0x8000

        .section .note.Xen, "a", @note
        .balign 4
        .long 2f - 1f, 4f - 3f, 18      # XEN_ELFNOTE_PHYS32_ENTRY
1:      .asciz "Xen"
2:      .balign 4
3:      .quad pvh_entry
4:

        .section .loader.text, "ax"
        .globl linux64_entry, loader_trampoline, loader_trampoline_end

# ---- PVH (Xen: docs/misc/pvh.pandoc): EBX is the start info -----------------------

        .code32
pvh_entry:
        cld
        mov     esp, offset loader_stack_end
        lgdt    loader_gdt_pointer
        mov     edi, offset pvh_long
enter_long_mode:                        # continues at EDI in 64-bit mode; preserves EBX
        mov     eax, CR4_BITS
        mov     cr4, eax
        mov     eax, offset loader_pml4
        mov     cr3, eax
        mov     ecx, EFER
        mov     eax, EFER_BITS
        xor     edx, edx
        wrmsr
        mov     eax, CR0_BITS
        mov     cr0, eax
        .byte   0xea                    # jmp CODE64:long_mode
        .long   long_mode
        .word   CODE64

        .code64
long_mode:
        mov     eax, DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     edi, edi
        jmp     rdi

pvh_long:
        mov     edi, ebx
        mov     esi, KIND_PVH
        jmp     load

# ---- Linux (Documentation/arch/x86/boot.rst): RSI is the zero page ----------------

linux64_entry:
        cld
        lea     rsp, loader_stack_end[rip]
        mov     rdi, rsi
        lea     rax, loader_pml4[rip]
        mov     rcx, cr4
        or      rcx, CR4_BITS
        mov     cr4, rcx
        mov     cr3, rax
        mov     ecx, EFER
        rdmsr
        or      eax, EFER_BITS
        wrmsr
        mov     eax, CR0_BITS
        mov     cr0, rax
        lgdt    loader_gdt_pointer[rip]
        push    CODE64
        lea     rax, 1f[rip]
        push    rax
        retfq
1:      mov     eax, DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     esi, KIND_LINUX

load:
        call    LoaderMain
        xor     ebx, ebx
        jmp     enter_kernel

# ---- Application processors: from a copy of this in the page TRAMPOLINE -----------

        .code16
loader_trampoline:
        cli
        xor     ax, ax
        mov     ds, ax
        lgdtd   [TRAMPOLINE + trampoline_gdt_pointer - loader_trampoline]
        mov     eax, 0x11               # ET PE
        mov     cr0, eax
        .byte   0x66, 0xea              # jmp CODE32:ap_protected
        .long   ap_protected
        .word   CODE32
trampoline_gdt_pointer:
        .word   4 * 8 - 1
        .long   loader_gdt
loader_trampoline_end:

        .code32
ap_protected:
        mov     eax, DATA
        mov     ds, eax
        mov     edi, offset ap_long
        jmp     enter_long_mode

        .code64
ap_long:
        mov     eax, 1
        cpuid
        shr     ebx, 24                 # the APIC id is also the index
        cmp     ebx, LoaderCpus[rip]
        jb      enter_kernel
1:      cli                             # a CPU that is in no table
        hlt
        jmp     1b

# ---- Into the nucleus, as docs/boot-protocol.md has it; EBX is the index ----------

enter_kernel:
        mov     rax, LoaderRoot[rip]
        mov     cr3, rax
        mov     rdx, LoaderAreaSize[rip]
        mov     rax, rdx
        imul    rax, rbx
        add     rax, LoaderAreas[rip]
        add     rdx, rax
        add     rax, LoaderSupervisorSize[rip]
        mov     rsp, rax
        mov     rdi, LoaderBootInfo[rip]
        mov     esi, ebx
        xor     ebp, ebp
        jmp     entry64

# ---- Tables -----------------------------------------------------------------------

        .section .loader.rodata, "a"

        .balign 8
loader_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      # CODE64
        .quad   0x00cf93000000ffff      # DATA
        .quad   0x00cf9b000000ffff      # CODE32
loader_gdt_pointer:
        .word   4 * 8 - 1
        .quad   loader_gdt

        .balign 4096
loader_pml4:
        .quad   loader_pdpt + 3
        .fill   511, 8, 0
loader_pdpt:
        .quad   loader_low + 3, 0, 0, loader_high + 3
        .fill   508, 8, 0
        .set    address, 0
loader_low:
        .rept   512
        .quad   address + 0x83
        .set    address, address + 0x200000
        .endr
        .set    address, 0xc0000000
loader_high:
        .rept   512
        .quad   address + 0x93          # uncached
        .set    address, address + 0x200000
        .endr

        .section .loader.bss, "aw", @nobits
        .balign 16
        .fill   8192, 1, 0
loader_stack_end:
