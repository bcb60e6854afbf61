/* Fuzzes the reader of States, and the thaw: an input chooses one of four good States,
 * flags (RUNS_ON_KVM and so on) and the host's call that fails (0: none), one byte each, a
 * spare byte, and then changes of 8 bytes (struct change).  What state_open() accepts is
 * thawed and runs for a moment, on KVM or on a model of it.
 *
 * The linker passes this file each call to the host (see the Makefile): none may reach
 * outside the guest's RAM or the State, and once the machine is gone, nothing is left of
 * it, whichever of them failed. */
#define _GNU_SOURCE
#include "bootinfo.h"
#include "host.h"
#include "machine.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096u
#define CODE 0x100000u
#define INFO 0x102000u
#define HEAD_MAX (16 * PAGE)
#define FILE_MAX (1u << 20)
#define GROWN_MAX (64ull << 20) /* more is as valid, but takes too long */
#define RUN_SIZE (3 * PAGE)     /* of the model's kvm_run */
#define RUN_MS 2
#define FDS 64

enum { DIRECT, FROZEN, PC, SCATTERED, BASES };
enum { RUNS_ON_KVM = 4, SHARED = 8, CLOSED = 16, SUMS_AS_THEY_ARE = 32 };

struct change {
    uint8_t what; /* bits 0-2: CHANGE_*; 3-4: log2 of bytes to write; 5-7: shift of value, in bytes */
    uint8_t which;
    uint16_t at;
    int32_t value;
};

enum { CHANGE_HEADER, CHANGE_TABLE, CHANGE_SECTION, CHANGE_RUN, CHANGE_SIZE, CHANGE_PAGE };

/* ---- the host's calls --------------------------------------------------- */

static uint8_t *ram;
static size_t ram_size, mapped; /* bytes of the guest's RAM; of all mappings */
static bool on_kvm;
static int fail_at, failed_calls;
static atomic_int calls;

static bool fails(int error)
{
    if (!fail_at || atomic_fetch_add(&calls, 1) + 1 != fail_at)
        return false;
    failed_calls++;
    errno = error;
    return true;
}

static bool in_ram(const void *at, size_t size)
{
    size_t offset = (size_t)((const uint8_t *)at - ram);

    return ram && offset <= ram_size && size <= ram_size - offset;
}

/* The wrapped functions, and what they replace. */
#define WRAP(result, name, ...) \
    result __real_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t size)
{
    return fails(ENOMEM) ? NULL : __real_malloc(size);
}

WRAP(void *, calloc, size_t count, size_t size)
{
    return fails(ENOMEM) ? NULL : __real_calloc(count, size);
}

WRAP(int, eventfd, unsigned value, int flags)
{
    return fails(EMFILE) ? -1 : __real_eventfd(value, flags);
}

WRAP(int, memfd_create, const char *name, unsigned flags)
{
    return fails(EMFILE) ? -1 : __real_memfd_create(name, flags);
}

WRAP(int, ftruncate, int fd, off_t size)
{
    return fails(ENOSPC) ? -1 : __real_ftruncate(fd, size);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument)
{
    return fails(EAGAIN) ? EAGAIN : __real_pthread_create(thread, attr, run, argument);
}

WRAP(ssize_t, pread, int fd, void *to, size_t size, off_t at)
{
    return fails(EIO) ? -1 : __real_pread(fd, to, size, at);
}

WRAP(ssize_t, pwrite, int fd, const void *from, size_t size, off_t at)
{
    check((size_t)at <= ram_size && size <= ram_size - (size_t)at, "pwrite outside RAM");
    return fails(ENOSPC) ? -1 : __real_pwrite(fd, from, size, at);
}

WRAP(ssize_t, preadv, int fd, const struct iovec *iov, int count, off_t at)
{
    for (int i = 0; i < count; i++)
        check(in_ram(iov[i].iov_base, iov[i].iov_len), "preadv outside RAM");
    return fails(EIO) ? -1 : __real_preadv(fd, iov, count, at);
}

WRAP(int, open, const char *path, int flags, ...)
{
    if (fails(EMFILE))
        return -1;
    return __real_open(on_kvm || strcmp(path, "/dev/kvm") ? path : "/dev/null", flags);
}

