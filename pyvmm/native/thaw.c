/* Makes a machine of a State that has been checked, and runs it.
 *
 * The order matters in places.  KVM makes a memory slot fast only as long as there is no
 * interrupt controller; TSC and local APIC come before the timer's deadline, which KVM
 * would ignore otherwise. */
#define _GNU_SOURCE
#include "bootinfo.h"
#include "host.h"
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define KVM_API 12
#define MSR_TSC 0x10
#define LAPIC_BASE 0xfee00000u
#define RUNS_AT_ONCE 64
#define MAPPED_MIN (256u << 10) /* bytes; copying less is faster than mapping it */
#define MAPPED_RUNS 1024        /* so many mappings are no burden */

static bool failed(struct machine *m, const char *call, int cpu)
{
    m->failed = call;
    m->error = errno;
    m->failed_cpu = cpu;
    return false;
}

/* An ioctl of the machine `m`, which it names if it fails. */
#define IOCTL(m, fd, request, argument, cpu) \
    (ioctl(fd, request, argument) >= 0 || failed(m, #request, cpu))

/* ---- memory ------------------------------------------------------------- */

/* Reserves `size` bytes of RAM without touching a page; `shared`: other processes are to
 * map it. */
bool machine_map(struct machine *m, uint64_t size, bool shared)
{
    m->memory_fd = -1;
    m->memory = size;
    if (shared) {
        m->memory_fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (m->memory_fd < 0)
            return failed(m, "memfd_create", -1);
    }
    m->host = map_memory(m->memory_fd, size);
    if (m->host) {
        if (!shared) /* shown in /proc/PID/maps, where the kernel can */
            prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, m->host, size, "guest-ram");
        return true;
    }
    failed(m, "guest memory", -1);
    if (shared)
        close(m->memory_fd);
    m->memory_fd = -1;
    return false;
}

static bool read_runs(struct machine *m, int fd, struct iovec *iov, int count, uint64_t at)
{
    while (count) {
        ssize_t done = preadv(fd, iov, count, (off_t)at);

        if (done <= 0) {
            errno = done ? errno : EIO;
            return failed(m, "reading its pages", -1);
        }
        at += (uint64_t)done;
        while (count && (size_t)done >= iov->iov_len) {
            done -= (ssize_t)iov->iov_len;
            iov++, count--;
        }
        if (count) {
            iov->iov_base = (uint8_t *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
    return true;
}

/* Copies all runs into the file that RAM is.  Written to the file, which takes half as long
 * as through its mapping, with a page fault each.  (A backend has a mapping of its own, in
 * which nobody could fill in a page when it is touched.) */
static bool copy_runs(struct machine *m, const struct state *state)
{
    uint64_t size = state->header->file_size - state->header->head_size, at = 0;
    uint8_t *from = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, state->fd,
                         (off_t)state->header->head_size);
    bool done = from != MAP_FAILED;

    for (uint32_t i = 0; i < state->run_count && done; i++) {
        const struct state_run *run = &state->runs[i];
        off_t to = ram_at(&m->ram, run->address, run->size) - m->host;

        for (uint64_t part = 0; part < run->size && done;) {
            ssize_t count = pwrite(m->memory_fd, from + at + part, run->size - part, to + (off_t)part);

            done = count > 0;
            part += done ? (uint64_t)count : 0;
        }
        at += run->size;
    }
    if (!done)
        failed(m, "copying its pages", -1);
    if (from != MAP_FAILED)
        munmap(from, size);
    return done;
}

/* Fills RAM that is this process's alone from the file: large runs are mapped
 * copy-on-write, so that they cost nothing until they are touched and all clones share
 * them. */
static bool fill(struct machine *m, const struct state *state)
{
    bool map = state->run_count <= MAPPED_RUNS;
    uint64_t at = state->header->head_size, start = at;
    struct iovec iov[RUNS_AT_ONCE];
    int count = 0;

    for (uint32_t i = 0; i < state->run_count; i++) {
        const struct state_run *run = &state->runs[i];
        uint8_t *to = ram_at(&m->ram, run->address, run->size);

        if (map && run->size >= MAPPED_MIN) {
            if (!read_runs(m, state->fd, iov, count, start))
                return false;
            if (mmap(to, run->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                     state->fd, (off_t)at) == MAP_FAILED)
                return failed(m, "mapping its pages", -1);
            count = 0;
            start = at + run->size;
        } else {
            iov[count++] = (struct iovec){to, run->size};
        }
        at += run->size;
        if (count == RUNS_AT_ONCE) {
            if (!read_runs(m, state->fd, iov, count, start))
                return false;
            count = 0;
            start = at;
        }
    }
    return read_runs(m, state->fd, iov, count, start);
}

static bool is_intact(struct machine *m, const struct state *state)
{
    uint64_t sum = 0;

    if (!state->header->pages_sum)
        return true;
    for (uint32_t i = 0; i < state->run_count; i++)
        sum = state_sum(sum, ram_at(&m->ram, state->runs[i].address, state->runs[i].size),
                        state->runs[i].size);
    errno = EIO;
    return sum == state->header->pages_sum || failed(m, "pages_sum", -1);
}

/* Memory, and slots for the part that the guest starts in. */
static bool make_memory(struct machine *m, const struct state *state, bool shared)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};
    uint64_t end = state->header->end, at = 0;
    int made = 0;

    if (!m->host && !machine_map(m, state->header->memory, shared))
        return false;
    ram_lay_out(&m->ram, m->memory, m->host);
    if (state->run_count &&
        (!(m->memory_fd < 0 ? fill(m, state) : copy_runs(m, state)) || !is_intact(m, state)))
        return false;
    slots_init(&m->slots, m->vm_fd, &m->ram);
    /* Kernels before 5.14 do not exit for an instruction that they cannot emulate. */
    if (ioctl(m->vm_fd, KVM_ENABLE_CAP, &cap) < 0 || !end)
        made = slots_cover_all(&m->slots);
    while (made >= 0 && at < end) {
        made = slots_cover(&m->slots, at);
        at = slots_end(&m->slots, at);
    }
    return made >= 0 || failed(m, "KVM_SET_USER_MEMORY_REGION", -1);
}

/* ---- the VM ------------------------------------------------------------- */

static bool has(struct machine *m, int kvm, int capability, const char *name)
{
    errno = ENXIO;
    return ioctl(kvm, KVM_CHECK_EXTENSION, capability) > 0 || failed(m, name, -1);
}

/* Makes the VM.  Returns the size of a kvm_run area, or 0. */
static size_t make_vm(struct machine *m, int kvm)
{
    int size;

    if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API) {
        errno = EINVAL;
        return failed(m, "KVM_GET_API_VERSION", -1);
    }
    if (!has(m, kvm, KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT") ||
        !has(m, kvm, KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP") ||
        !has(m, kvm, KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS"))
        return 0;
    m->vm_fd = ioctl(kvm, KVM_CREATE_VM, 0);
    if (m->vm_fd < 0)
        return failed(m, "KVM_CREATE_VM", -1);
    size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    return size > 0 ? (size_t)size : failed(m, "KVM_GET_VCPU_MMAP_SIZE", -1);
}

static size_t open_kvm(struct machine *m)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    size_t run_size;

    if (kvm < 0)
        return failed(m, "/dev/kvm", -1);
    run_size = make_vm(m, kvm);
    close(kvm);
    return run_size;
}

/* Messages to CPU 0 for the console and each virtio device. */
static bool route_messages(struct machine *m, uint32_t devices)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entry[1 + STATE_DEVICES];
    } routing = {.head.nr = 1 + devices};

    for (uint32_t i = 0; i <= devices; i++) {
        uint32_t gsi = i ? VIRTIO_GSI + i - 1 : SERIAL_GSI;

        route_msi(&routing.entry[i], gsi, LAPIC_BASE, IRQ_BASE + gsi);
    }
    return IOCTL(m, m->vm_fd, KVM_SET_GSI_ROUTING, &routing, -1);
}

/* GSI n to pin n of the IOAPIC, and to no PIC: one that also reached a PIC would deliver
 * vectors 0 to 15 through LINT0, which is ExtINT after reset. */
static bool route_pins(struct machine *m)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entry[IOAPIC_PINS];
    } routing = {.head.nr = IOAPIC_PINS};

    for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++)
        route_ioapic(&routing.entry[pin], pin, pin);
    return IOCTL(m, m->vm_fd, KVM_SET_GSI_ROUTING, &routing, -1);
}

