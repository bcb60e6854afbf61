"""The cffi declarations of `pyvmm._kvm`, compiled with the C parts by setup.py.

API mode: the compiler takes sizes, offsets and ioctl numbers from the system's
<linux/kvm.h>; `...` stands for whatever else is in a structure.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

IOCTLS = """
KVM_GET_API_VERSION KVM_CHECK_EXTENSION KVM_CREATE_VM KVM_GET_VCPU_MMAP_SIZE
KVM_GET_SUPPORTED_CPUID KVM_SET_USER_MEMORY_REGION KVM_SET_TSS_ADDR
KVM_CREATE_IRQCHIP KVM_CREATE_PIT2 KVM_ENABLE_CAP
KVM_SET_GSI_ROUTING KVM_IRQFD KVM_IOEVENTFD KVM_SIGNAL_MSI KVM_CREATE_VCPU
KVM_GET_REGS KVM_SET_REGS KVM_GET_SREGS KVM_SET_SREGS KVM_GET_MSRS
KVM_SET_MSRS KVM_SET_CPUID2 KVM_GET_LAPIC KVM_SET_LAPIC KVM_GET_VCPU_EVENTS
KVM_SET_VCPU_EVENTS KVM_GET_MP_STATE KVM_SET_MP_STATE KVM_GET_TSC_KHZ
KVM_GET_STATS_FD KVM_SET_GUEST_DEBUG KVM_GET_DEVICE_ATTR
""".split()

CONSTANTS = """
KVM_CAP_USER_MEMORY KVM_CAP_IMMEDIATE_EXIT KVM_CAP_SPLIT_IRQCHIP KVM_CAP_IRQCHIP
KVM_CAP_IOEVENTFD KVM_CAP_IRQFD KVM_CAP_MAX_VCPUS KVM_CAP_NR_VCPUS
KVM_CAP_SYNC_REGS KVM_CAP_EXIT_ON_EMULATION_FAILURE KVM_CAP_MAX_VCPU_ID
KVM_CAP_BINARY_STATS_FD KVM_CAP_TSC_DEADLINE_TIMER
KVM_EXIT_UNKNOWN KVM_EXIT_EXCEPTION KVM_EXIT_IO KVM_EXIT_DEBUG KVM_EXIT_HLT
KVM_EXIT_MMIO KVM_EXIT_SHUTDOWN KVM_EXIT_FAIL_ENTRY KVM_EXIT_INTR
KVM_EXIT_INTERNAL_ERROR KVM_EXIT_SYSTEM_EVENT KVM_EXIT_IOAPIC_EOI
KVM_INTERNAL_ERROR_EMULATION
KVM_IOEVENTFD_FLAG_DATAMATCH KVM_IOEVENTFD_FLAG_PIO KVM_IOEVENTFD_FLAG_DEASSIGN
KVM_IRQFD_FLAG_DEASSIGN KVM_MP_STATE_RUNNABLE KVM_MEM_READONLY
KVM_CPUID_FLAG_SIGNIFCANT_INDEX KVM_VCPU_TSC_CTRL KVM_VCPU_TSC_OFFSET
KVM_GUESTDBG_ENABLE KVM_GUESTDBG_SINGLESTEP KVM_PIT_SPEAKER_DUMMY
EARLY_SLOT EARLY_ROOM EARLY_PINS EARLY_TSS VCPU_STOPPED VCPU_FAILED
VCPU_EXIT_KINDS MFD_CLOEXEC MADV_POPULATE_WRITE EFD_CLOEXEC EFD_NONBLOCK
VSOCK_ANY_PORT VSOCK_STREAMS VSOCK_BUFFER_MAX VSOCK_BUFFER_MIN VSOCK_BUFFERS
""".split()

DECLARATIONS = """
struct kvm_userspace_memory_region {
    uint32_t slot, flags;
    uint64_t guest_phys_addr, memory_size, userspace_addr;
};
struct kvm_regs {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
};
struct kvm_segment {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint8_t type, present, dpl, db, s, l, g, avl, unusable;
    ...;
};
struct kvm_dtable { uint64_t base; uint16_t limit; ...; };
struct kvm_sregs {
    struct kvm_segment cs, ds, es, fs, gs, ss, tr, ldt;
    struct kvm_dtable gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    ...;
};
struct kvm_cpuid_entry2 {
    uint32_t function, index, flags, eax, ebx, ecx, edx;
    ...;
};
struct kvm_cpuid2 { uint32_t nent; struct kvm_cpuid_entry2 entries[]; ...; };
struct kvm_msr_entry { uint32_t index; uint64_t data; ...; };
struct kvm_msrs { uint32_t nmsrs; struct kvm_msr_entry entries[]; ...; };
struct kvm_lapic_state { char regs[...]; };
struct kvm_vcpu_events { ...; };
struct kvm_mp_state { uint32_t mp_state; };
struct kvm_enable_cap { uint32_t cap, flags; unsigned long long args[4]; ...; };
struct kvm_pit_config { uint32_t flags; ...; };
struct kvm_irq_routing_entry { uint32_t gsi, type; ...; };
struct kvm_irq_routing {
    uint32_t nr, flags;
    struct kvm_irq_routing_entry entries[];
    ...;
};
struct kvm_ioeventfd {
    uint64_t datamatch, addr;
    uint32_t len;
    int32_t fd;
    uint32_t flags;
    ...;
};
struct kvm_irqfd { uint32_t fd, gsi, flags, resamplefd; ...; };
struct kvm_msi { uint32_t address_lo, address_hi, data, flags; ...; };
struct kvm_device_attr { uint32_t flags, group; uint64_t attr, addr; };

