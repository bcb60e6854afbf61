/* Executes SSE, MMX and x87 instructions on the host's CPU with a guest's registers.
 *
 * No code is generated at run time.  The tables below contain each of these
 * instructions with its operands replaced by XMM0 or MM0 (or EAX) and memory at RDI,
 * followed by RET, in a slot of its own.  FXRSTOR loads the guest's registers first,
 * and FXSAVE stores them afterwards.  The caller must mask exceptions. */
#include "emulate/emulate.h"

/* native_0f[opcode][prefix], 8 bytes each; a source that cannot be memory is XMM0 or
 * MM0.  native_wide is rows 28 to 2F with REX.W; native_compare is C2 by immediate.
 * native_x87[opcode - D8]: modrm.reg with memory, then all with registers; 4 bytes
 * each.  Entries that the decoder does not know are UD2. */
asm(".pushsection .text, \"ax\", @progbits\n"

    ".macro slot prefix:req, rex:req, opcode:req, modrm:req\n"
    "  .balign 8, 0xcc\n"
    "  .if \\prefix\n .byte \\prefix\n .endif\n"
    "  .if \\rex\n .byte \\rex\n .endif\n"
    "  .byte 0x0f, \\opcode, \\modrm\n"
    "  ret\n"
    ".endm\n"

    ".macro slot_of prefix:req, opcode:req\n"
    "  .balign 8, 0xcc\n"
    "  .if \\opcode == 0x50 || \\opcode == 0xd7\n"
    "    slot \\prefix, 0, \\opcode, 0xc0\n"
    "  .elseif (\\opcode >= 0x14 && \\opcode <= 0x15) || (\\opcode >= 0x2a && \\opcode <= 0x2f)"
    "       || (\\opcode >= 0x51 && \\opcode <= 0x76) || (\\opcode >= 0xd1 && \\opcode <= 0xfe)\n"
    "    slot \\prefix, 0, \\opcode, 0x07\n"
    "  .else\n"
    "    ud2\n"
    "  .endif\n"
    ".endm\n"

    ".balign 8, 0xcc\n"
    "native_0f:\n"
    ".set opcode, 0\n"
    ".rept 256\n"
    "  .irp prefix, 0, 0x66, 0xf3, 0xf2\n slot_of \\prefix, opcode\n .endr\n"
    "  .set opcode, opcode + 1\n"
    ".endr\n"

    ".balign 8, 0xcc\n"
    "native_wide:\n"
    ".set opcode, 0x28\n"
    ".rept 8\n"
    "  .irp prefix, 0, 0x66, 0xf3, 0xf2\n slot \\prefix, 0x48, opcode, 0x07\n .endr\n"
    "  .set opcode, opcode + 1\n"
    ".endr\n"

    ".balign 8, 0xcc\n"
    "native_compare:\n"
    ".irp predicate, 0, 1, 2, 3, 4, 5, 6, 7\n"
    "  .irp prefix, 0, 0x66, 0xf3, 0xf2\n"
    "    .balign 8, 0xcc\n"
    "    .if \\prefix\n .byte \\prefix\n .endif\n"
    "    .byte 0x0f, 0xc2, 0x07, \\predicate\n"
    "    ret\n"
    "  .endr\n"
    ".endr\n"

    ".balign 8, 0xcc\n"
    "native_x87:\n"
    ".set opcode, 0xd8\n"
    ".rept 8\n"
    "  .set modrm, 0x07\n"
    "  .rept 8\n .byte opcode, modrm\n ret\n int3\n .set modrm, modrm + 8\n .endr\n"
    "  .set modrm, 0xc0\n"
    "  .rept 64\n .byte opcode, modrm\n ret\n int3\n .set modrm, modrm + 1\n .endr\n"
    "  .set opcode, opcode + 1\n"
    ".endr\n"

    ".balign 8, 0xcc\n"
    ".popsection\n");

extern const uint8_t native_0f[256][4][8] __attribute__((visibility("hidden")));
extern const uint8_t native_wide[8][4][8] __attribute__((visibility("hidden")));
extern const uint8_t native_compare[8][4][8] __attribute__((visibility("hidden")));
extern const uint8_t native_x87[8][72][4] __attribute__((visibility("hidden")));

/* Calls a slot with these registers and `operand` in RDI. */
static void run(const uint8_t *slot, struct fxsave *fx, const void *operand, __u64 *rax,
                __u64 *flags)
{
    uint64_t arithmetic = *flags & FLAGS_ARITHMETIC, a = *rax;
    struct fxsave host;

    /* Pushes must not overwrite this function's variables in the red zone. */
    asm volatile("lea -128(%%rsp), %%rsp\n\t"
                 "fxsave64 (%[host])\n\t"
                 "fxrstor64 (%[fx])\n\t"
                 "push %[flags]\n\t"
                 "popf\n\t"
                 "call *%[slot]\n\t"
                 "pushf\n\t"
                 "pop %[flags]\n\t"
                 "fxsave64 (%[fx])\n\t"
                 "fxrstor64 (%[host])\n\t"
                 "lea 128(%%rsp), %%rsp"
                 : "+a"(a), [flags] "+r"(arithmetic)
                 : [host] "r"(&host), [fx] "r"(fx), [slot] "r"(slot), "D"(operand)
                 : "memory", "cc");
    *rax = a;
    *flags = (*flags & ~FLAGS_ARITHMETIC) | (arithmetic & FLAGS_ARITHMETIC);
}

/* Executes `insn`, with `opcode` in place of its own, on XMM0 and MM0 of `fx`. */
void native_sse(struct fxsave *fx, const struct insn *insn, uint8_t opcode, const void *operand,
                __u64 *rax, __u64 *flags)
{
    const uint8_t *slot = native_0f[opcode][insn->prefix];

    if (opcode == 0xc2)
        slot = native_compare[insn->immediate & 7][insn->prefix];
    else if (opcode >> 3 == 0x28 >> 3 && insn->rex & REX_W)
        slot = native_wide[opcode & 7][insn->prefix];
    run(slot, fx, operand, rax, flags);
}

/* Executes an x87 instruction on `fx`. */
void native_fpu(struct fxsave *fx, const struct insn *insn, void *operand, __u64 *rax,
                __u64 *flags)
{
    uint32_t modrm = insn->modrm;

    run(native_x87[insn->opcode & 7][insn->in_memory ? modrm >> 3 & 7 : 8 + (modrm & 63)], fx,
        operand, rax, flags);
}
