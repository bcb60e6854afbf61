/* The floor: what booting a Toro image costs without Python.
 *
 *     floor IMAGE MEMORY_BYTES [MARKS.json]
 *
 * A static C program around pyvmm's own C parts.  It starts the image by the same
 * protocol (docs/boot-protocol.md) with the ioctls that pyvmm makes for one vCPU,
 * in pyvmm's order, and exits with the guest's status.  As a floor it may cut
 * corners: it trusts the image, runs the vCPU in its only thread, has no console
 * input, and leaves cleaning up to exit(2).
 *
 * MARKS.json gets CLOCK_MONOTONIC in ns of each step. */
#define _GNU_SOURCE
#include "early.h"
#include "host.h"
#include "memory/paging.h"
#include "serial.h"
#include "vcpu.h"

#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define STATUS_GUEST 124
#define STATUS_HOST 125

#define PAGE 4096ull
#define GIB (1ull << 30)
#define MMIO_HOLE (3 * GIB)
#define HIGH_RAM (4 * GIB)

#define SERIAL_PORT 0x3f8
#define SERIAL_GSI 4
#define SERIAL_VECTOR (32 + SERIAL_GSI)
#define DEBUG_EXIT_PORT 0xf4

/* Page-table entries, Intel SDM volume 3, section 4.5. */
#define PRESENT 0x001ull
#define WRITABLE 0x002ull
#define USER 0x004ull
#define UNCACHED 0x018ull
#define NX (1ull << 63)
#define DATA (PRESENT | WRITABLE | USER | NX)
#define PF_SUPERVISOR 0x100000u

struct memory_entry {
    uint64_t start, size;
    uint32_t type, reserved;
};

enum { FREE = 1, IN_USE = 2 };
enum { MARK_ENTRY, MARK_KERNEL, MARK_APPLICATION };

/* docs/boot-protocol.md, "The boot-info block", followed by its tables. */
struct boot_info {
    uint32_t magic, version, size, cpu_count;
    uint64_t tsc_hz, wall_clock_ns, wall_clock_tsc, command_line;
    uint32_t command_line_size, memory_map_count;
    uint64_t memory_map, devices;
    uint32_t device_count, console_vector;
    uint64_t cpu_areas, cpu_area_size;
    uint32_t supervisor_size, stack_size;
    uint8_t reserved[24];
    uint64_t marks[16];
    struct memory_entry map[5];
    char empty_command_line[8];
};
_Static_assert(offsetof(struct boot_info, map) == 256, "size of the block");

struct image {
    int fd, count;
    Elf64_Phdr load[64]; /* PT_LOAD only, ascending */
    uint64_t entry, end;
    uint32_t supervisor_size, stack_size;
};

struct machine {
    struct early early;
    int vm;
    struct vcpu vcpu;
    struct bus bus;
    struct ram ram;
    struct slots slots;
    struct serial serial;
    uint8_t *host;
    uint64_t low_size, high_size; /* RAM below and above the MMIO hole */
    uint64_t area, info, tables, tables_end, root;
    bool gigabyte_pages, fsgsbase;
    uint64_t tsc_offset, clock_tsc, clock_ns, exit_ns;
};

static int check(int result, const char *what)
{
    if (result < 0)
        err(STATUS_HOST, "%s", what);
    return result;
}

#define IOCTL(fd, request, argument) check(ioctl(fd, request, argument), #request)

static uint64_t page_up(uint64_t address)
{
    return (address + PAGE - 1) & -PAGE;
}

/* ---- image -------------------------------------------------------------- */

static void read_at(int fd, void *to, uint64_t size, uint64_t offset)
{
    if (pread(fd, to, size, (off_t)offset) != (ssize_t)size)
        err(STATUS_HOST, "image");
}

/* Finds the direct-boot note among those of a PT_NOTE (gABI chapter 5). */
static void parse_notes(struct image *image, const Elf64_Phdr *header)
{
    uint8_t notes[4096];
    Elf64_Nhdr *note;

    if (header->p_filesz > sizeof notes)
        errx(STATUS_HOST, "image: too many notes");
    read_at(image->fd, notes, header->p_filesz, header->p_offset);
    for (uint64_t at = 0, desc; at + sizeof *note <= header->p_filesz;
         at = desc + ((note->n_descsz + 3) & ~3u)) {
        note = (void *)(notes + at);
        desc = at + sizeof *note + ((note->n_namesz + 3) & ~3u);
        if (note->n_type != 1 || strcmp((char *)(note + 1), "Toro"))
            continue;
        memcpy(&image->entry, notes + desc + 8, 8);
        memcpy(&image->supervisor_size, notes + desc + 16, 4);
        memcpy(&image->stack_size, notes + desc + 20, 4);
    }
}

