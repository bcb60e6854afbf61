/* The floor: what booting a Toro image costs without pyvmm.
 *
 *     floor IMAGE MEMORY_BYTES [MARKS.json]
 *
 * A static C program that starts the image by the same contract
 * (docs/boot-protocol.md), with the ioctls that pyvmm makes for one vCPU and in
 * pyvmm's order, serves its console and its exit port, and exits with its
 * status.  It takes the liberties of a floor: it trusts the image and the
 * guest, runs the vCPU in its only thread, has no console input, and leaves
 * cleaning up to exit(2).  Memory is a multiple of 2 MiB, below 500 GiB.
 *
 * MARKS.json gets CLOCK_MONOTONIC in ns of each step. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STATUS_GUEST 124
#define STATUS_HOST 125

#define PAGE 4096ull
#define LARGE_PAGE (2ull << 20)
#define GIB (1ull << 30)
#define MMIO_HOLE (3 * GIB)
#define HIGH_RAM (4 * GIB)

#define KVM_TSS_ADDR 0xfffbd000ul
#define IOAPIC_PINS 24
#define SERIAL_PORT 0x3f8
#define SERIAL_GSI 4
#define SERIAL_VECTOR (32 + SERIAL_GSI)
#define I8042_PORT 0x64
#define DEBUG_EXIT_PORT 0xf4

/* Page-table entries, Intel SDM volume 3, section 4.5. */
#define PRESENT 0x001ull
#define WRITABLE 0x002ull
#define USER 0x004ull
#define UNCACHED 0x018ull
#define LEAF 0x080ull
#define NX (1ull << 63)
#define DATA (PRESENT | WRITABLE | USER | NX)
#define TABLE (PRESENT | WRITABLE | USER)
#define PF_SUPERVISOR 0x100000u

struct memory_entry {
    uint64_t start, size;
    uint32_t type, reserved;
};

enum { FREE = 1, IN_USE = 2 };
enum { MARK_ENTRY, MARK_KERNEL, MARK_APPLICATION };

/* docs/boot-protocol.md, "The boot-info block", with its tables behind it. */
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
    Elf64_Phdr load[64]; /* PT_LOAD alone, ascending */
    uint64_t entry, end;
    uint32_t supervisor_size, stack_size;
};

struct machine {
    int kvm, vm, vcpu;
    struct kvm_run *run;
    uint8_t *ram;
    uint64_t low_size, high_size; /* RAM below and above the MMIO hole */
    uint64_t area, info, tables, tables_end, root;
    bool gigabyte_pages, fsgsbase;
    uint64_t plain_out; /* RIP of an OUT known not to be a string instruction */
    uint64_t tsc_offset, clock_tsc, clock_ns, first_run_ns, exit_ns;
};

static int check(int result, const char *what)
{
    if (result < 0)
        err(STATUS_HOST, "%s", what);
    return result;
}

#define IOCTL(fd, request, argument) check(ioctl(fd, request, argument), #request)

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

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