struct vcpu {
    int fd, index;
    int reason, error;
    bool write;
    uint64_t address;
    uint32_t size, count;
    uint8_t *data;
    uint64_t detail[16];
    uint32_t suberror, details;
    uint64_t first_run_ns;
    uint64_t exits[...];
    uint64_t emulated;
    ...;
};
struct ram { uint32_t count; ...; };
void ram_add(struct ram *, uint64_t start, uint64_t size, uint8_t *host);
struct slots { uint32_t count; ...; };
void slots_init(struct slots *, int vm_fd, const struct ram *, uint64_t made);
uint64_t slots_end(const struct slots *, uint64_t address);
int slots_cover(struct slots *, uint64_t address);
int slots_cover_all(struct slots *);
struct early { int kvm_fd, vm_fd, memory_fd, vcpu_fd; uint8_t *host; int cpus; };
bool early_make(struct early *);
bool early_take(struct early *);
void early_discard(struct early *);
struct bus { const struct ram *ram; struct slots *slots; ...; };
struct serial { ...; };
struct paging { uint64_t next, end, root; ...; };
typedef bool bus_handler(void *, struct vcpu *, bool, uint64_t, uint8_t *,
                         uint32_t, uint32_t);

int vcpu_init(struct vcpu *, int fd, size_t run_size, int index, struct bus *);
void vcpu_close(struct vcpu *);
int vcpu_run(struct vcpu *);
int vcpu_start(struct vcpu *, int event_fd, int cpu);
bool vcpu_has_exited(struct vcpu *);
void vcpu_resume(struct vcpu *);
void vcpu_stop(struct vcpu *);
void vcpu_join(struct vcpu *);
int bus_add(struct bus *, bool mmio, uint64_t base, uint64_t size,
            bus_handler *, void *device);

void serial_init(struct serial *, int out_fd, int irq_fd, int input_fd);
bool serial_access(void *device, struct vcpu *, bool write, uint64_t offset,
                   uint8_t *data, uint32_t size, uint32_t count);
uint32_t serial_input(struct serial *, const uint8_t *data, uint32_t len);

enum outcome { DONE, FAULT, UNKNOWN };
struct fxsave { ...; };
struct cpu {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct fxsave fx;
    const struct ram *ram;
    uint8_t vector;
    bool has_error;
    uint32_t error;
    ...;
};
struct insn { uint8_t length; ...; };
enum outcome insn_decode(struct cpu *, struct insn *);
enum outcome insn_execute(struct cpu *, const struct insn *);

int paging_init(struct paging *, uint8_t *ram, uint64_t arena,
                uint64_t arena_end, bool gigabyte_pages);
int paging_map(struct paging *, uint64_t start, uint64_t end, uint64_t flags);

enum queue_error {
    QUEUE_OK, QUEUE_BAD_SIZE, QUEUE_BAD_RINGS, QUEUE_AVAIL_TOO_FAR,
    QUEUE_BAD_HEAD, QUEUE_BAD_NEXT, QUEUE_CHAIN_TOO_LONG, QUEUE_EMPTY_BUFFER,
    QUEUE_BUFFER_OUTSIDE, QUEUE_READ_AFTER_WRITE, QUEUE_BAD_INDIRECT
};
struct queue {
    uint16_t size_max, size;
    uint64_t desc, avail, used;
    bool event_idx, indirect, enabled;
    uint8_t *desc_at, *avail_at, *used_at;
    uint16_t next_avail, next_used, signalled_used;
    enum queue_error error;
    ...;
};
struct iovec { void *iov_base; size_t iov_len; };
struct chain {
    uint16_t head;
    uint32_t readable, count;
    uint64_t readable_bytes, writable_bytes;
    struct iovec iov[...];
};
void queue_init(struct queue *, const struct ram *, uint16_t size_max);
void queue_reset(struct queue *);
int queue_enable(struct queue *);
int queue_pop(struct queue *, struct chain *);
void queue_push(struct queue *, uint16_t head, uint32_t written);
bool queue_must_interrupt(struct queue *);
bool queue_watch(struct queue *);
void queue_unwatch(struct queue *);