static void open_image(struct image *image, const char *path)
{
    Elf64_Ehdr header;
    Elf64_Phdr table[64];

    image->fd = check(open(path, O_RDONLY | O_CLOEXEC), path);
    read_at(image->fd, &header, sizeof header, 0);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_phnum > 64)
        errx(STATUS_HOST, "%s: not a Toro image", path);
    read_at(image->fd, table, header.e_phnum * sizeof *table, header.e_phoff);
    for (int i = 0; i < header.e_phnum; i++) {
        if (table[i].p_type == PT_NOTE)
            parse_notes(image, &table[i]);
        if (table[i].p_type != PT_LOAD || !table[i].p_memsz)
            continue;
        image->load[image->count++] = table[i];
        image->end = table[i].p_paddr + table[i].p_memsz;
    }
    if (!image->entry)
        errx(STATUS_HOST, "%s: no direct-boot note", path);
}

/* ---- memory ------------------------------------------------------------- */

static void create_memory(struct machine *m, uint64_t size)
{
    m->host = map_memory(m->early.memory_fd, size, m->early.host);
    if (!m->host)
        err(STATUS_HOST, "guest memory");
    m->low_size = size < MMIO_HOLE ? size : MMIO_HOLE;
    m->high_size = size - m->low_size;
    ram_add(&m->ram, 0, m->low_size, m->host);
    if (m->high_size)
        ram_add(&m->ram, HIGH_RAM, m->high_size, m->host + m->low_size);
}

static void load(struct machine *m, const struct image *image)
{
    for (int i = 0; i < image->count; i++)
        read_at(image->fd, m->host + image->load[i].p_paddr, image->load[i].p_filesz,
                image->load[i].p_offset);
    m->area = page_up(image->end);
    m->info = m->area + image->supervisor_size + PAGE + image->stack_size;
    m->tables = page_up(m->info + sizeof(struct boot_info));
}

static uint64_t rights(uint32_t flags)
{
    if (!(flags & 7))
        return 0;
    return PRESENT | (flags & PF_W ? WRITABLE : 0) | (flags & PF_SUPERVISOR ? 0 : USER) |
           (flags & PF_X ? 0 : NX);
}

static void build_tables(struct machine *m, const struct image *image)
{
    static const uint64_t gdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    uint64_t guard = m->area + image->supervisor_size;
    struct paging paging;

    memcpy(m->host + m->tables, gdt, sizeof gdt);
    paging_init(&paging, m->host, m->tables + PAGE, m->low_size, m->gigabyte_pages);
    paging_map(&paging, 0, m->low_size, DATA);
    paging_map(&paging, HIGH_RAM, HIGH_RAM + m->high_size, DATA);
    paging_map(&paging, MMIO_HOLE, HIGH_RAM, DATA | UNCACHED);
    paging_map(&paging, 0, PAGE, 0);
    for (int i = 0; i < image->count; i++)
        paging_map(&paging, image->load[i].p_paddr,
                   page_up(image->load[i].p_paddr + image->load[i].p_memsz),
                   rights(image->load[i].p_flags));
    paging_map(&paging, m->area, guard, DATA & ~USER);
    paging_map(&paging, guard, guard + PAGE, 0);
    m->tables_end = paging.next + 4 * PAGE;
    if (paging_map(&paging, m->tables, m->tables_end, DATA & ~USER) < 0)
        err(STATUS_HOST, "page tables");
    m->root = paging.root;
}

static void make_slots(struct machine *m)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};

    IOCTL(m->vm, KVM_ENABLE_CAP, &cap);
    slots_init(&m->slots, m->vm, &m->ram, EARLY_SLOT);
    m->bus.ram = &m->ram;
    m->bus.slots = &m->slots;
}

/* ---- CPUID: the table of pyvmm/boot/cpuid.py ---------------------------- */

struct cpuid_table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[10];
};

static struct kvm_cpuid_entry2 host_leaf(uint32_t leaf)
{
    uint32_t out[4];

    cpuid(leaf, 0, out);
    return (struct kvm_cpuid_entry2){
        .function = leaf, .eax = out[0], .ebx = out[1], .ecx = out[2], .edx = out[3],
        .flags = leaf == 7 ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
    };
}

