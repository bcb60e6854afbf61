/* Executes instructions that KVM's emulator does not know on a guest's behalf.
 *
 *     decode.c    bytes to a struct insn
 *     memory.c    guest-virtual memory
 *     operands.c  registers and memory as operands
 *     execute.c   instructions
 *     fpu.c       ... arithmetic of SSE, MMX and x87
 *     native.c    ... on the host's CPU
 *     emulate.c   a vCPU's state, from KVM and back
 */
#ifndef PYVMM_EMULATE_H
#define PYVMM_EMULATE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory/ram.h"

#define INSN_MAX 15     /* bytes of an instruction */
#define OPERAND_MAX 112 /* bytes of an operand; FNSAVE has the longest */

#define REX_W 8
#define REX_R 4
#define REX_X 2
#define REX_B 1

#define FLAGS_ARITHMETIC 0x8d5ull /* OF SF ZF AF PF CF */
#define FLAG_ZF 0x40ull
#define FLAG_TF 0x100ull

#define CR0_MP 0x2ull
#define CR0_EM 0x4ull
#define CR0_TS 0x8ull
#define CR0_WP 0x10000ull
#define CR0_PG 0x80000000ull
#define CR4_OSFXSR 0x200ull
#define CR4_OSXMMEXCPT 0x400ull
#define CR4_LA57 0x1000ull
#define EFER_LMA 0x400ull
#define EFER_NXE 0x800ull

/* The area of FXSAVE (Intel SDM volume 1, section 10.5.1). */
struct fxsave {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16]; /* ST(n); also MMn while TOP is 0 */
    uint8_t xmm[16][16];
    uint8_t rest[96];
} __attribute__((aligned(16)));

/* A CPU of the guest. */
struct cpu {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct fxsave fx;
    const struct ram *ram;

    /* The exception that an instruction has raised. */
    uint8_t vector;
    bool has_error;
    uint32_t error;
};

PYTHON enum outcome { DONE, FAULT, UNKNOWN };

static inline bool cpu_long_mode(const struct cpu *cpu)
{
    return cpu->sregs.cs.l;
}

/* The lowest `size` bytes of `value`. */
static inline uint64_t truncated(uint64_t value, uint32_t size)
{
    return size < 8 ? value & ((1ull << 8 * size) - 1) : value;
}

enum vector { DB = 1, BP = 3, UD = 6, NM = 7, SS = 12, GP = 13, PF = 14, MF = 16, XM = 19 };

/* Kinds of operands.  modrm.reg is a register of its kind, modrm.rm a register or memory. */
enum kind { NOTHING, XMM, MMX, GPR };

/* How an instruction is executed. */
enum how {
    INVALID, NATIVE, LOAD, STORE, LOAD_HALF, STORE_HALF, SHUFFLE, SHUFFLE_FLOAT, SHIFT, INSERT,
    EXTRACT, EMMS, MXCSR, X87, WAIT, INT3, POPCNT, CRC32, MOVBE, CMPXCHG16B,
};

enum form_flags {
    ALIGNED = 1,    /* memory must be aligned to 16 bytes */
    MEMORY = 2,     /* modrm.rm must be memory */
    REGISTER = 4,   /* modrm.rm must be a register */
    IMMEDIATE = 8,  /* one byte follows */
    BARE = 16,      /* no modrm */
    WIDE = 32,      /* 4 bytes, or 8 with REX.W */
    WORD = 64,      /* ... or 2 with prefix 66 */
    MERGE = 128,    /* between registers, the rest of the target is kept */
};

struct form {
    uint8_t how, reg, rm; /* enum how, enum kind */
    uint8_t size;         /* bytes of modrm.rm, if it is memory or a general register */
    uint8_t flags;
};

/* Columns of the opcode maps: the prefix that selects the instruction. */
enum prefix { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };

struct insn {
    uint8_t length, rex, opcode, modrm, immediate;
    enum prefix prefix;
    bool operand16, locked, in_memory;
    bool stores;      /* x87 only: to memory */
    struct form form; /* with the size that the prefixes select */
    uint8_t reg, rm;  /* register numbers */
    uint64_t address; /* linear, if in_memory */
    bool on_stack;    /* through SS */
};

/* An operand, read from the guest. */
union value {
    uint8_t byte[OPERAND_MAX];
    uint16_t word[8];
    uint32_t dword[4];
    uint64_t qword[2];
};

/* Functions that return an enum outcome return DONE, FAULT with the exception in `cpu`,
 * or UNKNOWN. */

/* decode.c */
PYTHON enum outcome insn_decode(struct cpu *cpu, struct insn *insn);
enum outcome insn_decode_bytes(const struct cpu *cpu, const uint8_t *bytes, uint32_t count,
                          struct insn *insn, bool *truncated);

/* memory.c */
enum access { READ, WRITE, FETCH, MODIFY }; /* MODIFY reads first, then writes */

enum outcome cpu_fault(struct cpu *cpu, enum vector vector);
enum outcome cpu_fault_with(struct cpu *cpu, enum vector vector, uint32_t error);
enum outcome virtual_access(struct cpu *cpu, uint64_t address, void *data, uint32_t size,
                            enum access access, bool on_stack);
enum outcome virtual_find(struct cpu *cpu, const struct insn *insn, uint8_t **host);

/* operands.c */
__u64 *cpu_general(struct cpu *cpu, uint8_t number);
uint64_t cpu_general_value(const struct cpu *cpu, uint8_t number);
void cpu_set_general(struct cpu *cpu, uint8_t number, uint64_t value, uint32_t size);
uint8_t *cpu_vector(struct cpu *cpu, uint8_t kind, uint8_t number);
void cpu_set_vector(struct cpu *cpu, uint8_t kind, uint8_t number, const void *value);
enum outcome read_rm(struct cpu *cpu, const struct insn *insn, union value *value);
enum outcome access_rm(struct cpu *cpu, const struct insn *insn, void *data, uint32_t size,
                       enum access access);

/* execute.c */
PYTHON enum outcome insn_execute(struct cpu *cpu, const struct insn *insn);
bool insn_uses_fpu(const struct insn *insn);

/* fpu.c */
enum outcome fpu_native(struct cpu *cpu, const struct insn *insn);
enum outcome fpu_shift(struct cpu *cpu, const struct insn *insn);
enum outcome fpu_x87(struct cpu *cpu, const struct insn *insn);
enum outcome fpu_wait(struct cpu *cpu);
enum outcome fpu_mxcsr(struct cpu *cpu, const struct insn *insn);
bool fpu_pending(const struct cpu *cpu);

/* native.c */
void native_sse(struct fxsave *fx, const struct insn *insn, uint8_t opcode, const void *operand,
                __u64 *rax, __u64 *flags);
void native_fpu(struct fxsave *fx, const struct insn *insn, void *operand, __u64 *rax,
                __u64 *flags);

#endif
