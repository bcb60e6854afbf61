/* Decodes instructions: prefixes, opcode maps and the modrm byte (Intel SDM volume 2,
 * chapter 2 and appendix A).  The bytes are the guest's; anything that is not in the
 * tables, or too long, is unknown. */
#include "emulate/emulate.h"

#include <string.h>

/* ---- the opcode maps ----------------------------------------------------------- */

#define NONE {0}
#define PACKED {NATIVE, XMM, XMM, 16, ALIGNED}
#define SCALAR(size) {NATIVE, XMM, XMM, size, 0}
#define INTEGER {NATIVE, MMX, MMX, 8, 0}, PACKED

/* 0F: one instruction for each of the prefixes none, 66, F3 and F2. */
static const struct form map_0f[256][4] = {
    [0x10] = {{LOAD, XMM, XMM, 16, 0}, {LOAD, XMM, XMM, 16, 0},
              {LOAD, XMM, XMM, 4, MERGE}, {LOAD, XMM, XMM, 8, MERGE}},
    [0x11] = {{STORE, XMM, XMM, 16, 0}, {STORE, XMM, XMM, 16, 0},
              {STORE, XMM, XMM, 4, MERGE}, {STORE, XMM, XMM, 8, MERGE}},
    [0x12] = {{LOAD_HALF, XMM, XMM, 8, 0}, {LOAD_HALF, XMM, XMM, 8, MEMORY}},
    [0x13] = {{STORE_HALF, XMM, XMM, 8, MEMORY}, {STORE_HALF, XMM, XMM, 8, MEMORY}},
    [0x14 ... 0x15] = {PACKED, PACKED}, /* UNPCKLPS, … */
    [0x16] = {{LOAD_HALF, XMM, XMM, 8, 0}, {LOAD_HALF, XMM, XMM, 8, MEMORY}},
    [0x17] = {{STORE_HALF, XMM, XMM, 8, MEMORY}, {STORE_HALF, XMM, XMM, 8, MEMORY}},
    [0x28] = {{LOAD, XMM, XMM, 16, ALIGNED}, {LOAD, XMM, XMM, 16, ALIGNED}},
    [0x29] = {{STORE, XMM, XMM, 16, ALIGNED}, {STORE, XMM, XMM, 16, ALIGNED}},
    [0x2a] = {{NATIVE, XMM, MMX, 8, 0}, {NATIVE, XMM, MMX, 8, 0}, /* CVTPI2PS, … */
              {NATIVE, XMM, GPR, 4, WIDE}, {NATIVE, XMM, GPR, 4, WIDE}},
    [0x2b] = {{STORE, XMM, XMM, 16, ALIGNED | MEMORY}, {STORE, XMM, XMM, 16, ALIGNED | MEMORY}},
    [0x2c ... 0x2d] = {{NATIVE, MMX, XMM, 8, 0}, {NATIVE, MMX, XMM, 16, ALIGNED}, /* CVTTPS2PI, … */
                       {NATIVE, GPR, XMM, 4, 0}, {NATIVE, GPR, XMM, 8, 0}},
    [0x2e ... 0x2f] = {SCALAR(4), SCALAR(8)}, /* UCOMISS, … */
    [0x50] = {{NATIVE, GPR, XMM, 0, REGISTER}, {NATIVE, GPR, XMM, 0, REGISTER}}, /* MOVMSKPS, … */
    [0x51] = {PACKED, PACKED, SCALAR(4), SCALAR(8)},
    [0x52 ... 0x53] = {PACKED, NONE, SCALAR(4)},
    [0x54 ... 0x57] = {PACKED, PACKED},
    [0x58 ... 0x59] = {PACKED, PACKED, SCALAR(4), SCALAR(8)},
    [0x5a] = {SCALAR(8), PACKED, SCALAR(4), SCALAR(8)}, /* CVTPS2PD, … */
    [0x5b] = {PACKED, PACKED, PACKED},
    [0x5c ... 0x5f] = {PACKED, PACKED, SCALAR(4), SCALAR(8)},
    [0x60 ... 0x62] = {{NATIVE, MMX, MMX, 4, 0}, PACKED}, /* PUNPCKLBW, … */
    [0x63 ... 0x6b] = {INTEGER},
    [0x6c ... 0x6d] = {NONE, PACKED},
    [0x6e] = {{LOAD, MMX, GPR, 4, WIDE}, {LOAD, XMM, GPR, 4, WIDE}},
    [0x6f] = {{LOAD, MMX, MMX, 8, 0}, {LOAD, XMM, XMM, 16, ALIGNED}, {LOAD, XMM, XMM, 16, 0}},
    [0x70] = {{SHUFFLE, MMX, MMX, 8, IMMEDIATE}, {SHUFFLE, XMM, XMM, 16, ALIGNED | IMMEDIATE},
              {SHUFFLE, XMM, XMM, 16, ALIGNED | IMMEDIATE},
              {SHUFFLE, XMM, XMM, 16, ALIGNED | IMMEDIATE}},
    [0x71 ... 0x73] = {{SHIFT, NOTHING, MMX, 0, REGISTER | IMMEDIATE},
                       {SHIFT, NOTHING, XMM, 0, REGISTER | IMMEDIATE}},
    [0x74 ... 0x76] = {INTEGER},
    [0x77] = {{EMMS, MMX, MMX, 0, BARE}},
    [0x7e] = {{STORE, MMX, GPR, 4, WIDE}, {STORE, XMM, GPR, 4, WIDE}, {LOAD, XMM, XMM, 8, 0}},
    [0x7f] = {{STORE, MMX, MMX, 8, 0}, {STORE, XMM, XMM, 16, ALIGNED}, {STORE, XMM, XMM, 16, 0}},
    [0xae] = {{MXCSR, NOTHING, NOTHING, 4, MEMORY}},
    [0xb8] = {NONE, NONE, {POPCNT, GPR, GPR, 4, WIDE | WORD}},
    [0xc2] = {{NATIVE, XMM, XMM, 16, ALIGNED | IMMEDIATE}, {NATIVE, XMM, XMM, 16, ALIGNED | IMMEDIATE},
              {NATIVE, XMM, XMM, 4, IMMEDIATE}, {NATIVE, XMM, XMM, 8, IMMEDIATE}}, /* CMPPS, … */
    [0xc4] = {{INSERT, MMX, GPR, 2, IMMEDIATE}, {INSERT, XMM, GPR, 2, IMMEDIATE}},
    [0xc5] = {{EXTRACT, GPR, MMX, 0, REGISTER | IMMEDIATE},
              {EXTRACT, GPR, XMM, 0, REGISTER | IMMEDIATE}},
    [0xc6] = {{SHUFFLE_FLOAT, XMM, XMM, 16, ALIGNED | IMMEDIATE},
              {SHUFFLE_FLOAT, XMM, XMM, 16, ALIGNED | IMMEDIATE}},
    [0xc7] = {{CMPXCHG16B, NOTHING, NOTHING, 16, MEMORY}},
    [0xd1 ... 0xd5] = {INTEGER},
    [0xd6] = {NONE, {STORE, XMM, XMM, 8, 0}, {LOAD, XMM, MMX, 8, REGISTER},
              {LOAD, MMX, XMM, 8, REGISTER}},
    [0xd7] = {{NATIVE, GPR, MMX, 0, REGISTER}, {NATIVE, GPR, XMM, 0, REGISTER}}, /* PMOVMSKB */
    [0xd8 ... 0xe5] = {INTEGER},
    [0xe6] = {NONE, PACKED, SCALAR(8), PACKED}, /* CVTTPD2DQ, CVTDQ2PD, CVTPD2DQ */
    [0xe7] = {{STORE, MMX, MMX, 8, MEMORY}, {STORE, XMM, XMM, 16, ALIGNED | MEMORY}},
    [0xe8 ... 0xef] = {INTEGER},
    [0xf1 ... 0xf6] = {INTEGER},
    [0xf8 ... 0xfe] = {INTEGER},
};