static void set_slot(const struct machine *m, uint32_t slot, uint64_t address,
                     uint64_t size, uint64_t offset)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = address,
        .memory_size = size,
        .userspace_addr = (uintptr_t)m->ram + offset,
    };
    IOCTL(m->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void create_memory(struct machine *m, uint64_t size)
{
    int fd = check(memfd_create("guest-ram", MFD_CLOEXEC), "memfd_create");

    check(ftruncate(fd, (off_t)size), "ftruncate");
    m->ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (m->ram == MAP_FAILED)
        err(STATUS_HOST, "mapping guest memory");
    m->low_size = size < MMIO_HOLE ? size : MMIO_HOLE;
    m->high_size = size - m->low_size;
    set_slot(m, 0, 0, m->low_size, 0);
    if (m->high_size)
        set_slot(m, 1, HIGH_RAM, m->high_size, m->low_size);
}

/* Loads the segments; behind them come the CPU's area, boot-info and tables. */
static void load(struct machine *m, const struct image *image)
{
    for (int i = 0; i < image->count; i++)
        if (image->load[i].p_filesz)
            read_at(image->fd, m->ram + image->load[i].p_paddr, image->load[i].p_filesz,
                    image->load[i].p_offset);
    m->area = page_up(image->end);
    m->info = m->area + image->supervisor_size + PAGE + image->stack_size;
    m->tables = page_up(m->info + sizeof(struct boot_info));
}

/* ---- page tables -------------------------------------------------------- */

static uint64_t *table_at(const struct machine *m, uint64_t address)
{
    return (uint64_t *)(void *)(m->ram + address);
}

static uint64_t new_table(struct machine *m)
{
    m->tables_end += PAGE;
    return m->tables_end - PAGE;
}

/* Where what is mapped of gigabyte number `gigabyte` ends. */
static uint64_t mapped_end(const struct machine *m, uint64_t gigabyte)
{
    uint64_t end = gigabyte < 3 ? m->low_size : HIGH_RAM + m->high_size;
    return end < (gigabyte + 1) * GIB ? end : (gigabyte + 1) * GIB;
}

/* Maps RAM and the MMIO hole to themselves with the largest pages there are. */
static void map_gigabytes(struct machine *m)
{
    uint64_t *pointers = table_at(m, new_table(m));

    table_at(m, m->root)[0] = (m->tables_end - PAGE) | TABLE;
    for (uint64_t i = 0; i * GIB < HIGH_RAM + m->high_size; i++) {
        uint64_t start = i * GIB, end = mapped_end(m, i), directory;
        uint64_t flags = DATA | LEAF | (start == MMIO_HOLE ? UNCACHED : 0);

        if (end <= start)
            continue;
        if (m->gigabyte_pages && i && end == start + GIB) {
            pointers[i] = start | flags;
            continue;
        }
        directory = new_table(m);
        pointers[i] = directory | TABLE;
        for (uint64_t at = start; at < end; at += LARGE_PAGE)
            table_at(m, directory)[(at - start) / LARGE_PAGE] = at | flags;
    }
}

/* `pages` are all entries for 4 KiB pages, from address 0 on. */
static void set_rights(uint64_t *pages, uint64_t start, uint64_t end, uint64_t flags)
{
    for (uint64_t at = start; at < end; at += PAGE)
        pages[at / PAGE] = flags & PRESENT ? at | flags : 0;
}

static uint64_t rights(uint32_t flags)
{
    if (!(flags & (PF_R | PF_W | PF_X)))
        return 0;
    return PRESENT | (flags & PF_W ? WRITABLE : 0) | (flags & PF_SUPERVISOR ? 0 : USER) |
           (flags & PF_X ? 0 : NX);
}

/* Splits the large pages that hold anything with rights of its own: page 0, the
 * image, the CPU's area and, last, the tables themselves. */
static void map_image(struct machine *m, const struct image *image, uint64_t *directory)
{
    uint64_t first = m->tables_end, guard = m->area + image->supervisor_size;
    uint64_t *pages = table_at(m, first);

    for (uint64_t i = 0; i * LARGE_PAGE < m->tables_end; i++)
        directory[i] = new_table(m) | TABLE;
    set_rights(pages, 0, (m->tables_end - first) / PAGE * LARGE_PAGE, DATA);
    set_rights(pages, 0, PAGE, 0);
    for (int i = 0; i < image->count; i++)
        set_rights(pages, image->load[i].p_paddr,
                   image->load[i].p_paddr + image->load[i].p_memsz,
                   rights(image->load[i].p_flags));
    set_rights(pages, m->area, guard, DATA & ~USER);
    set_rights(pages, guard, guard + PAGE, 0);
    set_rights(pages, m->tables, m->tables_end, DATA & ~USER);
}

static void build_tables(struct machine *m, const struct image *image)
{
    uint64_t *gdt = table_at(m, m->tables);

    gdt[1] = 0x00af9b000000ffff; /* 64-bit code */
    gdt[2] = 0x00cf93000000ffff; /* data */
    m->tables_end = m->tables + PAGE;
    m->root = new_table(m);
    map_gigabytes(m);
    map_image(m, image, table_at(m, m->root + 2 * PAGE));
}

/* ---- CPUID: the table of pyvmm/boot/cpuid.py ---------------------------- */

struct cpuid_table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[10];
};