static bool make_pc(struct machine *m, const struct state *state)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    const void *section;

    if (!IOCTL(m, m->vm_fd, KVM_CREATE_IRQCHIP, 0, -1) || !IOCTL(m, m->vm_fd, KVM_CREATE_PIT2, &pit, -1) ||
        !route_pins(m))
        return false;
    for (uint32_t i = 0; i < 3; i++) {
        section = state_section(state, i < 2 ? STATE_PIC : STATE_IOAPIC, i % 2, NULL);
        if (section && !IOCTL(m, m->vm_fd, KVM_SET_IRQCHIP, section, -1))
            return false;
    }
    section = state_section(state, STATE_PIT, 0, NULL);
    return !section || IOCTL(m, m->vm_fd, KVM_SET_PIT2, section, -1);
}

static bool make_interrupts(struct machine *m, const struct state *state)
{
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};
    struct kvm_irqfd irqfd = {.gsi = SERIAL_GSI};

    m->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->input_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->irq_fd < 0 || m->input_fd < 0 || m->event_fd < 0)
        return failed(m, "eventfd", -1);
    if (state->header->flags & STATE_PC ? !make_pc(m, state)
                                        : !IOCTL(m, m->vm_fd, KVM_ENABLE_CAP, &split, -1) ||
                                              !route_messages(m, state->header->device_count))
        return false;
    irqfd.fd = (uint32_t)m->irq_fd;
    return IOCTL(m, m->vm_fd, KVM_IRQFD, &irqfd, -1) &&
           IOCTL(m, m->vm_fd, KVM_SET_TSS_ADDR, KVM_TSS_ADDRESS, -1);
}

