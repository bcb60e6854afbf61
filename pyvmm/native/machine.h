/* A machine made of a State: KVM's objects, memory, and the devices that are in C. */
#ifndef PYVMM_MACHINE_H
#define PYVMM_MACHINE_H

#include "pit.h"
#include "serial.h"
#include "state.h"
#include "vcpu.h"

#define IOAPIC_PINS 24
#define KVM_TSS_ADDRESS 0xfffbd000ul /* three pages that KVM reserves on Intel hosts */
#define IRQ_BASE 32 /* GSI n of a direct-booted guest has vector IRQ_BASE + n */
#define SERIAL_PORT 0x3f8
#define SERIAL_PORTS 8
#define SERIAL_GSI 4
#define VIRTIO_GSI 5
#define DEBUG_EXIT_PORT 0xf4
#define DEBUG_EXIT_PORTS 4
#define I8042_COMMAND_PORT 0x64
#define ACPI_SLEEP_PORT 0x600
#define ACPI_SLEEP_PORTS 2

PYTHON struct machine {
    int vm_fd;
    int memory_fd;     /* a memfd, if other processes map the memory, or -1 */
    int irq_fd;        /* eventfds of the console: its interrupt, */
    int input_fd;      /* and that it wants input (serial.h) */
    int event_fd;      /* eventfd: a vCPU has had an exit that C does not serve */
    uint32_t cpus;
    uint32_t made;     /* vCPUs that are there; all of them once it is thawed */
    bool running;      /* their threads have been started */
    bool lent;         /* RAM is the caller's, who has put the pages into it */
    uint8_t *host;     /* host address of RAM */
    uint64_t memory;   /* bytes of it */
    const struct state *state; /* that it was made of; the caller keeps it */
    uint64_t boot_info, end; /* these as in the State's header */
    uint32_t flags, shutdown_message, reset_limits;
    struct vcpu *vcpus;
    struct ram ram;
    struct slots slots;
    struct bus bus;
    struct serial serial;
    struct pit pit; /* with STATE_OWN_PIT */

    bool has_tsc_offset; /* of vCPU 0: guest TSC minus host TSC, */
    uint64_t tsc_offset;
    uint64_t clock_tsc, clock_ns; /* and host TSC and CLOCK_MONOTONIC at the same moment */
    uint64_t state_ns, vm_ns, memory_ns, vcpus_ns, exit_ns; /* CLOCK_MONOTONIC of steps */

    const char *failed; /* the call that failed, */
    int error;          /* its errno, */
    int failed_cpu;     /* and the vCPU, or -1 */
};

PYTHON bool machine_thaw(struct machine *machine, const struct state *state, int console,
                         bool shared, bool closed);
PYTHON bool machine_start(struct machine *machine, const int *pins);
PYTHON bool machine_map(struct machine *machine, uint64_t size, bool shared);
PYTHON void machine_discard(struct machine *machine);

#endif