struct virtio_mmio {
    uint32_t status;
    uint64_t driver_features;
    int irq_fd;
    ...;
};
enum virtio_mmio_step {
    VIRTIO_MMIO_SETTLED, VIRTIO_MMIO_START, VIRTIO_MMIO_CHANGE, VIRTIO_MMIO_RESET
};
void virtio_mmio_init(struct virtio_mmio *, uint32_t device_id, uint64_t features,
                      int irq_fd);
int virtio_mmio_add_queue(struct virtio_mmio *, struct queue *, int kick_fd);
bool virtio_mmio_access(void *device, struct vcpu *, bool write, uint64_t offset,
                        uint8_t *data, uint32_t size, uint32_t count);
void virtio_mmio_set_config(struct virtio_mmio *, const uint8_t *data, uint32_t size);
enum virtio_mmio_step virtio_mmio_next(struct virtio_mmio *);
bool virtio_mmio_runs(struct virtio_mmio *);
int virtio_mmio_change_queues(struct virtio_mmio *);
void virtio_mmio_reset(struct virtio_mmio *);
void virtio_mmio_needs_reset(struct virtio_mmio *);
void virtio_mmio_interrupt(struct virtio_mmio *);
void virtio_mmio_use_line(struct virtio_mmio *, int vm_fd, uint32_t gsi);
int virtio_mmio_use_elsewhere(struct virtio_mmio *);
void virtio_mmio_end_relay(struct virtio_mmio *);

struct vsock { int note_fd; uint32_t stream_count; ...; };
enum vsock_note_kind { VSOCK_NOTE_FORBIDDEN, VSOCK_NOTE_REFUSED, VSOCK_NOTE_BROKEN };
struct vsock_note { enum vsock_note_kind kind; uint32_t value; enum queue_error error; };
int vsock_init(struct vsock *, uint64_t cid);
void vsock_activate(struct vsock *, struct virtio_mmio *, bool legacy);
int vsock_start(struct vsock *);
void vsock_pause(struct vsock *);
int vsock_turn(struct vsock *, int timeout_ms);
void vsock_reset(struct vsock *);
void vsock_close(struct vsock *);
int vsock_listen(struct vsock *, int fd, uint32_t guest_port);
int vsock_listen_unix(struct vsock *, int fd, const char *path);
int vsock_allow(struct vsock *, uint32_t port, const uint8_t *address, uint32_t length);
bool vsock_take_note(struct vsock *, struct vsock_note *);

int ioctl_ptr(int fd, unsigned long request, void *argument);
int ioctl_int(int fd, unsigned long request, unsigned long argument);
void route_ioapic(struct kvm_irq_routing_entry *, uint32_t gsi, uint32_t pin);
void route_msi(struct kvm_irq_routing_entry *, uint32_t gsi, uint64_t address,
               uint32_t data);
uint64_t rdtsc(void);
uint64_t clock_ns(int clock);
void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
int timer_fd(uint64_t ns);
int signal_fd(const int *signals, int count);
void signal_fd_close(int fd, const int *signals, int count);
uint8_t *map_memory(int fd, uint64_t size, uint8_t *reserved);
int memfd_create(const char *name, unsigned int flags);
int munmap(void *address, size_t length);
int madvise(void *address, size_t length, int advice);
int eventfd(unsigned int count, int flags);
struct sockaddr_un { char sun_path[...]; ...; };
enum warm_reply_kind { WARM_ACCEPTED, WARM_ENDED };
void early_start(void (*first)(void));
bool warm_address(struct sockaddr_un *);
void warm_know_myself(void);
int warm_accept(int fd);
const char *warm_serve(int fd, uint32_t *words, uint64_t *started_ns);
bool warm_reply(int fd, int kind, int value);
void warm_populate(void);
void warm_die_with(int parent);
int spawn(char *const *argv, int keep, int output, const char *read_only, bool as_root);
"""


PYVMM = Path(__file__).parents[1]
ROOT = PYVMM.parent

ffi = FFI()
ffi.cdef("".join(f"#define {name} ...\n" for name in IOCTLS + CONSTANTS) + DECLARATIONS)
ffi.set_source(
    "pyvmm._kvm",
    """
    #define _GNU_SOURCE
    #include "emulate/emulate.h"
    #include "vsock/vsock.h"
    #include "warm_server.h"
    #include <sys/eventfd.h>
    #include <sys/mman.h>
    """,
    sources=[str(path.relative_to(ROOT)) for path in (PYVMM / "_kvm.c", *sorted(PYVMM.glob("native/**/*.c")))],
    depends=[str(path.relative_to(ROOT)) for path in sorted(PYVMM.glob("native/**/*.h"))],
    include_dirs=["pyvmm/native"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
)