WRAP(void *, mmap, void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *got;

    check(!(flags & MAP_FIXED) || in_ram(at, size), "mmap outside RAM");
    if (fails(ENOMEM))
        return MAP_FAILED;
    got = __real_mmap(at, size, protection, flags, fd, offset);
    if (got == MAP_FAILED || flags & MAP_FIXED)
        return got;
    mapped += size;
    if (flags & MAP_NORESERVE) {
        ram = got;
        ram_size = size;
    }
    return got;
}

WRAP(int, munmap, void *at, size_t size)
{
    mapped -= size;
    if (at == ram)
        ram = NULL;
    return __real_munmap(at, size);
}

static int model(unsigned long request, const void *argument)
{
    const struct timespec a_moment = {.tv_nsec = 100000};
    int fd;

    switch (request) {
    case KVM_GET_API_VERSION:
        return 12;
    case KVM_CHECK_EXTENSION:
        return 1;
    case KVM_GET_VCPU_MMAP_SIZE:
        return RUN_SIZE;
    case KVM_GET_TSC_KHZ:
        return 1000000;
    case KVM_SET_MSRS:
        return (int)((const struct kvm_msrs *)argument)->nmsrs;
    case KVM_CREATE_VM:
    case KVM_CREATE_VCPU:
        fd = __real_memfd_create("model", MFD_CLOEXEC);
        check(fd >= 0 && __real_ftruncate(fd, RUN_SIZE) == 0, "model");
        return fd;
    case KVM_RUN:
        nanosleep(&a_moment, NULL);
        errno = EINTR;
        return -1;
    default:
        return 0;
    }
}

/* What KVM reads of an argument, for the sanitizer to check. */
static void read_argument(unsigned long request, const uint8_t *argument)
{
    volatile uint8_t byte;
    size_t size = _IOC_SIZE(request);

    if (request == KVM_SET_CPUID2)
        size += ((const struct kvm_cpuid2 *)argument)->nent * sizeof(struct kvm_cpuid_entry2);
    if (request == KVM_SET_MSRS)
        size += ((const struct kvm_msrs *)argument)->nmsrs * sizeof(struct kvm_msr_entry);
    for (size_t i = 0; i < size; i++)
        byte = argument[i];
    (void)byte;
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    const struct kvm_userspace_memory_region *region;
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (_IOC_DIR(request) & _IOC_WRITE)
        read_argument(request, argument);
    if (request == KVM_SET_USER_MEMORY_REGION) {
        region = argument;
        check(in_ram((void *)(uintptr_t)region->userspace_addr, region->memory_size), "slot outside RAM");
    }
    if (fails(ENOMEM))
        return -1;
    return on_kvm ? __real_ioctl(fd, request, argument) : model(request, argument);
}

/* ---- good States -------------------------------------------------------- */

static uint8_t file[FILE_MAX];
static size_t head_used, file_size;
static uint32_t sections;
static const uint8_t guest[] = {
    0xbe, 0x40, 0x00, 0x10, 0x00, /* mov esi, text */
    0xb9, 0x06, 0x00, 0x00, 0x00, /* mov ecx, 6 */
    0xba, 0xf8, 0x03, 0x00, 0x00, /* mov edx, 0x3f8 */
    0xf3, 0x6e,                   /* rep outsb */
    0xa1, 0x00, 0x00, 0xf0, 0x01, /* mov eax, [0x1f00000]: no slot covers it, perhaps */
    0x66, 0xba, 0xfd, 0x03,       /* mov dx, 0x3fd */
    0xec,                         /* in al, dx */
    0xb0, 0x07, 0xe6, 0xf4,       /* out 0xf4, 7 */
    0xf4, 0xeb, 0xfd,             /* hlt, for ever */
};

static struct state_header *header(void)
{
    return (struct state_header *)file;
}

static struct state_section *table(void)
{
    return (struct state_section *)(header() + 1);
}

/* Adds a section behind those of lower kinds, and returns its contents, which are zero. */
static void *add(enum state_kind kind, uint32_t index, size_t size)
{
    struct state_section *section = &table()[sections++];

    *section = (struct state_section){kind, index, head_used, size};
    head_used += (size + 7) & ~7ull;
    return file + section->offset;
}

