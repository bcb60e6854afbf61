/* Fuzzes the instruction emulator: an input is a CPU and its memory.
 *
 *     byte 0        1: 64-bit mode and paging, with tables made here; 2: with tables from
 *                   the input; 4: 5 levels; 8: ring 3; 16: the code is at the end of a
 *                   page
 *     16 bytes      the code
 *     16 bytes      general registers, times 16 and sign-extended
 *     416 bytes     x87 and SSE registers, as FXSAVE stores them
 *     then          RAM from guest-physical 0, page tables at 0x1000
 *
 * RAM is allocated to the byte, so that the address sanitizer detects an access one byte
 * outside it. */
#include "emulate/emulate.h"
#include "fuzz.h"

#define RAM_SIZE 0x6000u
#define TABLES 0x1000u
#define CODE 0x5000u
#define FX 416u
#define HEAD (1 + 16 + 16 + FX)

static void make_tables(uint8_t *ram)
{
    for (uint32_t level = 0; level < 4; level++) {
        uint64_t entry = level < 3 ? TABLES + 0x1000 * (level + 1) : 0;
        for (uint32_t i = 0; i < (level < 3 ? 1 : 8); i++) {
            entry = (level < 3 ? entry : 0x1000 * i) | 7;
            memcpy(ram + TABLES + 0x1000 * level + 8 * i, &entry, sizeof entry);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ram ram = {0};
    struct cpu cpu = {.ram = &ram, .sregs.cr3 = TABLES};
    struct insn insn;
    enum outcome outcome;

    if (size < HEAD)
        return 0;
    uint8_t *memory = calloc(1, RAM_SIZE);
    ram_add(&ram, 0, RAM_SIZE, memory);
    memcpy(memory, data + HEAD, size - HEAD < RAM_SIZE ? size - HEAD : RAM_SIZE);
    if (!(data[0] & 2))
        make_tables(memory);
    cpu.regs.rip = data[0] & 16 ? CODE - 4 : CODE;
    memcpy(memory + cpu.regs.rip, data + 1, 16);
    for (uint8_t i = 0; i < 16; i++)
        *cpu_general(&cpu, i) = (uint64_t)(int64_t)(int8_t)data[17 + i] * 16;
    memcpy(&cpu.fx, data + 33, FX);
    cpu.sregs.cr0 = data[0] & 1 ? CR0_PG | CR0_WP : 0;
    cpu.sregs.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | (data[0] & 4 ? CR4_LA57 : 0);
    cpu.sregs.efer = data[0] & 1 ? EFER_LMA | EFER_NXE : 0;
    cpu.sregs.cs.l = data[0] & 1;
    cpu.sregs.cs.db = !(data[0] & 1);
    cpu.sregs.cs.selector = data[0] & 8 ? 0x33 : 8;

    outcome = insn_decode(&cpu, &insn);
    if (outcome == DONE) {
        uint64_t rip = cpu.regs.rip;
        check(insn.length && insn.length <= INSN_MAX, "length");
        outcome = insn_execute(&cpu, &insn);
        check(cpu.regs.rip == rip + (outcome == DONE ? insn.length : 0u), "RIP");
    }
    check(outcome == UNKNOWN || outcome == DONE || cpu.vector < 32, "vector");
    free(memory);
    return 0;
}