/* The console; and what Python serves, or the end of a guest without Python. */
static void add_devices(struct machine *m, const struct state *state, int console, bool closed)
{
    const struct serial_state *serial = state_section(state, STATE_SERIAL, 0, NULL);

    bus_init(&m->bus, &m->ram, &m->slots, closed);
    serial_init(&m->serial, console, m->irq_fd, m->input_fd);
    if (serial)
        serial_restore(&m->serial, serial);
    bus_add(&m->bus, false, SERIAL_PORT, SERIAL_PORTS, serial_access, &m->serial);
    bus_add(&m->bus, false, DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS, NULL, NULL);
    bus_add(&m->bus, false, I8042_COMMAND_PORT, 1, NULL, NULL);
    if (state->header->flags & STATE_PC)
        bus_add(&m->bus, false, ACPI_SLEEP_PORT, ACPI_SLEEP_PORTS, NULL, NULL);
}

/* ---- vCPUs -------------------------------------------------------------- */

static bool set_msrs(struct machine *m, const struct state *state, uint32_t cpu)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry[STATE_MSRS];
    } msrs = {0};
    uint64_t size;
    const void *section = state_section(state, STATE_MSR, cpu, &size);
    int done;

    if (!section)
        return true;
    memcpy(msrs.entry, section, size);
    msrs.head.nmsrs = (uint32_t)(size / sizeof *msrs.entry);
    done = ioctl(m->vcpus[cpu].fd, KVM_SET_MSRS, &msrs);
    if (done == (int)msrs.head.nmsrs)
        return true;
    errno = done < 0 ? errno : EINVAL;
    return failed(m, "KVM_SET_MSRS", (int)cpu);
}

/* Lets the guest's TSC go on from where it was when the host's was `now`. */
static bool set_tsc(struct machine *m, const struct state *state, uint32_t cpu, uint64_t now)
{
    const uint64_t *tsc = state_section(state, STATE_TSC, cpu, NULL);
    uint64_t offset = tsc ? *tsc - now : 0;
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
                                   .addr = (uintptr_t)&offset};

    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = {.head.nmsrs = 1, .entry = {.index = MSR_TSC, .data = tsc ? *tsc : 0}};

    if (!tsc || ioctl(m->vcpus[cpu].fd, KVM_SET_DEVICE_ATTR, &attr) >= 0)
        return true;
    return IOCTL(m, m->vcpus[cpu].fd, KVM_SET_MSRS, &msr, (int)cpu); /* before Linux 5.16 */
}