/* 0F 38 F0 and F1. */
static const struct form map_0f38[2][4] = {
    {{MOVBE, GPR, GPR, 4, WIDE | WORD | MEMORY}, {MOVBE, GPR, GPR, 4, WIDE | WORD | MEMORY}, NONE,
     {CRC32, GPR, GPR, 1, 0}},
    {{MOVBE, GPR, GPR, 4, WIDE | WORD | MEMORY}, {MOVBE, GPR, GPR, 4, WIDE | WORD | MEMORY}, NONE,
     {CRC32, GPR, GPR, 4, WIDE | WORD}},
};

/* D8 to DF, by modrm.reg: bytes of the memory operand, negative for stores. */
static const int8_t x87_memory[8][8] = {
    {4, 4, 4, 4, 4, 4, 4, 4},
    {4, 0, -4, -4, 28, 2, -28, -2},
    {4, 4, 4, 4, 4, 4, 4, 4},
    {4, 0, -4, -4, 0, 10, 0, -10},
    {8, 8, 8, 8, 8, 8, 8, 8},
    {8, 0, -8, -8, 108, 0, -108, -2},
    {2, 2, 2, 2, 2, 2, 2, 2},
    {2, 0, -2, -2, 10, 8, -10, -8},
};

/* Which of modrm C0 to FF exist. */
static const uint64_t x87_registers[8] = {
    0xffffffffffffffff, 0xffff7f330001ffff, 0x00000200ffffffff, 0x00ffff0cffffffff,
    0xffffffff0000ffff, 0x0000ffffffff00ff, 0xffffffff0200ffff, 0x00ffff0100000000,
};

