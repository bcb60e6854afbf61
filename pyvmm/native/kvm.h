/* Shared by the C parts of pyvmm: vCPUs, the bus they exit to, the devices on it. */
#ifndef PYVMM_KVM_H
#define PYVMM_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;

/* Serves one access to a region.  `data` holds `count` values of `size` bytes
 * (count > 1 only for string I/O); a read fills it.  `offset` is relative to
 * the region, and offset + size never passes its end.  Returns false to have
 * Python serve the access as well, before the vCPU goes on. */
typedef bool bus_handler(void *device, struct vcpu *vcpu, bool write,
                         uint64_t offset, uint8_t *data, uint32_t size,
                         uint32_t count);

/* A range of ports or of guest-physical addresses.  One without a handler is
 * served in Python. */
struct bus_region {
    uint64_t base, size;
    bus_handler *handler;
    void *device;
};

#define BUS_REGIONS 64

/* The guest's RAM: ranges of guest-physical addresses and where they are here. */
#define RAM_REGIONS 2

struct ram {
    uint32_t count;
    struct {
        uint64_t start, size;
        uint8_t *host;
    } region[RAM_REGIONS];
};

/* Which of it KVM knows as memory: see memory/slots.c. */
#define SLOTS_MAX 128

struct slots {
    pthread_mutex_t lock;
    int vm_fd;
    const struct ram *ram;
    uint32_t count;
    struct {
        uint64_t start, end;
    } slot[SLOTS_MAX];
};

/* Filled before the first vCPU runs and constant from then on: no lock. */
struct bus {
    const struct ram *ram;
    struct slots *slots; /* NULL where all slots are made beforehand */
    struct bus_region pio[BUS_REGIONS], mmio[BUS_REGIONS];
    uint32_t pio_count, mmio_count;
};

/* Why vcpu_run() returned, beside the reasons of KVM (which are >= 0). */
#define VCPU_STOPPED (-1) /* vcpu_stop() was called */
#define VCPU_FAILED (-2)  /* KVM_RUN failed: vcpu.error is its errno */

#define VCPU_EXIT_KINDS 64

struct vcpu {
    int fd, index;
    struct kvm_run *run;
    size_t run_size;
    struct bus *bus;

    /* The exit that vcpu_run() returned for, for Python to serve. */
    int reason, error;
    bool write;
    uint64_t address;
    uint32_t size, count;
    uint8_t *data;
    uint64_t detail[16]; /* what KVM adds to a failure, `details` words of it */
    uint32_t suberror, details;

    uint64_t plain_out; /* RIP of an OUT known not to be a string instruction */
    uint8_t string[4096];

    uint64_t first_run_ns;            /* CLOCK_MONOTONIC of the first KVM_RUN */
    uint64_t exits[VCPU_EXIT_KINDS];  /* by KVM_EXIT_*, served in C or not */
    uint64_t emulated; /* instructions that KVM could not execute */

    pthread_t thread;
    int event_fd;    /* eventfd that tells of an exit */
    sem_t resume;    /* posted when the exit has been served */
    atomic_bool stop, running, exited;
};

/* memory/ram.c */
void ram_add(struct ram *ram, uint64_t start, uint64_t size, uint8_t *host);
uint8_t *ram_at(const struct ram *ram, uint64_t address, uint64_t length);

/* kvm.c */
int vcpu_init(struct vcpu *vcpu, int fd, size_t run_size, int index,
              struct bus *bus);
void vcpu_close(struct vcpu *vcpu);
int vcpu_run(struct vcpu *vcpu);
int vcpu_start(struct vcpu *vcpu, int event_fd, int cpu);
bool vcpu_has_exited(struct vcpu *vcpu);
void vcpu_resume(struct vcpu *vcpu);
void vcpu_stop(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);
int bus_add(struct bus *bus, bool mmio, uint64_t base, uint64_t size,
            bus_handler *handler, void *device);

/* emulate.c */
bool vcpu_emulate(struct vcpu *vcpu);

/* memory/slots.c */
void slots_init(struct slots *slots, int vm_fd, const struct ram *ram, uint64_t made);
uint64_t slots_end(const struct slots *slots, uint64_t address);
int slots_cover(struct slots *slots, uint64_t address);
int slots_cover_all(struct slots *slots);

/* early.c */
#define EARLY_SLOT (128ull << 20) /* bytes of slot 0 */
#define EARLY_ROOM (1ull << 39)   /* bytes mapped for RAM: none is larger */

#define EARLY_PINS 24             /* of the user-space IOAPIC */
#define EARLY_TSS 0xfffbd000ul    /* for KVM_SET_TSS_ADDR */

struct early {
    int kvm_fd, vm_fd, memory_fd, vcpu_fd; /* in the order in which they are opened */
    uint8_t *host;                         /* where the memfd is mapped */
    int cpus; /* vCPU 0 has its CPUID for a machine of so many vCPUs; 0: it has none */
};

bool early_make(struct early *early);
void early_start(void (*first)(void));
bool early_take(struct early *early);
void early_discard(struct early *early);

/* host.c */
int ioctl_ptr(int fd, unsigned long request, void *argument);
int ioctl_int(int fd, unsigned long request, unsigned long argument);
void route_ioapic(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint32_t pin);
void route_msi(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint64_t address,
               uint32_t data);
uint64_t rdtsc(void);
uint64_t clock_ns(int clock);
void event_raise(int fd);
void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
int timer_fd(uint64_t ns);
int signal_fd(const int *signals, int count);
int spawn(char *const *argv, int keep, int output, const char *read_only, bool as_root);
void signal_fd_close(int fd, const int *signals, int count);
uint8_t *map_memory(int fd, uint64_t size, uint8_t *reserved);

/* serial.c */
#define SERIAL_FIFO 16

struct serial {
    pthread_mutex_t lock;
    int out_fd;       /* transmitted bytes; -1 discards them */
    int irq_fd;       /* eventfd that raises the interrupt, or -1 */
    int input_fd;     /* eventfd: the guest wants input, or has room again */
    uint8_t ier, lcr, mcr, scr, fcr;
    uint16_t divisor;
    bool thr_empty;   /* THR-empty interrupt not yet acknowledged */
    bool irq_line;
    bool wants_input; /* the guest has ever looked for input */
    uint8_t rx[SERIAL_FIFO];
    uint32_t rx_head, rx_len;
};

void serial_init(struct serial *serial, int out_fd, int irq_fd, int input_fd);
bus_handler serial_access;
uint32_t serial_input(struct serial *serial, const uint8_t *data, uint32_t len);

/* memory/paging.c */
struct paging {
    uint8_t *ram;           /* host address of guest-physical 0 */
    uint64_t next, end;     /* the arena that tables are taken from */
    uint64_t root;          /* guest-physical address of the PML4, for CR3 */
    bool gigabyte_pages;    /* CPUID.80000001H:EDX[26] */
};

int paging_init(struct paging *paging, uint8_t *ram, uint64_t arena,
                uint64_t arena_end, bool gigabyte_pages);
int paging_map(struct paging *paging, uint64_t start, uint64_t end,
               uint64_t flags);

#endif
