/* Reads and checks a State.
 *
 * The file is as hostile as a guest: its head is copied first, and everything in it is
 * checked before anything is made of it.  It can name neither files of the host nor
 * ports nor paths. */
#include "state.h"
#include "bootinfo.h"
#include "memory/ram.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096ull
#define MEMORY_MIN (16ull << 20)
#define CPUID_MAX 256

_Static_assert(sizeof(struct state_header) == 224, "docs/frozen-format.md");

/* A section of each kind: its size in bytes, or that of one of its entries. */
static const struct {
    const char *name;
    uint32_t size, head; /* of the fixed part before entries */
    bool entries, of_cpu;
    uint32_t count_max; /* of sections that are not a vCPU's */
} kinds[STATE_KINDS] = {
    [STATE_KEY] = {"key", 1, 0, true, false, 1},
    [STATE_PAGES] = {"pages", sizeof(struct state_run), 0, true, false, 1},
    [STATE_SERIAL] = {"serial", 32, 0, false, false, 1},
    [STATE_DEVICE] = {"device", 1, 0, true, false, STATE_DEVICES},
    [STATE_PIC] = {"pic", sizeof(struct kvm_irqchip), 0, false, false, 2},
    [STATE_IOAPIC] = {"ioapic", sizeof(struct kvm_irqchip), 0, false, false, 1},
    [STATE_PIT] = {"pit", sizeof(struct kvm_pit_state2), 0, false, false, 1},
    [STATE_CLOCK] = {"clock", sizeof(struct kvm_clock_data), 0, false, false, 1},
    [STATE_CPUID] = {"cpuid", sizeof(struct kvm_cpuid_entry2), sizeof(struct kvm_cpuid2), true, true, 0},
    [STATE_REGS] = {"regs", sizeof(struct kvm_regs), 0, false, true, 0},
    [STATE_SREGS] = {"sregs", sizeof(struct kvm_sregs), 0, false, true, 0},
    [STATE_XCRS] = {"xcrs", sizeof(struct kvm_xcrs), 0, false, true, 0},
    [STATE_XSAVE] = {"xsave", sizeof(struct kvm_xsave), 0, false, true, 0},
    [STATE_MSR] = {"msrs", sizeof(struct kvm_msr_entry), 0, true, true, 0},
    [STATE_LAPIC] = {"lapic", sizeof(struct kvm_lapic_state), 0, false, true, 0},
    [STATE_DEBUG] = {"debugregs", sizeof(struct kvm_debugregs), 0, false, true, 0},
    [STATE_EVENTS] = {"events", sizeof(struct kvm_vcpu_events), 0, false, true, 0},
    [STATE_MP] = {"mp_state", sizeof(struct kvm_mp_state), 0, false, true, 0},
    [STATE_TSC] = {"tsc", sizeof(uint64_t), 0, false, true, 0},
};

__attribute__((format(printf, 2, 3))) static bool wrong(struct state *state, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(state->error, sizeof state->error, format, arguments);
    va_end(arguments);
    return false;
}

/* Continues a sum of data against damage, not against malice.  Start with 0; only the last
 * part may be no multiple of 8 bytes. */
uint64_t state_sum(uint64_t sum, const void *data, uint64_t size)
{
    const uint8_t *at = data;
    uint64_t word;

    for (; size; at += sizeof word) {
        uint64_t length = size < sizeof word ? size : sizeof word;

        word = 0;
        memcpy(&word, at, length);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15;
        sum ^= sum >> 29;
        size -= length;
    }
    return sum;
}

/* ---- the table of sections ---------------------------------------------- */