static void add_cpuid(uint32_t cpu)
{
    static const uint32_t leaf[] = {0, 1, 0x80000000, 0x80000001};
    const uint32_t count = sizeof leaf / sizeof *leaf;
    struct kvm_cpuid2 *table = add(STATE_CPUID, cpu, sizeof *table + count * sizeof *table->entries);

    table->nent = count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t out[4];

        cpuid(leaf[i], 0, out);
        table->entries[i] = (struct kvm_cpuid_entry2){
            .function = leaf[i], .eax = out[0], .ebx = out[1], .ecx = out[2], .edx = out[3]};
    }
}

/* Flat segments, without paging. */
static void add_sregs(uint32_t cpu)
{
    struct kvm_sregs *sregs = add(STATE_SREGS, cpu, sizeof *sregs);
    struct kvm_segment data = {.limit = ~0u, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};

    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->cs = data;
    sregs->cs.selector = 8;
    sregs->cs.type = 11;
    sregs->tr = (struct kvm_segment){.limit = 0xffff, .type = 11, .present = 1};
    sregs->ldt = (struct kvm_segment){.limit = 0xffff, .type = 2, .present = 1};
    sregs->cr0 = 0x11;
    sregs->apic_base = 0xfee00800 | (cpu ? 0 : 0x100);
}

static void add_registers(uint32_t cpus, bool all)
{
    struct kvm_msr_entry *msr;

    for (uint32_t cpu = 0; cpu < cpus; cpu++)
        add_cpuid(cpu);
    for (uint32_t cpu = 0; cpu < cpus; cpu++)
        *(struct kvm_regs *)add(STATE_REGS, cpu, sizeof(struct kvm_regs)) =
            (struct kvm_regs){.rip = CODE, .rflags = 2};
    for (uint32_t cpu = 0; cpu < cpus; cpu++)
        add_sregs(cpu);
    if (!all)
        return;
    *(struct kvm_xcrs *)add(STATE_XCRS, 0, sizeof(struct kvm_xcrs)) =
        (struct kvm_xcrs){.nr_xcrs = 1, .xcrs = {{.value = 1}}};
    add(STATE_XSAVE, 0, sizeof(struct kvm_xsave));
    for (uint32_t cpu = 0; cpu < cpus; cpu++) {
        msr = add(STATE_MSR, cpu, 2 * sizeof *msr);
        msr[0] = (struct kvm_msr_entry){.index = 0x277, .data = 0x0007040600070406};
        msr[1] = (struct kvm_msr_entry){.index = 0xc0000101};
    }
    add(STATE_LAPIC, 0, sizeof(struct kvm_lapic_state));
    *(struct kvm_debugregs *)add(STATE_DEBUG, 0, sizeof(struct kvm_debugregs)) =
        (struct kvm_debugregs){.dr6 = 0xffff0ff0, .dr7 = 0x400};
    add(STATE_EVENTS, 0, sizeof(struct kvm_vcpu_events));
    add(STATE_MP, 0, sizeof(struct kvm_mp_state));
    for (uint32_t cpu = 0; cpu < cpus; cpu++)
        *(uint64_t *)add(STATE_TSC, cpu, 8) = 1u << 30;
}

static void add_irqchips(void)
{
    for (uint32_t i = 0; i < 2; i++)
        *(struct kvm_irqchip *)add(STATE_PIC, i, sizeof(struct kvm_irqchip)) = (struct kvm_irqchip){.chip_id = i};
    *(struct kvm_irqchip *)add(STATE_IOAPIC, 0, sizeof(struct kvm_irqchip)) = (struct kvm_irqchip){.chip_id = 2};
    add(STATE_PIT, 0, sizeof(struct kvm_pit_state2));
    add(STATE_CLOCK, 0, sizeof(struct kvm_clock_data));
}

