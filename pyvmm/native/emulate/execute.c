/* Executes instructions on a `struct cpu` and guest memory: moves, shuffles and
 * integers; arithmetic of SSE, MMX and x87 is in fpu.c.  An instruction either takes
 * effect entirely, or faults without effect. */
#include "emulate/emulate.h"

#include <string.h>

#define FSW_TOP 0x3800u
#define CRC32C 0x82f63b78u /* the polynomial, lowest bit first */

/* Makes MMn alias ST(n) and marks all as valid, as every MMX instruction does. */
static void enter_mmx(struct fxsave *fx)
{
    uint32_t top = (fx->fsw & FSW_TOP) / (FSW_TOP & -FSW_TOP);
    uint8_t old[8][16];

    memcpy(old, fx->st, sizeof old);
    for (uint32_t n = 0; n < 8; n++)
        memcpy(fx->st[n], old[(n - top) & 7], sizeof *old);
    fx->fsw &= (uint16_t)~FSW_TOP;
    fx->ftw = 0xff;
}

/* ---- moves ------------------------------------------------------------------------ */

static enum outcome load(struct cpu *cpu, const struct insn *insn)
{
    union value value;
    enum outcome outcome = read_rm(cpu, insn, &value);

    if (outcome != DONE)
        return outcome;
    if (!insn->in_memory && insn->form.flags & MERGE) {
        memcpy(cpu_vector(cpu, XMM, insn->reg), &value, insn->form.size);
        return DONE;
    }
    if (insn->form.size == 8 || insn->form.rm == MMX)
        value.qword[1] = 0;
    cpu_set_vector(cpu, insn->form.reg, insn->reg, &value);
    return DONE;
}

static enum outcome store(struct cpu *cpu, const struct insn *insn)
{
    union value value = {0};

    memcpy(&value, cpu_vector(cpu, insn->form.reg, insn->reg), insn->form.size);
    if (insn->in_memory)
        return access_rm(cpu, insn, &value, insn->form.size, WRITE);
    if (insn->form.rm == GPR)
        cpu_set_general(cpu, insn->rm, value.qword[0], insn->form.size);
    else if (insn->form.flags & MERGE)
        memcpy(cpu_vector(cpu, XMM, insn->rm), &value, insn->form.size);
    else
        cpu_set_vector(cpu, insn->form.rm, insn->rm, &value);
    return DONE;
}

/* MOVLPS and MOVHPS, or MOVHLPS and MOVLHPS between registers. */
static enum outcome load_half(struct cpu *cpu, const struct insn *insn)
{
    bool high = insn->opcode == 0x16;
    union value value;
    enum outcome outcome = read_rm(cpu, insn, &value);

    if (outcome == DONE)
        memcpy(cpu->fx.xmm[insn->reg] + (high ? 8 : 0),
               &value.qword[!insn->in_memory && !high], 8);
    return outcome;
}

static enum outcome store_half(struct cpu *cpu, const struct insn *insn)
{
    return access_rm(cpu, insn, cpu->fx.xmm[insn->reg] + (insn->opcode == 0x17 ? 8 : 0), 8, WRITE);
}

/* ---- shuffles ----------------------------------------------------------------------- */

/* PSHUFW, PSHUFD, PSHUFHW, PSHUFLW */
static enum outcome shuffle(struct cpu *cpu, const struct insn *insn)
{
    uint32_t start = insn->prefix == PREFIX_F3 ? 4 : 0;
    union value value, result;
    enum outcome outcome = read_rm(cpu, insn, &value);

    if (outcome != DONE)
        return outcome;
    result = value;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t from = insn->immediate >> 2 * i & 3;
        if (insn->prefix == PREFIX_66)
            result.dword[i] = value.dword[from];
        else
            result.word[start + i] = value.word[start + from];
    }
    cpu_set_vector(cpu, insn->form.reg, insn->reg, &result);
    return DONE;
}

