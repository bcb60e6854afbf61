/* Makes a machine of a State that has been checked, and runs it.
 *
 * KVM makes a memory slot fast only as long as there is no interrupt controller, so memory
 * comes first. */
#define _GNU_SOURCE
#include "thaw/parts.h"
#include "bootinfo.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define KVM_API 12
#define LAPIC_BASE 0xfee00000u
#define HALT_POLL 500000u /* ns */

/* ---- the VM ------------------------------------------------------------- */

static bool has(struct machine *m, int kvm, int capability, const char *name)
{
    errno = ENXIO;
    return ioctl(kvm, KVM_CHECK_EXTENSION, capability) > 0 || thaw_failed(m, name, -1);
}

/* Makes the VM.  Returns the size of a kvm_run area, or 0. */
static size_t make_vm(struct machine *m, int kvm)
{
    int size;

    if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API) {
        errno = EINVAL;
        return thaw_failed(m, "KVM_GET_API_VERSION", -1);
    }
    if (!has(m, kvm, KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT") ||
        !has(m, kvm, KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP") ||
        !has(m, kvm, KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS"))
        return 0;
    m->vm_fd = ioctl(kvm, KVM_CREATE_VM, 0);
    if (m->vm_fd < 0)
        return thaw_failed(m, "KVM_CREATE_VM", -1);
    size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    return size > 0 ? (size_t)size : thaw_failed(m, "KVM_GET_VCPU_MMAP_SIZE", -1);
}

/* What pyvmm-oci has opened (oci.c), or /dev/kvm. */
static size_t open_kvm(struct machine *m)
{
    const char *passed = getenv("PYVMM_KVM_FD");
    int kvm = passed ? fcntl(atoi(passed), F_DUPFD_CLOEXEC, 0) : open("/dev/kvm", O_RDWR | O_CLOEXEC);
    size_t run_size;

    if (kvm < 0)
        return thaw_failed(m, "/dev/kvm", -1);
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
    return THAW_IOCTL(m, m->vm_fd, KVM_SET_GSI_ROUTING, &routing, -1);
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
    return THAW_IOCTL(m, m->vm_fd, KVM_SET_GSI_ROUTING, &routing, -1);
}

static bool make_pc(struct machine *m, const struct state *state)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    const void *section;

    bool own_pit = state->header->flags & STATE_OWN_PIT;

    if (!THAW_IOCTL(m, m->vm_fd, KVM_CREATE_IRQCHIP, 0, -1) ||
        (!own_pit && !THAW_IOCTL(m, m->vm_fd, KVM_CREATE_PIT2, &pit, -1)) || !route_pins(m))
        return false;
    for (uint32_t i = 0; i < 3; i++) {
        section = state_section(state, i < 2 ? STATE_PIC : STATE_IOAPIC, i % 2, NULL);
        if (section && !THAW_IOCTL(m, m->vm_fd, KVM_SET_IRQCHIP, section, -1))
            return false;
    }
    section = own_pit ? NULL : state_section(state, STATE_PIT, 0, NULL);
    return !section || THAW_IOCTL(m, m->vm_fd, KVM_SET_PIT2, section, -1);
}

static bool make_interrupts(struct machine *m, const struct state *state)
{
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};
    struct kvm_irqfd irqfd = {.gsi = SERIAL_GSI};

    m->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->input_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->irq_fd < 0 || m->input_fd < 0 || m->event_fd < 0)
        return thaw_failed(m, "eventfd", -1);
    if (state->header->flags & STATE_PC ? !make_pc(m, state)
                                        : !THAW_IOCTL(m, m->vm_fd, KVM_ENABLE_CAP, &split, -1) ||
                                              !route_messages(m, state->header->device_count))
        return false;
    irqfd.fd = (uint32_t)m->irq_fd;
    return THAW_IOCTL(m, m->vm_fd, KVM_IRQFD, &irqfd, -1) &&
           THAW_IOCTL(m, m->vm_fd, KVM_SET_TSS_ADDR, KVM_TSS_ADDRESS, -1);
}

/* A guest with devices mostly halts until one has answered, and the host's default is for shorter
 * waits: KVM polls for them as long as no other thread wants this CPU, and sleeps at once after a
 * longer one.  One that cannot be told so is slower, no more. */
static void poll_for_devices(const struct machine *m, const struct state *state)
{
    struct kvm_enable_cap poll = {.cap = KVM_CAP_HALT_POLL, .args = {HALT_POLL}};

    if (state->header->device_count)
        ioctl(m->vm_fd, KVM_ENABLE_CAP, &poll);
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
    if (state->header->flags & STATE_OWN_PIT) {
        pit_init(&m->pit, state_section(state, STATE_PIT, 0, NULL));
        bus_add(&m->bus, false, PIT_PORT, PIT_PORTS, pit_access, &m->pit);
        bus_add(&m->bus, false, PIT_GATE_PORT, PIT_GATE_PORTS, pit_gate_access, &m->pit);
    }
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
    uint64_t tsc;
    int khz;

    m->has_tsc_offset = ioctl(m->vcpus[0].fd, KVM_GET_DEVICE_ATTR, &attr) == 0;
    m->clock_ns = clock_with_tsc(CLOCK_MONOTONIC, &m->clock_tsc);
    if (clock) {
        memcpy(&clock_now, clock, sizeof clock_now);
        clock_now.flags = 0;
        if (!THAW_IOCTL(m, m->vm_fd, KVM_SET_CLOCK, &clock_now, -1))
            return false;
    }
    if (!state->header->boot_info && !(state->header->flags & STATE_OWN_PIT))
        return true;
    khz = ioctl(m->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return thaw_failed(m, "KVM_GET_TSC_KHZ", 0);
    m->pit.tsc_hz = (uint64_t)khz * 1000;
    m->pit.tsc_offset = m->tsc_offset;
    if (!state->header->boot_info)
        return true;
    info = (void *)ram_at(&m->ram, state->header->boot_info, sizeof *info);
    info->tsc_hz = (uint64_t)khz * 1000;
    info->wall_clock_ns = clock_with_tsc(CLOCK_REALTIME, &tsc);
    info->wall_clock_tsc = tsc + m->tsc_offset;
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
    if (run_size && thaw_memory(m, state, shared)) {
        m->memory_ns = clock_ns(CLOCK_MONOTONIC);
        if (make_interrupts(m, state)) {
            poll_for_devices(m, state);
            add_devices(m, state, console, closed);
            if (thaw_vcpus(m, state, run_size) && tell_guest(m, state)) {
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
        errno = vcpu_start(&m->vcpus[i], m->event_fd, pins ? pins[i] : -1, m->cpus);
        if (errno) {
            thaw_failed(m, "thread", (int)i);
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