/* Features that CPUID tells of: leaf, and the registers with them (EBX, ECX, EDX). */
static const struct {
    uint32_t leaf, ebx, ecx, edx;
} features[] = {
    {1, 0, 0x7ff7dfff, 0xfffffdff}, /* without OSXSAVE, the hypervisor bit and the APIC's */
    {7, ~0u, 0, 0},
    {0x80000001, 0, ~0u, ~0x200u},
};

/* A guest that has found features of a CPU cannot go on without them.  (That of a PC has
 * been shown some that KVM emulates.) */
static bool check_features(struct machine *m, const struct state *state)
{
    const struct kvm_cpuid2 *shown = state_section(state, STATE_CPUID, 0, NULL);
    uint32_t host[4];

    if (!(state->header->flags & STATE_HAS_RUN) || state->header->flags & STATE_PC)
        return true;
    for (uint32_t i = 0; i < shown->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &shown->entries[i];

        for (size_t k = 0; k < sizeof features / sizeof *features; k++) {
            if (entry->function != features[k].leaf || entry->index)
                continue;
            cpuid(entry->function, 0, host);
            if (entry->ebx & features[k].ebx & ~host[1] || entry->ecx & features[k].ecx & ~host[2] ||
                entry->edx & features[k].edx & ~host[3]) {
                errno = ENOTSUP;
                return failed(m, "this CPU lacks features of the one that the guest was frozen on", -1);
            }
        }
    }
    return true;
}

#define SET(kind, request) \
    ((section = state_section(state, kind, cpu, NULL)) && !IOCTL(m, fd, request, section, (int)cpu))

static bool set_registers(struct machine *m, const struct state *state, uint32_t cpu, uint64_t now)
{
    int fd = m->vcpus[cpu].fd;
    const void *section;

    if (SET(STATE_CPUID, KVM_SET_CPUID2) || SET(STATE_SREGS, KVM_SET_SREGS) || SET(STATE_REGS, KVM_SET_REGS) ||
        SET(STATE_XCRS, KVM_SET_XCRS) || SET(STATE_XSAVE, KVM_SET_XSAVE) || !set_tsc(m, state, cpu, now) ||
        SET(STATE_LAPIC, KVM_SET_LAPIC) || !set_msrs(m, state, cpu) || SET(STATE_DEBUG, KVM_SET_DEBUGREGS) ||
        SET(STATE_EVENTS, KVM_SET_VCPU_EVENTS) || SET(STATE_MP, KVM_SET_MP_STATE))
        return false;
    return true;
}

static bool make_vcpus(struct machine *m, const struct state *state, size_t run_size)
{
    uint64_t now;

    m->cpus = state->header->cpus;
    m->vcpus = calloc(m->cpus, sizeof *m->vcpus);
    if (!m->vcpus)
        return failed(m, "vCPUs", -1);
    for (; m->made < m->cpus; m->made++) {
        int fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, m->made);

        if (fd < 0)
            return failed(m, "KVM_CREATE_VCPU", (int)m->made);
        if (vcpu_init(&m->vcpus[m->made], fd, run_size, (int)m->made, &m->bus) < 0) {
            failed(m, "mapping kvm_run", (int)m->made);
            close(fd);
            return false;
        }
    }
    if (!check_features(m, state))
        return false;
    now = rdtsc();
    for (uint32_t cpu = 0; cpu < m->cpus; cpu++)
        if (!set_registers(m, state, cpu, now))
            return false;
    return true;
}

/* ---- time --------------------------------------------------------------- */