static struct kvm_cpuid_entry2 host_leaf(uint32_t leaf)
{
    struct kvm_cpuid_entry2 entry = {.function = leaf};

    __cpuid_count(leaf, 0, entry.eax, entry.ebx, entry.ecx, entry.edx);
    if (leaf == 7)
        entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    return entry;
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
    /* Without VMX or SVM, KVM does less than its host: the baseline alone. */
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

static void create_vm(struct machine *m)
{
    m->kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    if (IOCTL(m->kvm, KVM_GET_API_VERSION, 0) != 12 ||
        !IOCTL(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) ||
        !IOCTL(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_SPLIT_IRQCHIP) ||
        !IOCTL(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS))
        errx(STATUS_HOST, "/dev/kvm: too old");
    m->vm = IOCTL(m->kvm, KVM_CREATE_VM, 0);
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
        /* Entering 64-bit mode needs a busy TSS (Intel SDM volume 3, 26.3.1.2). */
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
    IOCTL(m->vcpu, KVM_SET_SREGS, &sregs);
    IOCTL(m->vcpu, KVM_SET_REGS, &regs);
}

static void create_vcpu(struct machine *m, const struct image *image,
                        struct cpuid_table *cpuid, size_t run_size)
{
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};

    IOCTL(m->vm, KVM_ENABLE_CAP, &split);
    IOCTL(m->vm, KVM_SET_TSS_ADDR, KVM_TSS_ADDR);
    m->vcpu = IOCTL(m->vm, KVM_CREATE_VCPU, 0);
    m->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
    if (m->run == MAP_FAILED)
        err(STATUS_HOST, "mapping kvm_run");
    m->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    IOCTL(m->vcpu, KVM_SET_CPUID2, cpuid);
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
    struct boot_info *info = (void *)(m->ram + m->info);
    uint64_t start = image->load[0].p_paddr, low_end = m->low_size;
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
                                   .addr = (uintptr_t)&m->tsc_offset};

    IOCTL(m->vcpu, KVM_GET_DEVICE_ATTR, &attr);
    m->clock_tsc = __builtin_ia32_rdtsc();
    m->clock_ns = clock_ns(CLOCK_MONOTONIC);
    *info = (struct boot_info){
        .magic = 0x6f726f54, .version = 1, .size = offsetof(struct boot_info, map),
        .cpu_count = 1,
        .tsc_hz = (uint64_t)IOCTL(m->vcpu, KVM_GET_TSC_KHZ, 0) * 1000,
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

/* ---- exits -------------------------------------------------------------- */

/* Copies from RAM below the MMIO hole, within one page; returns how much. */
static uint32_t copy_from_page(const struct machine *m, uint64_t address, void *to,
                               uint64_t length)
{
    struct kvm_translation at = {.linear_address = address};

    if (length > PAGE - address % PAGE)
        length = PAGE - address % PAGE;
    IOCTL(m->vcpu, KVM_TRANSLATE, &at);
    if (!at.valid || at.physical_address + length > m->low_size)
        return 0;
    memcpy(to, m->ram + at.physical_address, length);
    return (uint32_t)length;
}

/* Completes a REP OUTSB, which KVM may emulate byte by byte, in the exit of its
 * first byte; see pyvmm/_kvm.c.  Returns the number of bytes in `line`. */
static uint32_t gather_string(struct machine *m, uint8_t *line, uint32_t size)
{
    struct kvm_regs *regs = &m->run->s.regs.regs;
    uint64_t rest = regs->rcx < size - 1 ? regs->rcx : size - 1;
    uint8_t code[2];
    uint32_t copied;

    if (!rest || regs->rip == m->plain_out || regs->rflags & 1u << 10 /* DF */ ||
        (uint16_t)regs->rdx != SERIAL_PORT)
        return 1;
    if (copy_from_page(m, regs->rip, code, 2) != 2 || memcmp(code, "\xf3\x6e", 2)) {
        m->plain_out = regs->rip;
        return 1;
    }
    copied = copy_from_page(m, regs->rsi, line + 1, rest);
    regs->rsi += copied;
    regs->rcx -= copied;
    if (!regs->rcx)
        regs->rip += sizeof code;
    m->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    return copied + 1;
}

static void console_out(struct machine *m, const uint8_t *data)
{
    uint8_t line[PAGE];
    uint32_t length = (uint32_t)m->run->io.size * m->run->io.count;

    if (length == 1) {
        line[0] = data[0];
        length = gather_string(m, line, sizeof line);
        data = line;
    }
    for (ssize_t n; length; data += n, length -= (uint32_t)n)
        if ((n = write(STDOUT_FILENO, data, length)) <= 0)
            return;
}

/* Serves a port; returns the guest's exit status once there is one, else -1. */
static int serve_io(struct machine *m)
{
    uint8_t *data = (uint8_t *)m->run + m->run->io.data_offset;
    uint16_t port = m->run->io.port;

    if (m->run->io.direction == KVM_EXIT_IO_IN) {
        /* An idle UART: of its registers the guest polls LSR (5) and IIR (2). */
        memset(data, port == SERIAL_PORT + 5 ? 0x60 : port == SERIAL_PORT + 2 ? 1 : 0xff,
               (size_t)m->run->io.size * m->run->io.count);
        return -1;
    }
    if (port == SERIAL_PORT)
        console_out(m, data);
    if (port == DEBUG_EXIT_PORT)
        return data[0];
    return port == I8042_PORT && data[0] == 0xfe ? 0 : -1;
}

/* Runs the guest until it ends; returns its exit status. */
static int run(struct machine *m)
{
    int status = -1;

    m->first_run_ns = clock_ns(CLOCK_MONOTONIC);
    while (status < 0) {
        if (ioctl(m->vcpu, KVM_RUN, 0) < 0) {
            if (errno != EINTR)
                err(STATUS_HOST, "KVM_RUN");
        } else if (m->run->exit_reason == KVM_EXIT_IO) {
            status = serve_io(m);
        } else if (m->run->exit_reason == KVM_EXIT_MMIO) {
            memset(m->run->mmio.data, 0xff, sizeof m->run->mmio.data);
        } else if (m->run->exit_reason != KVM_EXIT_INTR) {
            errx(STATUS_GUEST, "KVM exit %u", m->run->exit_reason);
        }
    }
    m->exit_ns = clock_ns(CLOCK_MONOTONIC);
    return status;
}

/* ---- marks -------------------------------------------------------------- */

/* The host's time of a TSC reading of the guest, by the rate over the run. */
static uint64_t guest_ns(const struct machine *m, int mark)
{
    const struct boot_info *info = (void *)(m->ram + m->info);
    int64_t ticks = (int64_t)(info->marks[mark] - m->tsc_offset - m->clock_tsc);
    double rate = (double)(clock_ns(CLOCK_MONOTONIC) - m->clock_ns) /
                  (double)(__builtin_ia32_rdtsc() - m->clock_tsc);
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
            m->first_run_ns, guest_ns(m, MARK_ENTRY), guest_ns(m, MARK_KERNEL),
            guest_ns(m, MARK_APPLICATION), m->exit_ns);
    fclose(file);
}

int main(int argc, char **argv)
{
    struct machine m = {.plain_out = ~0ull};
    struct image image = {0};
    struct cpuid_table cpuid;
    int status, run_size;

    if (argc < 3)
        errx(STATUS_HOST, "usage: floor IMAGE MEMORY_BYTES [MARKS.json]");
    open_image(&image, argv[1]);
    create_vm(&m);
    run_size = IOCTL(m.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    create_memory(&m, strtoull(argv[2], NULL, 0));
    load(&m, &image);
    make_cpuid(&m, &cpuid);
    build_tables(&m, &image);
    create_vcpu(&m, &image, &cpuid, (size_t)run_size);
    route_console(&m);
    build_boot_info(&m, &image);
    status = run(&m);
    if (argc > 3)
        write_marks(&m, argv[3]);
    return status;
}