/* ---- bytes ---------------------------------------------------------------------- */

struct cursor {
    const uint8_t *bytes;
    uint32_t count, at;
    bool truncated;
};

static uint8_t next(struct cursor *cursor)
{
    if (cursor->at < cursor->count)
        return cursor->bytes[cursor->at++];
    cursor->truncated = true;
    return 0;
}

static int32_t displacement(struct cursor *cursor, uint32_t size)
{
    uint32_t value = 0;

    for (uint32_t i = 0; i < size; i++)
        value |= (uint32_t)next(cursor) << 8 * i;
    return size == 1 ? (int8_t)value : (int32_t)value;
}

/* ---- prefixes ------------------------------------------------------------------- */

struct prefixes {
    uint8_t repeat; /* the last of F2 and F3 */
    bool address_size;
    const struct kvm_segment *segment;
};

/* Reads prefixes and returns the byte that follows.  REX counts only as the last prefix. */
static uint8_t read_prefixes(const struct cpu *cpu, struct cursor *cursor, struct insn *insn,
                             struct prefixes *prefixes)
{
    const struct kvm_sregs *sregs = &cpu->sregs;

    for (;;) {
        uint8_t byte = next(cursor), rex = 0;
        switch (byte) {
        case 0x26: prefixes->segment = cpu_long_mode(cpu) ? NULL : &sregs->es; break;
        case 0x2e: prefixes->segment = cpu_long_mode(cpu) ? NULL : &sregs->cs; break;
        case 0x36: prefixes->segment = cpu_long_mode(cpu) ? NULL : &sregs->ss; break;
        case 0x3e: prefixes->segment = cpu_long_mode(cpu) ? NULL : &sregs->ds; break;
        case 0x64: prefixes->segment = &sregs->fs; break;
        case 0x65: prefixes->segment = &sregs->gs; break;
        case 0x66: insn->operand16 = true; break;
        case 0x67: prefixes->address_size = true; break;
        case 0xf0: insn->locked = true; break;
        case 0xf2:
        case 0xf3: prefixes->repeat = byte; break;
        default:
            if (!cpu_long_mode(cpu) || byte >> 4 != 4)
                return byte;
            rex = byte;
        }
        insn->rex = rex;
        if (cursor->truncated)
            return 0;
    }
}

/* ---- modrm ---------------------------------------------------------------------- */

/* The address of modrm.rm, from its base, index and displacement. */
static void read_address(const struct cpu *cpu, struct cursor *cursor, struct insn *insn,
                         const struct prefixes *prefixes)
{
    uint8_t mod = insn->modrm >> 6, base = insn->modrm & 7, sib;
    const struct kvm_segment *segment = prefixes->segment;
    bool has_base = true, relative = false;
    uint64_t address = 0;

    if (base == 4) {
        sib = next(cursor);
        base = sib & 7;
        uint8_t index = (uint8_t)((sib >> 3 & 7) | (insn->rex & REX_X ? 8 : 0));
        if (index != 4)
            address = cpu_general_value(cpu, index) << (sib >> 6);
        has_base = mod || base != 5;
    } else if (base == 5 && !mod) {
        has_base = false;
        relative = cpu_long_mode(cpu);
    }
    if (has_base) {
        if (insn->rex & REX_B)
            base |= 8;
        address += cpu_general_value(cpu, base);
        insn->on_stack = !segment && (base == 4 || base == 5);
    }
    if (mod == 1)
        address += (uint64_t)displacement(cursor, 1);
    else if (mod == 2 || !has_base)
        address += (uint64_t)displacement(cursor, 4);
    if (insn->form.flags & IMMEDIATE)
        insn->immediate = next(cursor);
    if (relative)
        address += cpu->regs.rip + cursor->at;
    if (!cpu_long_mode(cpu) || prefixes->address_size)
        address = (uint32_t)address;
    if (!segment && !cpu_long_mode(cpu))
        segment = insn->on_stack ? &cpu->sregs.ss : &cpu->sregs.ds;
    if (segment)
        address += segment->base;
    insn->address = cpu_long_mode(cpu) ? address : (uint32_t)address;
}