/* SHUFPS, SHUFPD */
static enum outcome shuffle_float(struct cpu *cpu, const struct insn *insn)
{
    union value target = {0}, source, result;
    enum outcome outcome = read_rm(cpu, insn, &source);

    if (outcome != DONE)
        return outcome;
    memcpy(&target, cpu->fx.xmm[insn->reg], 16);
    if (insn->prefix == PREFIX_66) {
        result.qword[0] = target.qword[insn->immediate & 1];
        result.qword[1] = source.qword[insn->immediate >> 1 & 1];
    } else {
        for (uint32_t i = 0; i < 4; i++)
            result.dword[i] = (i < 2 ? &target : &source)->dword[insn->immediate >> 2 * i & 3];
    }
    memcpy(cpu->fx.xmm[insn->reg], &result, 16);
    return DONE;
}

/* PINSRW */
static enum outcome insert(struct cpu *cpu, const struct insn *insn)
{
    uint32_t words = insn->form.reg == XMM ? 8 : 4;
    union value value, target;
    enum outcome outcome = read_rm(cpu, insn, &value);

    if (outcome != DONE)
        return outcome;
    memcpy(&target, cpu_vector(cpu, insn->form.reg, insn->reg), 16);
    target.word[insn->immediate % words] = value.word[0];
    cpu_set_vector(cpu, insn->form.reg, insn->reg, &target);
    return DONE;
}

/* PEXTRW */
static enum outcome extract(struct cpu *cpu, const struct insn *insn)
{
    union value value;

    read_rm(cpu, insn, &value);
    cpu_set_general(cpu, insn->reg, value.word[insn->immediate % (insn->form.rm == XMM ? 8 : 4)], 4);
    return DONE;
}

/* ---- integers ---------------------------------------------------------------------------- */

static enum outcome popcnt(struct cpu *cpu, const struct insn *insn)
{
    union value value;
    enum outcome outcome = read_rm(cpu, insn, &value);

    if (outcome != DONE)
        return outcome;
    cpu_set_general(cpu, insn->reg, (uint64_t)__builtin_popcountll(value.qword[0]), insn->form.size);
    cpu->regs.rflags &= ~FLAGS_ARITHMETIC;
    if (!value.qword[0])
        cpu->regs.rflags |= FLAG_ZF;
    return DONE;
}

static enum outcome crc32(struct cpu *cpu, const struct insn *insn)
{
    uint32_t crc = (uint32_t)cpu_general_value(cpu, insn->reg);
    union value value;
    enum outcome outcome = read_rm(cpu, insn, &value);

    if (outcome != DONE)
        return outcome;
    for (uint32_t i = 0; i < insn->form.size; i++) {
        crc ^= value.byte[i];
        for (uint32_t bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C : 0);
    }
    cpu_set_general(cpu, insn->reg, crc, 8);
    return DONE;
}

static enum outcome movbe(struct cpu *cpu, const struct insn *insn)
{
    uint32_t size = insn->form.size, unused = 64 - 8 * size;
    union value value = {.qword = {cpu_general_value(cpu, insn->reg)}};
    bool stores = insn->opcode & 1;
    enum outcome outcome = stores ? DONE : read_rm(cpu, insn, &value);

    if (outcome != DONE)
        return outcome;
    value.qword[0] = __builtin_bswap64(value.qword[0]) >> unused;
    if (stores)
        return access_rm(cpu, insn, &value, size, WRITE);
    cpu_set_general(cpu, insn->reg, value.qword[0], size);
    return DONE;
}

/* Works on guest memory directly, as other vCPUs may access it at the same time. */
static enum outcome cmpxchg16b(struct cpu *cpu, const struct insn *insn)
{
    struct kvm_regs *regs = &cpu->regs;
    enum outcome outcome;
    uint8_t *host;
    bool equal;