/* Pages of each State: the guest's, and what makes runs be read or mapped. */
static void add_runs(uint32_t base)
{
    uint32_t count = base == SCATTERED ? 150 : base == FROZEN ? 3 : 1;
    struct state_run *run = add(STATE_PAGES, 0, count * sizeof *run);

    run[0] = (struct state_run){CODE, 4 * PAGE};
    for (uint32_t i = 1; i < count; i++)
        run[i] = (struct state_run){CODE + 8 * i * PAGE, PAGE};
    if (base == FROZEN)
        run[1].size = 80 * PAGE, run[2].address += 100 * PAGE;
    if (base == SCATTERED)
        run[count - 1].address = RAM_HOLE_END + PAGE;
    for (uint32_t i = 0; i < count; i++)
        file_size += run[i].size;
}

static void make_base(uint32_t base)
{
    static const uint64_t memory[] = {128 << 20, 32 << 20, 64 << 20, RAM_HOLE_START + (1 << 20)};
    uint32_t cpus = base == FROZEN ? 2 : 1;

    memset(file, 0, sizeof file);
    sections = 0;
    file_size = 0;
    head_used = sizeof(struct state_header) + 64 * sizeof(struct state_section);
    memcpy(add(STATE_KEY, 0, 16), "guest.elf\0other", 16);
    add_runs(base);
    *(struct serial_state *)add(STATE_SERIAL, 0, sizeof(struct serial_state)) =
        (struct serial_state){.ier = 3, .rx_len = 4, .wants_input = base == FROZEN, .rx = "text"};
    if (base == FROZEN)
        for (uint32_t i = 0; i < 2; i++)
            add(STATE_DEVICE, i, 688);
    if (base == PC)
        add_irqchips();
    add_registers(cpus, base != DIRECT);
    head_used = (head_used + PAGE - 1) & ~(PAGE - 1ull);
    check(head_used <= HEAD_MAX && file_size <= FILE_MAX - HEAD_MAX && sections <= 64, "size of a State");
    file_size += head_used;
    *header() = (struct state_header){
        .version = STATE_VERSION, .sections = sections, .head_size = head_used, .file_size = file_size,
        .memory = memory[base], .cpus = cpus, .boot_info = base == PC ? 0 : INFO,
        .flags = base == PC ? STATE_PC : base == FROZEN ? STATE_HAS_RUN : 0,
        .end = base == DIRECT ? 16 << 20 : 0, .pages_sum = base == DIRECT,
        .device_count = base == FROZEN ? 2 : 0, .devices = {19, 26},
    };
    memcpy(header()->magic, STATE_MAGIC, sizeof header()->magic);
    memcpy(file + head_used, guest, sizeof guest);
    memcpy(file + head_used + 64, "guest\n", 6);
    ((struct boot_info *)(file + head_used + INFO - CODE))->generation_vector = 80;
}

/* ---- changes ------------------------------------------------------------ */

/* Applies one to the file in memory, whose table and head stay where they were. */
static void apply(const struct change *change, uint64_t *size)
{
    size_t length = 1u << (change->what >> 3 & 3), offset = change->at, room = sizeof(struct state_header);
    uint64_t value = (uint64_t)(int64_t)change->value << 8 * (change->what >> 5);
    const struct state_section *section = &table()[change->which % sections];
    uint8_t *to = file;

    switch (change->what & 7) {
    case CHANGE_HEADER:
        break;
    case CHANGE_TABLE:
        to = (uint8_t *)section;
        room = sizeof *section;
        break;
    case CHANGE_RUN:
        section = &table()[1];
        offset += change->which * sizeof(struct state_run);
        /* fall through */
    case CHANGE_SECTION:
        if (section->offset > HEAD_MAX || !section->size || section->size > HEAD_MAX)
            return; /* changed before */
        to = file + section->offset;
        room = section->size;
        break;
    case CHANGE_SIZE:
        *size = (*size + value) % GROWN_MAX;
        return;
    case CHANGE_PAGE:
        to = file + head_used;
        room = file_size - head_used;
        break;
    default:
        return;
    }
    memcpy(to + offset % room, &value, length);
}

static void repair_sums(void)
{
    if (header()->pages_sum)
        header()->pages_sum = state_sum(0, file + head_used, file_size - head_used);
    header()->head_sum = 0;
    if (header()->head_size <= sizeof file)
        header()->head_sum = state_sum(0, file, header()->head_size);
}

