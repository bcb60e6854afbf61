/* Floating point and vectors: the host's CPU does the arithmetic (native.c).
 *
 * SSE exceptions are masked during that, and the flags in MXCSR are then checked against
 * the guest's masks.  x87 exceptions are delivered by the next x87 or MMX instruction:
 * each checks for a pending one first, so the host never raises one. */
#include "emulate/emulate.h"

#include <string.h>

#define MXCSR_EXCEPTIONS 0x3fu
#define MXCSR_BEFORE 0x07u /* invalid operation, denormal, division by zero */
#define MXCSR_MASKS 0x1f80u
#define MXCSR_MASK_SHIFT 7
#define MXCSR_KNOWN 0xffffu /* DAZ and below */
#define X87_EXCEPTIONS 0x3fu

/* Executes `opcode` with *target, a register of `kind`, and a source, both of 16 bytes.
 * The result is in *target, or in *rax. */
static enum outcome natively(struct cpu *cpu, const struct insn *insn, uint8_t opcode,
                             uint8_t kind, union value *target, const union value *source,
                             __u64 *rax)
{
    _Alignas(16) uint8_t operand[16];
    struct fxsave state = cpu->fx;
    uint8_t *place = kind == XMM ? state.xmm[0] : state.st[0];
    uint32_t raised, unmasked;

    memcpy(operand, source, sizeof operand);
    memcpy(place, target, kind == XMM ? 16 : 8);
    state.mxcsr = (state.mxcsr & MXCSR_KNOWN & ~MXCSR_EXCEPTIONS) | MXCSR_MASKS;
    native_sse(&state, insn, opcode, operand, rax, &cpu->regs.rflags);
    if (kind == MMX || insn->form.rm == MMX) {
        cpu->fx.fsw = state.fsw;
        cpu->fx.ftw = state.ftw;
        if (kind != MMX) /* CVTPI2PS from memory resets TOP on some CPUs */
            memcpy(cpu->fx.st, state.st, sizeof state.st);
    }
    raised = state.mxcsr & MXCSR_EXCEPTIONS;
    unmasked = raised & ~(cpu->fx.mxcsr >> MXCSR_MASK_SHIFT);
    if (unmasked & MXCSR_BEFORE) /* these exceptions prevent the computation */
        raised &= MXCSR_BEFORE;
    cpu->fx.mxcsr |= raised;
    if (unmasked)
        return cpu_fault(cpu, cpu->sregs.cr4 & CR4_OSXMMEXCPT ? XM : UD);
    memcpy(target, place, kind == XMM ? 16 : 8);
    return DONE;
}

enum outcome fpu_native(struct cpu *cpu, const struct insn *insn)
{
    bool to_general = insn->form.reg == GPR;
    uint8_t kind = to_general ? insn->form.rm : insn->form.reg;
    union value source, target = {0};
    __u64 rax = 0;
    enum outcome outcome = read_rm(cpu, insn, &source);

    if (outcome != DONE)
        return outcome;
    memcpy(&target, to_general ? (uint8_t *)&source : cpu_vector(cpu, kind, insn->reg), 16);
    outcome = natively(cpu, insn, insn->opcode, kind, &target, &source, &rax);
    if (outcome != DONE)
        return outcome;
    if (to_general)
        cpu_set_general(cpu, insn->reg, rax, insn->rex & REX_W ? 8 : 4);
    else
        cpu_set_vector(cpu, kind, insn->reg, &target);
    return DONE;
}

/* PSLLDQ, PSRLDQ */
static void shift_bytes(uint8_t *at, uint32_t count, bool left)
{
    uint8_t shifted[16] = {0};

    if (count < 16)
        memcpy(shifted + (left ? count : 0), at + (left ? 0 : count), 16 - count);
    memcpy(at, shifted, 16);
}

/* Shifts by an immediate.  Those by a register have opcodes D1 to F3: the upper digit
 * is the direction, the lower one the width from words to quadwords. */