    if ((insn->modrm >> 3 & 7) != 1 || !(insn->rex & REX_W))
        return UNKNOWN;
    outcome = virtual_find(cpu, insn, &host);
    if (outcome != DONE)
        return outcome;
    asm volatile("lock cmpxchg16b %[memory]"
                 : "=@ccz"(equal), [memory] "+m"(*(unsigned __int128 *)host), "+a"(regs->rax),
                   "+d"(regs->rdx)
                 : "b"(regs->rbx), "c"(regs->rcx)
                 : "memory");
    regs->rflags = equal ? regs->rflags | FLAG_ZF : regs->rflags & ~FLAG_ZF;
    return DONE;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static bool uses_sse(const struct insn *insn)
{
    return insn->form.reg == XMM || insn->form.rm == XMM || insn->form.how == MXCSR;
}

/* CVTPI2PS and CVTPI2PD from memory do not. */
static bool uses_mmx(const struct insn *insn)
{
    return insn->form.reg == MMX || (insn->form.rm == MMX && !insn->in_memory);
}

/* Whether the instruction needs `cpu->fx`. */
bool insn_uses_fpu(const struct insn *insn)
{
    return uses_sse(insn) || uses_mmx(insn) || insn->form.how == X87 || insn->form.how == WAIT;
}

/* Whether the control registers allow these registers now. */
static enum outcome available(struct cpu *cpu, const struct insn *insn)
{
    uint64_t cr0 = cpu->sregs.cr0;

    if (insn->form.how == X87)
        return cr0 & (CR0_EM | CR0_TS) ? cpu_fault(cpu, NM) : DONE;
    if (uses_sse(insn) || uses_mmx(insn)) {
        if (cr0 & CR0_EM || (uses_sse(insn) && !(cpu->sregs.cr4 & CR4_OSFXSR)))
            return cpu_fault(cpu, UD);
        if (cr0 & CR0_TS)
            return cpu_fault(cpu, NM);
    }
    return uses_mmx(insn) && fpu_pending(cpu) ? cpu_fault(cpu, MF) : DONE;
}

static enum outcome operate(struct cpu *cpu, const struct insn *insn)
{
    switch ((enum how)insn->form.how) {
    case NATIVE: return fpu_native(cpu, insn);
    case LOAD: return load(cpu, insn);
    case STORE: return store(cpu, insn);
    case LOAD_HALF: return load_half(cpu, insn);
    case STORE_HALF: return store_half(cpu, insn);
    case SHUFFLE: return shuffle(cpu, insn);
    case SHUFFLE_FLOAT: return shuffle_float(cpu, insn);
    case SHIFT: return fpu_shift(cpu, insn);
    case INSERT: return insert(cpu, insn);
    case EXTRACT: return extract(cpu, insn);
    case EMMS: cpu->fx.ftw = 0; return DONE;
    case MXCSR: return fpu_mxcsr(cpu, insn);
    case X87: return fpu_x87(cpu, insn);
    case WAIT: return fpu_wait(cpu);
    case INT3: return cpu_fault(cpu, BP);
    case POPCNT: return popcnt(cpu, insn);
    case CRC32: return crc32(cpu, insn);
    case MOVBE: return movbe(cpu, insn);
    case CMPXCHG16B: return cmpxchg16b(cpu, insn);
    case INVALID: break;
    }
    return UNKNOWN;
}

/* Executes an instruction that insn_decode() has decoded. */
enum outcome insn_execute(struct cpu *cpu, const struct insn *insn)
{
    struct kvm_regs regs = cpu->regs;
    struct fxsave fx = cpu->fx;
    enum outcome outcome;

    cpu->vector = 0;
    outcome = available(cpu, insn);

    if (outcome == DONE) {
        if (uses_mmx(insn))
            enter_mmx(&cpu->fx);
        outcome = operate(cpu, insn);
    }
    if (outcome != DONE) {
        if (cpu->vector != XM) /* MXCSR keeps the flags of #XM */
            cpu->fx = fx;
        cpu->regs = regs;
        return outcome;
    }
    cpu->regs.rip += insn->length;
    if (!cpu_long_mode(cpu))
        cpu->regs.rip = (uint32_t)cpu->regs.rip;
    return DONE;
}
