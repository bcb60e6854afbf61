/* Guest-virtual memory: 4- and 5-level paging (Intel SDM volume 3, section 4.5), or no
 * paging.  The guest may change its tables at any time, so every entry is read once. */
#include "emulate/emulate.h"

#include <string.h>

#define PAGE 4096u
#define ADDRESS 0x000ffffffffff000ull /* bits of a page-table entry */

#define PRESENT 1ull
#define WRITABLE 2ull
#define USER 4ull
#define ACCESSED 0x20ull
#define DIRTY 0x40ull
#define LARGE 0x80ull
#define NO_EXECUTE (1ull << 63)

/* Bits of a page fault's error code. */
#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_FETCH 16u

enum outcome cpu_fault_with(struct cpu *cpu, enum vector vector, uint32_t error)
{
    cpu->vector = vector;
    cpu->has_error = true;
    cpu->error = error;
    return FAULT;
}

enum outcome cpu_fault(struct cpu *cpu, enum vector vector)
{
    cpu->vector = vector;
    cpu->has_error = false;
    cpu->error = 0;
    return FAULT;
}

static bool in_ring_3(const struct cpu *cpu)
{
    return (cpu->sregs.cs.selector & 3) == 3;
}

static bool writes(enum access access)
{
    return access == WRITE || access == MODIFY;
}

static enum outcome page_fault(struct cpu *cpu, uint64_t address, enum access access,
                               bool present)
{
    uint32_t error = present ? PF_PRESENT : 0;

    if (writes(access))
        error |= PF_WRITE;
    if (in_ring_3(cpu))
        error |= PF_USER;
    if (access == FETCH && cpu->sregs.efer & EFER_NXE)
        error |= PF_FETCH;
    cpu->sregs.cr2 = address;
    return cpu_fault_with(cpu, PF, error);
}

/* Whether a page with these rights, combined from all levels, allows the access. */
static bool allowed(const struct cpu *cpu, uint64_t rights, enum access access)
{
    bool user = in_ring_3(cpu);

    if (user && !(rights & USER))
        return false;
    if (writes(access) && !(rights & WRITABLE))
        return !user && !(cpu->sregs.cr0 & CR0_WP);
    return access != FETCH || !(rights & NO_EXECUTE) || !(cpu->sregs.efer & EFER_NXE);
}

static enum outcome walk(struct cpu *cpu, uint64_t address, enum access access,
                         uint64_t *physical)
{
    uint64_t table = cpu->sregs.cr3 & ADDRESS, rights = WRITABLE | USER, entry, *at, size;
    uint32_t shift = cpu->sregs.cr4 & CR4_LA57 ? 48 : 39;

    for (;; shift -= 9) {
        at = (uint64_t *)ram_at(cpu->ram, table + 8 * (address >> shift & 511), 8);
        if (!at)
            return UNKNOWN;
        entry = __atomic_load_n(at, __ATOMIC_RELAXED);
        if (!(entry & PRESENT))
            return page_fault(cpu, address, access, false);
        rights = (rights & (entry | NO_EXECUTE)) | (entry & NO_EXECUTE);
        if (shift == 12 || (shift <= 30 && entry & LARGE))
            break;
        __atomic_fetch_or(at, ACCESSED, __ATOMIC_RELAXED);
        table = entry & ADDRESS;
    }
    if (!allowed(cpu, rights, access))
        return page_fault(cpu, address, access, true);
    __atomic_fetch_or(at, writes(access) ? ACCESSED | DIRTY : ACCESSED, __ATOMIC_RELAXED);
    size = 1ull << shift;
    *physical = (entry & ADDRESS & ~(size - 1)) | (address & (size - 1));
    return DONE;
}

/* Translates `address` to *physical. */
static enum outcome translate(struct cpu *cpu, uint64_t address, enum access access,
                              uint64_t *physical)
{
    if (!(cpu->sregs.cr0 & CR0_PG)) {
        *physical = (uint32_t)address;
        return DONE;
    }
    return cpu->sregs.efer & EFER_LMA ? walk(cpu, address, access, physical) : UNKNOWN;
}

static bool canonical(const struct cpu *cpu, uint64_t address)
{
    uint32_t unused = cpu->sregs.cr4 & CR4_LA57 ? 7 : 16;
    return !cpu_long_mode(cpu) || (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

/* Copies all or nothing between `data` and at most a page at `address`. */
enum outcome virtual_access(struct cpu *cpu, uint64_t address, void *data, uint32_t size,
                            enum access access, bool on_stack)
{
    uint32_t first = PAGE - (uint32_t)(address % PAGE);
    uint64_t physical[2];
    uint8_t *host[2] = {NULL, NULL};
    enum outcome outcome;

    if (!canonical(cpu, address) || !canonical(cpu, address + size - 1))
        return cpu_fault_with(cpu, on_stack ? SS : GP, 0);
    if (first > size)
        first = size;
    for (uint32_t i = 0, at = 0; at < size; at += first, i++) {
        outcome = translate(cpu, address + at, access, &physical[i]);
        if (outcome != DONE)
            return outcome;
        host[i] = ram_at(cpu->ram, physical[i], i ? size - first : first);
        if (!host[i])
            return UNKNOWN; /* not RAM */
        if (i)
            break;
    }
    if (access == WRITE) {
        memcpy(host[0], data, first);
        if (host[1])
            memcpy(host[1], (uint8_t *)data + first, size - first);
    } else {
        memcpy(data, host[0], first);
        if (host[1])
            memcpy((uint8_t *)data + first, host[1], size - first);
    }
    return DONE;
}

/* Sets *host to the host address of the 16 bytes that an instruction will write. */
enum outcome virtual_find(struct cpu *cpu, const struct insn *insn, uint8_t **host)
{
    uint64_t physical;
    enum outcome outcome;

    if (insn->address % 16)
        return cpu_fault_with(cpu, GP, 0);
    if (!canonical(cpu, insn->address))
        return cpu_fault_with(cpu, insn->on_stack ? SS : GP, 0);
    outcome = translate(cpu, insn->address, MODIFY, &physical);
    if (outcome != DONE)
        return outcome;
    *host = ram_at(cpu->ram, physical, 16);
    return *host ? DONE : UNKNOWN;
}