static bool read_modrm(const struct cpu *cpu, struct cursor *cursor, struct insn *insn,
                       const struct prefixes *prefixes)
{
    insn->modrm = next(cursor);
    insn->in_memory = insn->modrm < 0xc0;
    insn->reg = (uint8_t)((insn->modrm >> 3 & 7) | (insn->rex & REX_R ? 8 : 0));
    insn->rm = (uint8_t)((insn->modrm & 7) | (insn->rex & REX_B ? 8 : 0));
    if (insn->form.flags & (insn->in_memory ? REGISTER : MEMORY))
        return false;
    if (insn->in_memory) {
        if (prefixes->address_size && !cpu_long_mode(cpu))
            return false; /* 16-bit addresses */
        read_address(cpu, cursor, insn, prefixes);
    } else if (insn->form.flags & IMMEDIATE) {
        insn->immediate = next(cursor);
    }
    return true;
}

/* ---- instructions ---------------------------------------------------------------- */

static bool read_opcode(struct cursor *cursor, struct insn *insn, uint8_t first)
{
    static const struct form int3 = {INT3, NOTHING, NOTHING, 0, BARE};
    static const struct form wait = {WAIT, NOTHING, NOTHING, 0, BARE};
    static const struct form x87 = {X87, NOTHING, NOTHING, 0, 0};

    insn->opcode = first;
    if (first == 0x0f) {
        insn->opcode = next(cursor);
        insn->form = map_0f[insn->opcode][insn->prefix];
        if (insn->opcode == 0x38) {
            insn->opcode = next(cursor);
            if (insn->opcode >> 1 != 0xf0 >> 1)
                return false;
            insn->form = map_0f38[insn->opcode & 1][insn->prefix];
        }
    } else if (first == 0xcc) {
        insn->form = int3;
    } else if (first == 0x9b) {
        insn->form = wait;
    } else if (first >> 3 == 0xd8 >> 3) {
        insn->form = x87;
    }
    return insn->form.how != INVALID;
}

static bool finish_x87(struct insn *insn)
{
    uint8_t row = insn->opcode & 7;
    int8_t size = x87_memory[row][insn->modrm >> 3 & 7];

    if (!insn->in_memory)
        return x87_registers[row] >> (insn->modrm & 63) & 1;
    insn->stores = size < 0;
    insn->form.size = (uint8_t)(size < 0 ? -size : size);
    if (size > 10 || size < -10)
        return !insn->operand16; /* with 66, the environment has 16-bit fields */
    return size != 0;
}

/* Decodes `bytes`, those at RIP.  Sets *truncated if there are too few. */
enum outcome insn_decode_bytes(const struct cpu *cpu, const uint8_t *bytes, uint32_t count,
                          struct insn *insn, bool *truncated)
{
    struct cursor cursor = {.bytes = bytes, .count = count};
    struct prefixes prefixes = {0};
    uint8_t first;
    bool known;

    memset(insn, 0, sizeof *insn);
    *truncated = false;
    if (!cpu_long_mode(cpu) && !cpu->sregs.cs.db)
        return UNKNOWN; /* 16-bit code */
    first = read_prefixes(cpu, &cursor, insn, &prefixes);
    insn->prefix = prefixes.repeat == 0xf3   ? PREFIX_F3
                   : prefixes.repeat == 0xf2 ? PREFIX_F2
                   : insn->operand16         ? PREFIX_66
                                             : PREFIX_NONE;
    known = read_opcode(&cursor, insn, first);
    if (known && insn->form.flags & WIDE)
        insn->form.size = insn->rex & REX_W                            ? 8
                          : insn->form.flags & WORD && insn->operand16 ? 2
                                                                       : 4;
    if (known && !(insn->form.flags & BARE))
        known = read_modrm(cpu, &cursor, insn, &prefixes);
    if (known && insn->form.how == X87)
        known = finish_x87(insn);
    if (insn->locked && insn->form.how != CMPXCHG16B)
        known = false;
    insn->length = (uint8_t)cursor.at;
    *truncated = cursor.truncated;
    return known && !cursor.truncated ? DONE : UNKNOWN;
}

/* Reads and decodes the instruction at RIP, which may extend into the next page. */
enum outcome insn_decode(struct cpu *cpu, struct insn *insn)
{
    uint64_t at = cpu->regs.rip + (cpu_long_mode(cpu) ? 0 : cpu->sregs.cs.base);
    uint32_t count = 4096 - (uint32_t)(at % 4096);
    uint8_t bytes[INSN_MAX];
    bool truncated;
    enum outcome outcome;

    if (count > INSN_MAX)
        count = INSN_MAX;
    outcome = virtual_access(cpu, at, bytes, count, FETCH, false);
    if (outcome != DONE)
        return outcome;
    outcome = insn_decode_bytes(cpu, bytes, count, insn, &truncated);
    if (!truncated || count == INSN_MAX)
        return outcome;
    outcome = virtual_access(cpu, at + count, bytes + count, INSN_MAX - count, FETCH, false);
    if (outcome != DONE)
        return outcome;
    return insn_decode_bytes(cpu, bytes, INSN_MAX, insn, &truncated);
}