/* Finds a section, which is NULL if there is none. */
const void *state_section(const struct state *state, enum state_kind kind, uint32_t index, uint64_t *size)
{
    uint64_t wanted = (uint64_t)kind << 32 | index;
    uint32_t low = 0, high = state->header->sections;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct state_section *section = &state->sections[middle];
        uint64_t here = (uint64_t)section->kind << 32 | section->index;

        if (here == wanted) {
            if (size)
                *size = section->size;
            return (const uint8_t *)state->header + section->offset;
        }
        if (here < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool check_section(struct state *state, uint32_t number)
{
    const struct state_section *section = &state->sections[number], *before = section - 1;
    uint64_t head_size = state->header->head_size;
    uint32_t most;

    if (section->kind >= STATE_KINDS)
        return wrong(state, "section %u: kind is %u", number, section->kind);
    most = kinds[section->kind].of_cpu ? state->header->cpus : kinds[section->kind].count_max;
    if (section->index >= most)
        return wrong(state, "section %u (%s): index is %u of %u", number, kinds[section->kind].name,
                     section->index, most);
    if (number && (uint64_t)before->kind << 32 >= (uint64_t)section->kind << 32 &&
        !(before->kind == section->kind && before->index < section->index))
        return wrong(state, "section %u (%s): not in order", number, kinds[section->kind].name);
    if (section->offset % 8 || section->offset > head_size || section->size > head_size - section->offset)
        return wrong(state, "section %u (%s): offset %#llx and size %#llx are not within the head", number,
                     kinds[section->kind].name, (unsigned long long)section->offset,
                     (unsigned long long)section->size);
    if (section->size < kinds[section->kind].head ||
        (kinds[section->kind].entries
             ? (section->size - kinds[section->kind].head) % kinds[section->kind].size
             : section->size != kinds[section->kind].size))
        return wrong(state, "section %u (%s): size is %llu", number, kinds[section->kind].name,
                     (unsigned long long)section->size);
    return true;
}

/* ---- registers ---------------------------------------------------------- */

#define CR0_PE (1ull << 0)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

static bool wrong_cpu(struct state *state, uint32_t cpu, const char *what, uint64_t value)
{
    return wrong(state, "vCPU %u: %s is %#llx", cpu, what, (unsigned long long)value);
}

/* What KVM refuses (Intel SDM volume 3, section 4.1.1), or takes and then cannot enter. */
static bool check_sregs(struct state *state, uint32_t cpu, const struct kvm_sregs *sregs)
{
    bool paging = sregs->cr0 & CR0_PG;

    if (sregs->cr0 >> 32 || (paging && !(sregs->cr0 & CR0_PE)))
        return wrong_cpu(state, cpu, "sregs.cr0", sregs->cr0);
    if (sregs->cr4 >> 32)
        return wrong_cpu(state, cpu, "sregs.cr4", sregs->cr4);
    if (paging && sregs->efer & EFER_LME ? !(sregs->cr4 & CR4_PAE) || !(sregs->efer & EFER_LMA)
                                         : sregs->efer & EFER_LMA || sregs->cs.l)
        return wrong_cpu(state, cpu, "sregs.efer", sregs->efer);
    if (sregs->cr3 >> 52)
        return wrong_cpu(state, cpu, "sregs.cr3", sregs->cr3);
    if (sregs->cr8 > 15)
        return wrong_cpu(state, cpu, "sregs.cr8", sregs->cr8);
    if (sregs->apic_base >> 52)
        return wrong_cpu(state, cpu, "sregs.apic_base", sregs->apic_base);
    return true;
}

static bool check_xcrs(struct state *state, uint32_t cpu, const struct kvm_xcrs *xcrs)
{
    if (xcrs->nr_xcrs > 1 || xcrs->flags || (xcrs->nr_xcrs && (xcrs->xcrs[0].xcr || !(xcrs->xcrs[0].value & 1))))
        return wrong_cpu(state, cpu, "xcrs.nr_xcrs", xcrs->nr_xcrs);
    return true;
}

/* Those that a guest of ours may change (Intel SDM volume 4); TSC is a section of its own. */
static bool is_known_msr(uint32_t index)
{
    return index == 0x1b || (index >= 0x174 && index <= 0x176) || index == 0x1a0 || index == 0x277 ||
           index == 0x3b || index == 0x48 || index == 0x6e0 || index == 0xda0 ||
           (index >= 0xc0000080 && index <= 0xc0000084) || (index >= 0xc0000100 && index <= 0xc0000103) ||
           index == 0x11 || index == 0x12 || (index >= 0x4b564d00 && index <= 0x4b564d04) ||
           (index >= 0x200 && index <= 0x20f) || index == 0x250 || index == 0x258 || index == 0x259 ||
           (index >= 0x268 && index <= 0x26f) || index == 0x2ff;
}

static bool check_msrs(struct state *state, uint32_t cpu, const struct kvm_msr_entry *msr, uint64_t size)
{
    if (size / sizeof *msr > STATE_MSRS)
        return wrong_cpu(state, cpu, "number of MSRs", size / sizeof *msr);
    for (const struct kvm_msr_entry *end = msr + size / sizeof *msr; msr < end; msr++)
        if (!is_known_msr(msr->index) || msr->reserved)
            return wrong_cpu(state, cpu, "index of an MSR", msr->index);
    return true;
}

static bool check_cpu(struct state *state, uint32_t cpu)
{
    const struct kvm_cpuid2 *cpuid;
    const struct kvm_debugregs *debug;
    const struct kvm_mp_state *mp;
    const void *section;
    uint64_t size;

    cpuid = state_section(state, STATE_CPUID, cpu, &size);
    if (!cpuid || cpuid->nent > CPUID_MAX || size != sizeof *cpuid + cpuid->nent * sizeof *cpuid->entries)
        return wrong_cpu(state, cpu, "number of cpuid entries", cpuid ? cpuid->nent : 0);
    if ((section = state_section(state, STATE_SREGS, cpu, NULL)) && !check_sregs(state, cpu, section))
        return false;
    if ((section = state_section(state, STATE_XCRS, cpu, NULL)) && !check_xcrs(state, cpu, section))
        return false;
    if ((section = state_section(state, STATE_MSR, cpu, &size)) && !check_msrs(state, cpu, section, size))
        return false;
    debug = state_section(state, STATE_DEBUG, cpu, NULL);
    if (debug && (debug->dr6 >> 32 || debug->dr7 >> 32 || debug->flags))
        return wrong_cpu(state, cpu, "debugregs.dr7", debug->dr7);
    mp = state_section(state, STATE_MP, cpu, NULL);
    if (mp && mp->mp_state > KVM_MP_STATE_SIPI_RECEIVED)
        return wrong_cpu(state, cpu, "mp_state", mp->mp_state);
    return true;
}

/* ---- the machine and its memory ----------------------------------------- */

static bool check_machine(struct state *state, const struct ram *ram)
{
    const struct state_header *header = state->header;

    if (header->memory < MEMORY_MIN || header->memory > RAM_MAX || header->memory % PAGE)
        return wrong(state, "memory is %#llx", (unsigned long long)header->memory);
    if (!header->cpus || header->cpus > STATE_CPUS)
        return wrong(state, "cpus is %u", header->cpus);
    if (header->flags & ~(uint32_t)(STATE_PC | STATE_HAS_RUN | STATE_OWN_PIT) || header->reserved ||
        (header->flags & (STATE_PC | STATE_OWN_PIT)) == STATE_OWN_PIT)
        return wrong(state, "flags are %#x", header->flags);
    if (header->boot_info &&
        (header->boot_info % 8 || !ram_at(ram, header->boot_info, sizeof(struct boot_info))))
        return wrong(state, "boot_info is %#llx", (unsigned long long)header->boot_info);
    if (header->end > ram->region[0].size)
        return wrong(state, "end is %#llx", (unsigned long long)header->end);
    if (header->device_count > STATE_DEVICES)
        return wrong(state, "device_count is %u", header->device_count);
    return true;
}

static bool check_runs(struct state *state, const struct ram *ram)
{
    const struct state_header *header = state->header;
    uint64_t room = header->file_size - header->head_size, at = 0, size = 0;

    state->runs = state_section(state, STATE_PAGES, 0, &size);
    state->run_count = (uint32_t)(size / sizeof *state->runs);
    for (uint32_t i = 0; i < state->run_count; i++) {
        const struct state_run *run = &state->runs[i];

        if (run->address % PAGE || run->size % PAGE || !run->size || run->address < at ||
            !ram_at(ram, run->address, run->size))
            return wrong(state, "pages: run %u at %#llx of %#llx bytes", i, (unsigned long long)run->address,
                         (unsigned long long)run->size);
        if (run->size > room)
            return wrong(state, "truncated: run %u of its pages is not there", i);
        room -= run->size;
        at = run->address + run->size;
    }
    if (room)
        return wrong(state, "file_size is %llu, %llu bytes more than its pages",
                     (unsigned long long)header->file_size, (unsigned long long)room);
    return true;
}

/* Checks a State whose head is at `head`, where nobody else writes.  It stays the caller's,
 * who keeps it as long as the State.  Returns false with state->error if it is not one.
 *
 * size, file_size: bytes of the head, and of the file. */
bool state_check(struct state *state, const void *head, uint64_t size, uint64_t file_size)
{
    const struct state_header *header = head;
    struct ram ram = {0};

    *state = (struct state){.fd = -1, .header = header, .sections = (const void *)(header + 1)};
    if (size < sizeof *header || memcmp(header->magic, STATE_MAGIC, sizeof header->magic))
        return wrong(state, "not a frozen guest");
    if (header->version != STATE_VERSION)
        return wrong(state, "version is %u; this pyvmm knows %u", header->version, STATE_VERSION);
    if (header->head_size != size || header->head_size % PAGE)
        return wrong(state, "head_size is %llu", (unsigned long long)header->head_size);
    if (header->file_size != file_size || file_size < size)
        return wrong(state, "truncated: file_size is %llu, and the file has %llu bytes",
                     (unsigned long long)header->file_size, (unsigned long long)file_size);
    if (header->sections > (size - sizeof *header) / sizeof *state->sections)
        return wrong(state, "sections is %u", header->sections);
    ram_lay_out(&ram, header->memory, (uint8_t *)PAGE); /* only compared with NULL */
    if (!check_machine(state, &ram))
        return false;
    for (uint32_t i = 0; i < header->sections; i++)
        if (!check_section(state, i))
            return false;
    for (uint32_t cpu = 0; cpu < header->cpus; cpu++)
        if (!check_cpu(state, cpu))
            return false;
    return check_runs(state, &ram);
}

/* ---- files -------------------------------------------------------------- */

static bool read_all(int fd, void *to, uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t count = pread(fd, (uint8_t *)to + done, size - done, (off_t)done);

        if (count <= 0)
            return false;
        done += (uint64_t)count;
    }
    return true;
}

static uint64_t head_sum(struct state_header *header)
{
    uint64_t sum, was = header->head_sum;

    header->head_sum = 0;
    sum = state_sum(0, header, header->head_size);
    header->head_sum = was;
    return sum;
}

/* Reads and checks a file; `fd` stays the caller's, who keeps it open until
 * state_close().  Returns false with state->error if it is no State. */
bool state_open(struct state *state, int fd)
{
    struct state_header header;
    struct stat status;
    void *head;

    *state = (struct state){.fd = -1};
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return wrong(state, "not a regular file");
    if (!read_all(fd, &header, sizeof header) || memcmp(header.magic, STATE_MAGIC, sizeof header.magic))
        return wrong(state, "not a frozen guest");
    if (header.head_size < sizeof header || header.head_size > STATE_HEAD_MAX)
        return wrong(state, "head_size is %llu", (unsigned long long)header.head_size);
    head = malloc(header.head_size);
    if (!head)
        return wrong(state, "no memory for its head");
    if (!read_all(fd, head, header.head_size)) {
        free(head);
        return wrong(state, "truncated in its head");
    }
    if (head_sum(head) != ((struct state_header *)head)->head_sum ||
        ((struct state_header *)head)->head_size != header.head_size) {
        free(head);
        return wrong(state, "damaged: head_sum is not that of its head");
    }
    if (!state_check(state, head, header.head_size, (uint64_t)status.st_size)) {
        free(head);
        return false;
    }
    state->owned = head;
    state->fd = fd;
    return true;
}

/* Frees what state_open() has read. */
void state_close(struct state *state)
{
    free(state->owned);
    state->owned = NULL;
    state->header = NULL;
}