static void make_cpuid(struct machine *m, struct cpuid_table *table)
{
    struct kvm_cpuid_entry2 *e = table->entries;
    bool hardware;

    *table = (struct cpuid_table){
        .head.nent = 10,
        .entries = {host_leaf(0), host_leaf(1), host_leaf(7),
                    {.function = 0x40000000, .eax = 0x40000000, .ebx = 0x4b4d564b,
                     .ecx = 0x564b4d56, .edx = 0x4d}, /* KVMKVMKVM */
                    host_leaf(0x80000000), host_leaf(0x80000001), host_leaf(0x80000007),
                    host_leaf(0x80000008),
                    {.function = 0xb, .index = 0, .ebx = 1, .ecx = 0x100,
                     .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX},
                    {.function = 0xb, .index = 1, .ebx = 1, .ecx = 0x201,
                     .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX}},
    };
    /* Without VMX or SVM, KVM supports less than its host: only the baseline. */
    hardware = e[1].ecx & 1u << 5 || e[5].ecx & 1u << 2;
    e[0].eax = 0xb;
    e[1].ebx = (e[1].ebx & 0xff00) | 1 << 16;
    e[1].ecx = (e[1].ecx & (hardware ? 0x42d82203 : 1u << 13)) | 1u << 31;
    e[1].edx &= 0x0789a3f1;
    e[2].ebx &= hardware ? 0x218c0389 : 0;
    e[2].eax = e[2].ecx = e[2].edx = 0;
    e[4].eax = 0x80000008;
    e[5].ebx = 0;
    e[5].ecx &= hardware ? 0x21 : 0x1;
    e[5].edx &= hardware ? 0x2c100800 : 0x20100800;
    e[6].eax = e[6].ebx = e[6].ecx = 0;
    e[6].edx &= 1u << 8;
    e[7].ebx = e[7].ecx = e[7].edx = 0;
    m->fsgsbase = e[2].ebx & 1;
    m->gigabyte_pages = e[5].edx & 1u << 26;
}

/* ---- virtual machine and CPU -------------------------------------------- */

/* Returns the size of a kvm_run area. */
static int create_vm(struct machine *m)
{
    int kvm;

    if (!early_make(&m->early))
        err(STATUS_HOST, "/dev/kvm");
    kvm = m->early.kvm_fd;
    m->vm = m->early.vm_fd;
    if (IOCTL(kvm, KVM_GET_API_VERSION, 0) != 12 ||
        !IOCTL(kvm, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) ||
        !IOCTL(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SPLIT_IRQCHIP) ||
        !IOCTL(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS))
        errx(STATUS_HOST, "/dev/kvm: too old");
    return IOCTL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){.limit = 0xffffffff, .selector = selector, .type = type,
                                .present = 1, .s = 1, .db = 1, .g = 1};
}

static void set_registers(const struct machine *m, const struct image *image)
{
    struct kvm_segment data = segment(16, 3);
    struct kvm_sregs sregs = {
        .cs = segment(8, 11), .ds = data, .es = data, .fs = data, .gs = data, .ss = data,
        /* 64-bit mode needs a busy TSS (Intel SDM volume 3, 26.3.1.2). */
        .tr = {.limit = 0x67, .type = 11, .present = 1},
        .ldt.unusable = 1,
        .gdt = {.base = m->tables, .limit = 3 * 8 - 1},
        .cr0 = 0x80010033, /* PG WP NE ET MP PE */
        .cr3 = m->root,
        .cr4 = 0x620 | (m->fsgsbase ? 1u << 16 : 0), /* PAE OSFXSR OSXMMEXCPT */
        .efer = 0xd00, /* LME LMA NXE */
        .apic_base = 0xfee00900,
    };
    struct kvm_regs regs = {
        .rip = image->entry,
        .rflags = 2,
        .rdi = m->info,
        .rsp = m->area + image->supervisor_size,
        .rdx = m->info,
    };
    sregs.cs.l = 1;
    sregs.cs.db = 0;
    IOCTL(m->vcpu.fd, KVM_SET_SREGS, &sregs);
    IOCTL(m->vcpu.fd, KVM_SET_REGS, &regs);
}

static void create_vcpu(struct machine *m, const struct image *image,
                        struct cpuid_table *table, size_t run_size)
{
    if (vcpu_init(&m->vcpu, m->early.vcpu_fd, run_size, 0, &m->bus) < 0)
        err(STATUS_HOST, "mapping kvm_run");
    IOCTL(m->vcpu.fd, KVM_SET_CPUID2, table);
    set_registers(m, image);
}

static void route_console(const struct machine *m)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entry;
    } routing = {
        .head.nr = 1,
        .entry = {.gsi = SERIAL_GSI, .type = KVM_IRQ_ROUTING_MSI,
                  .u.msi = {.address_lo = 0xfee00000, .data = SERIAL_VECTOR}},
    };
    struct kvm_irqfd irqfd = {
        .fd = (uint32_t)check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"),
        .gsi = SERIAL_GSI,
    };
    IOCTL(m->vm, KVM_SET_GSI_ROUTING, &routing);
    IOCTL(m->vm, KVM_IRQFD, &irqfd);
}