/* ---- a guest ------------------------------------------------------------ */

static uint64_t open_fds(void)
{
    uint64_t set = 0;

    for (int fd = 0; fd < FDS; fd++)
        set |= (uint64_t)(fcntl(fd, F_GETFD) >= 0) << fd;
    return set;
}

static void run(struct machine *machine)
{
    struct pollfd poller = {.fd = machine->event_fd, .events = POLLIN};

    if (machine_start(machine, NULL)) {
        poll(&poller, 1, on_kvm ? RUN_MS : 0);
        for (uint32_t i = 0; i < machine->cpus; i++)
            vcpu_stop(&machine->vcpus[i]);
        for (uint32_t i = 0; i < machine->cpus; i++)
            vcpu_join(&machine->vcpus[i]);
    }
    machine_discard(machine);
}

static int state_fd, console;
static unsigned long opened, thawed, ran_on_kvm;

/* Thaws what is in the file, if it is a State. */
static void thaw(uint32_t flags)
{
    static struct machine machine;
    struct state state;
    uint64_t fds = open_fds();

    machine = (struct machine){0};
    atomic_store(&calls, 0);
    if (state_open(&state, state_fd)) {
        opened++;
        if (on_kvm && state.header->memory > 8ull << 30)
            ; /* its slots would take too long */
        else if (machine_thaw(&machine, &state, console, flags & SHARED, flags & CLOSED)) {
            thawed++;
            ran_on_kvm += on_kvm;
            run(&machine);
        } else {
            check(machine.failed && machine.error, "a reason");
        }
    } else {
        check(state.error[0] && !strchr(state.error, '\n'), "an error of one line");
    }
    state_close(&state);
    fail_at = 0;
    check(open_fds() == fds, "a descriptor is left");
    check(!mapped && !ram, "a mapping is left");
}

static void write_file(uint64_t size)
{
    check(__real_ftruncate(state_fd, 0) == 0 && __real_pwrite(state_fd, file, file_size, 0) == (ssize_t)file_size &&
              __real_ftruncate(state_fd, (off_t)size) == 0,
          "file");
}

/* Lets each of the host's calls fail, one after the other. */
static void fail_each(uint32_t base, uint32_t flags)
{
    make_base(base);
    repair_sums();
    write_file(file_size);
    for (int n = 0, before;; n++) {
        before = failed_calls;
        fail_at = n;
        thaw(flags);
        if (!n)
            check(thawed, "a good State is thawed");
        else if (failed_calls == before)
            return;
    }
}

static void begin(void)
{
    int kvm = __real_open("/dev/kvm", O_RDWR | O_CLOEXEC);
    const bool has_kvm = kvm >= 0;

    if (has_kvm)
        close(kvm);
    state_fd = __real_memfd_create("state", MFD_CLOEXEC);
    console = __real_open("/dev/null", O_RDWR | O_CLOEXEC);
    check(state_fd >= 0 && console >= 0, "files");
    for (uint32_t base = 0; base < BASES; base++)
        for (uint32_t flags = 0; flags <= SHARED; flags += SHARED) {
            thawed = 0;
            on_kvm = false;
            fail_each(base, flags);
            thawed = 0;
            on_kvm = has_kvm;
            if (has_kvm)
                fail_each(base, flags);
        }
    on_kvm = has_kvm;
}

static void report(void)
{
    printf("%lu opened, %lu thawed, %lu of them on KVM; %d calls of the host failed\n", opened, thawed,
           ran_on_kvm, failed_calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun, has_kvm;
    struct change change;
    uint64_t length;

    if (!begun) {
        begin();
        begun = true;
        has_kvm = on_kvm;
        atexit(report);
    }
    if (size < 4)
        return 0;
    on_kvm = has_kvm && data[0] & RUNS_ON_KVM;
    make_base(data[0] % BASES);
    length = file_size;
    for (size_t at = 4; at + sizeof change <= size; at += sizeof change) {
        memcpy(&change, data + at, sizeof change);
        apply(&change, &length);
    }
    if (!(data[0] & SUMS_AS_THEY_ARE))
        repair_sums();
    write_file(length);
    fail_at = data[1];
    thaw(data[0]);
    return 0;
}