enum outcome fpu_shift(struct cpu *cpu, const struct insn *insn)
{
    uint8_t operation = insn->modrm >> 3 & 7, width = insn->opcode & 3, kind = insn->form.rm;
    union value source = {.qword = {insn->immediate}}, target = {0};
    __u64 rax = 0;
    enum outcome outcome;

    if (width == 3 && kind == XMM && (operation == 3 || operation == 7)) {
        shift_bytes(cpu->fx.xmm[insn->rm], insn->immediate, operation == 7);
        return DONE;
    }
    if (operation != 2 && operation != 6 && (operation != 4 || width == 3))
        return UNKNOWN;
    memcpy(&target, cpu_vector(cpu, kind, insn->rm), 16);
    outcome = natively(cpu, insn, (uint8_t)((0xc + operation / 2) << 4 | width), kind, &target,
                       &source, &rax);
    if (outcome == DONE)
        cpu_set_vector(cpu, kind, insn->rm, &target);
    return outcome;
}

/* ---- x87 -------------------------------------------------------------------------------- */

bool fpu_pending(const struct cpu *cpu)
{
    return cpu->fx.fsw & ~cpu->fx.fcw & X87_EXCEPTIONS;
}

/* Whether the instruction delivers pending exceptions: all except FNCLEX, FNINIT,
 * FNSTSW AX, and FNSTENV, FNSTCW, FNSAVE, FNSTSW to memory. */
static bool x87_waits(const struct insn *insn)
{
    uint8_t reg = insn->modrm >> 3 & 7;

    if (insn->in_memory)
        return reg < 6 || (insn->opcode != 0xd9 && insn->opcode != 0xdd);
    return reg != 4 || (insn->opcode != 0xdb && insn->opcode != 0xdf);
}

enum outcome fpu_x87(struct cpu *cpu, const struct insn *insn)
{
    struct fxsave state = cpu->fx;
    union value operand;
    enum outcome outcome;

    if (x87_waits(insn) && fpu_pending(cpu))
        return cpu_fault(cpu, MF);
    /* A store that raises an exception leaves memory unchanged. */
    if (insn->in_memory) {
        outcome = access_rm(cpu, insn, &operand, insn->form.size, insn->stores ? MODIFY : READ);
        if (outcome != DONE)
            return outcome;
    }
    state.mxcsr = MXCSR_MASKS;
    native_fpu(&state, insn, &operand, &cpu->regs.rax, &cpu->regs.rflags);
    state.mxcsr = cpu->fx.mxcsr;
    if (state.fip != cpu->fx.fip) /* addresses in the host's code */
        state.fip = cpu->regs.rip;
    if (state.fdp != cpu->fx.fdp)
        state.fdp = insn->address;
    cpu->fx = state;
    if (insn->stores)
        return access_rm(cpu, insn, &operand, insn->form.size, WRITE);
    return DONE;
}

enum outcome fpu_wait(struct cpu *cpu)
{
    if (cpu->sregs.cr0 & CR0_MP && cpu->sregs.cr0 & CR0_TS)
        return cpu_fault(cpu, NM);
    return fpu_pending(cpu) ? cpu_fault(cpu, MF) : DONE;
}

enum outcome fpu_mxcsr(struct cpu *cpu, const struct insn *insn)
{
    uint32_t value = cpu->fx.mxcsr;
    enum outcome outcome;

    if ((insn->modrm >> 3 & 7) == 3) /* STMXCSR */
        return access_rm(cpu, insn, &value, sizeof value, WRITE);
    if ((insn->modrm >> 3 & 7) != 2)
        return UNKNOWN;
    outcome = access_rm(cpu, insn, &value, sizeof value, READ);
    if (outcome != DONE)
        return outcome;
    if (value & ~MXCSR_KNOWN)
        return cpu_fault_with(cpu, GP, 0);
    cpu->fx.mxcsr = value;
    return DONE;
}