static void build_boot_info(struct machine *m, const struct image *image)
{
    struct boot_info *info = (void *)(m->host + m->info);
    uint64_t start = image->load[0].p_paddr, low_end = m->low_size;
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
                                   .addr = (uintptr_t)&m->tsc_offset};

    IOCTL(m->vcpu.fd, KVM_GET_DEVICE_ATTR, &attr);
    m->clock_tsc = rdtsc();
    m->clock_ns = clock_ns(CLOCK_MONOTONIC);
    *info = (struct boot_info){
        .magic = 0x6f726f54, .version = 1, .size = offsetof(struct boot_info, map),
        .cpu_count = 1,
        .tsc_hz = (uint64_t)IOCTL(m->vcpu.fd, KVM_GET_TSC_KHZ, 0) * 1000,
        .wall_clock_ns = clock_ns(CLOCK_REALTIME),
        .wall_clock_tsc = m->clock_tsc + m->tsc_offset,
        .command_line = m->info + offsetof(struct boot_info, empty_command_line),
        .memory_map_count = m->high_size ? 5 : 4,
        .memory_map = m->info + offsetof(struct boot_info, map),
        .devices = m->info + offsetof(struct boot_info, empty_command_line),
        .console_vector = SERIAL_VECTOR,
        .cpu_areas = m->area, .cpu_area_size = m->info - m->area,
        .supervisor_size = image->supervisor_size, .stack_size = image->stack_size,
        .map = {{0, PAGE, IN_USE, 0},
                {PAGE, start - PAGE, FREE, 0},
                {start, m->tables_end - start, IN_USE, 0},
                {m->tables_end, low_end - m->tables_end, FREE, 0},
                {HIGH_RAM, m->high_size, FREE, 0}},
    };
}

/* ---- devices ------------------------------------------------------------ */

static void add_console(struct machine *m)
{
    serial_init(&m->serial, STDOUT_FILENO, -1, -1);
    bus_add(&m->bus, false, SERIAL_PORT, 8, serial_access, &m->serial);
    bus_add(&m->bus, false, DEBUG_EXIT_PORT, 4, NULL, NULL);
}

/* Runs the guest until it ends; returns its exit status. */
static int run(struct machine *m)
{
    int reason = vcpu_run(&m->vcpu);

    m->exit_ns = clock_ns(CLOCK_MONOTONIC);
    if (reason != KVM_EXIT_IO)
        errx(STATUS_GUEST, "KVM exit %d", reason);
    return m->vcpu.data[0];
}

/* ---- marks -------------------------------------------------------------- */

/* Converts a TSC reading of the guest to host time, by the rate over the run. */
static uint64_t guest_ns(const struct machine *m, int mark)
{
    const struct boot_info *info = (void *)(m->host + m->info);
    int64_t ticks = (int64_t)(info->marks[mark] - m->tsc_offset - m->clock_tsc);
    double rate = (double)(clock_ns(CLOCK_MONOTONIC) - m->clock_ns) /
                  (double)(rdtsc() - m->clock_tsc);
    return m->clock_ns + (uint64_t)(int64_t)((double)ticks * rate);
}

static void write_marks(const struct machine *m, const char *path)
{
    FILE *file = fopen(path, "w");

    if (!file)
        err(STATUS_HOST, "%s", path);
    fprintf(file,
            "{\"first KVM_RUN\": %lu, \"first instruction\": %lu, \"kernel start\": %lu, "
            "\"application start\": %lu, \"exit\": %lu}\n",
            m->vcpu.first_run_ns, guest_ns(m, MARK_ENTRY), guest_ns(m, MARK_KERNEL),
            guest_ns(m, MARK_APPLICATION), m->exit_ns);
    fclose(file);
}

int main(int argc, char **argv)
{
    static struct machine m;
    static struct image image;
    struct cpuid_table table;
    int status, run_size;

    if (argc < 3)
        errx(STATUS_HOST, "usage: floor IMAGE MEMORY_BYTES [MARKS.json]");
    open_image(&image, argv[1]);
    run_size = create_vm(&m);
    create_memory(&m, strtoull(argv[2], NULL, 0));
    load(&m, &image);
    make_cpuid(&m, &table);
    build_tables(&m, &image);
    make_slots(&m);
    add_console(&m);
    route_console(&m);
    create_vcpu(&m, &image, &table, (size_t)run_size);
    build_boot_info(&m, &image);
    status = run(&m);
    if (argc > 3)
        write_marks(&m, argv[3]);
    return status;
}