/* Tells the guest the time, and what makes it different from all others. */
static bool tell_guest(struct machine *m, const struct state *state)
{
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
                                   .addr = (uintptr_t)&m->tsc_offset};
    bool has_run = state->header->flags & STATE_HAS_RUN;
    const void *clock = state_section(state, STATE_CLOCK, 0, NULL);
    struct kvm_clock_data clock_now;
    struct boot_info *info;
    int khz;

    m->has_tsc_offset = ioctl(m->vcpus[0].fd, KVM_GET_DEVICE_ATTR, &attr) == 0;
    m->clock_tsc = rdtsc();
    m->clock_ns = clock_ns(CLOCK_MONOTONIC);
    if (clock) {
        memcpy(&clock_now, clock, sizeof clock_now);
        clock_now.flags = 0;
        if (!IOCTL(m, m->vm_fd, KVM_SET_CLOCK, &clock_now, -1))
            return false;
    }
    if (!state->header->boot_info)
        return true;
    khz = ioctl(m->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return failed(m, "KVM_GET_TSC_KHZ", 0);
    info = (void *)ram_at(&m->ram, state->header->boot_info, sizeof *info);
    info->tsc_hz = (uint64_t)khz * 1000;
    info->wall_clock_ns = clock_ns(CLOCK_REALTIME);
    info->wall_clock_tsc = m->clock_tsc + m->tsc_offset;
    if (getrandom(info->random, sizeof info->random, GRND_NONBLOCK) < 0)
        memset(info->random, 0, sizeof info->random);
    if (has_run) {
        info->generation++;
        struct kvm_msi message = {.address_lo = LAPIC_BASE, .data = info->generation_vector & 0xff};
        /* Refused if its local APIC is disabled: such a guest does not want to know. */
        if (message.data >= IRQ_BASE)
            ioctl(m->vm_fd, KVM_SIGNAL_MSI, &message);
    }
    return true;
}

/* ---- the machine -------------------------------------------------------- */

/* Makes the machine; RAM that it has been lent is used with what is in it.
 *
 * console: the descriptor that the guest's output is written to.  shared: other processes
 * are to map guest memory.  closed: devices are missing until bus_open().
 *
 * Returns false, with the reason in `m` and nothing else left, if it cannot be. */
bool machine_thaw(struct machine *m, const struct state *state, int console, bool shared, bool closed)
{
    size_t run_size;

    m->vm_fd = m->irq_fd = m->input_fd = m->event_fd = -1;
    if (!m->lent)
        m->memory_fd = -1;
    m->state = state;
    m->flags = state->header->flags;
    m->boot_info = state->header->boot_info;
    m->end = state->header->end;
    m->shutdown_message = state->header->shutdown_message;
    m->reset_limits = state->header->reset_limits;
    m->state_ns = clock_ns(CLOCK_MONOTONIC);
    run_size = open_kvm(m);
    m->vm_ns = clock_ns(CLOCK_MONOTONIC);
    if (run_size && make_memory(m, state, shared)) {
        m->memory_ns = clock_ns(CLOCK_MONOTONIC);
        if (make_interrupts(m, state)) {
            add_devices(m, state, console, closed);
            if (make_vcpus(m, state, run_size) && tell_guest(m, state)) {
                m->vcpus_ns = clock_ns(CLOCK_MONOTONIC);
                return true;
            }
        }
    }
    machine_discard(m);
    return false;
}

/* Starts a thread for each vCPU.  pins: the host CPU of each, -1 for any; or NULL. */
bool machine_start(struct machine *m, const int *pins)
{
    for (uint32_t i = 0; i < m->cpus; i++) {
        errno = vcpu_start(&m->vcpus[i], m->event_fd, pins ? pins[i] : -1);
        if (errno) {
            failed(m, "thread", (int)i);
            while (i--) {
                vcpu_stop(&m->vcpus[i]);
                vcpu_join(&m->vcpus[i]);
            }
            return false;
        }
    }
    m->running = true;
    return true;
}

/* Frees a machine that does not run. */
void machine_discard(struct machine *m)
{
    int *fds[] = {&m->vm_fd, &m->memory_fd, &m->irq_fd, &m->input_fd, &m->event_fd};

    while (m->made)
        vcpu_close(&m->vcpus[--m->made]);
    free(m->vcpus);
    m->vcpus = NULL;
    if (m->lent)
        m->memory_fd = -1;
    else if (m->host)
        munmap(m->host, m->memory);
    m->host = NULL;
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}
