/* The operands of an instruction: registers of a `struct cpu`, or guest memory. */
#include "emulate/emulate.h"

#include <string.h>

/* ---- registers -------------------------------------------------------------------- */

/* The general register with this number in an instruction. */
__u64 *cpu_general(struct cpu *cpu, uint8_t number)
{
    struct kvm_regs *regs = &cpu->regs;
    __u64 *const low[8] = {&regs->rax, &regs->rcx, &regs->rdx, &regs->rbx,
                              &regs->rsp, &regs->rbp, &regs->rsi, &regs->rdi};
    return number < 8 ? low[number] : &regs->r8 + (number - 8);
}

uint64_t cpu_general_value(const struct cpu *cpu, uint8_t number)
{
    return *cpu_general((struct cpu *)cpu, number);
}

/* Sets a register as instructions of `size` bytes do; 4 bytes clear the upper half. */
void cpu_set_general(struct cpu *cpu, uint8_t number, uint64_t value, uint32_t size)
{
    __u64 *at = cpu_general(cpu, number);
    *at = size < 4 ? (*at & ~truncated(~0ull, size)) | truncated(value, size)
                   : truncated(value, size);
}

uint8_t *cpu_vector(struct cpu *cpu, uint8_t kind, uint8_t number)
{
    return kind == XMM ? cpu->fx.xmm[number] : cpu->fx.st[number & 7];
}

void cpu_set_vector(struct cpu *cpu, uint8_t kind, uint8_t number, const void *value)
{
    uint8_t *at = cpu_vector(cpu, kind, number);

    memcpy(at, value, kind == XMM ? 16 : 8);
    if (kind == MMX)
        memset(at + 8, 0xff, 2); /* sign and exponent */
}

/* ---- modrm.rm -------------------------------------------------------------------- */

enum outcome access_rm(struct cpu *cpu, const struct insn *insn, void *data,
                              uint32_t size, enum access access)
{
    if (insn->form.flags & ALIGNED && insn->address % 16)
        return cpu_fault_with(cpu, GP, 0);
    return virtual_access(cpu, insn->address, data, size, access, insn->on_stack);
}

/* Reads modrm.rm: from memory and general registers as many bytes as the form says,
 * from others all; the rest is 0. */
enum outcome read_rm(struct cpu *cpu, const struct insn *insn, union value *value)
{
    uint32_t size = insn->form.size;

    memset(value, 0, 16);
    if (insn->in_memory)
        return access_rm(cpu, insn, value, size, READ);
    if (insn->form.rm != GPR) {
        memcpy(value, cpu_vector(cpu, insn->form.rm, insn->rm), insn->form.rm == XMM ? 16 : 8);
    } else if (size == 1 && !insn->rex && insn->rm >= 4) { /* AH, CH, DH, BH */
        value->qword[0] = truncated(cpu_general_value(cpu, insn->rm - 4) >> 8, 1);
    } else {
        value->qword[0] = truncated(cpu_general_value(cpu, insn->rm), size);
    }
    return DONE;
}
