"""The cffi declarations of `pyvmm._kvm`, compiled with the C parts by setup.py.

API mode: the compiler takes sizes, offsets and ioctl numbers from the system's
<linux/kvm.h>. Our own functions and enums are declared by our headers, where PYTHON
marks them; the structures here are Python's view of those whose other fields
(`...`) are none of its business.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

from pyvmm.host.sandbox.generate import filters

IOCTLS = """
KVM_GET_API_VERSION KVM_CHECK_EXTENSION KVM_CREATE_VM KVM_GET_VCPU_MMAP_SIZE
KVM_GET_SUPPORTED_CPUID KVM_SET_USER_MEMORY_REGION KVM_SET_TSS_ADDR
KVM_CREATE_IRQCHIP KVM_CREATE_PIT2 KVM_ENABLE_CAP
KVM_SET_GSI_ROUTING KVM_IRQFD KVM_IOEVENTFD KVM_SIGNAL_MSI KVM_CREATE_VCPU
KVM_GET_REGS KVM_SET_REGS KVM_GET_SREGS KVM_SET_SREGS KVM_GET_MSRS
KVM_SET_MSRS KVM_SET_CPUID2 KVM_GET_LAPIC KVM_SET_LAPIC KVM_GET_VCPU_EVENTS
KVM_SET_VCPU_EVENTS KVM_GET_MP_STATE KVM_SET_MP_STATE KVM_GET_TSC_KHZ
KVM_GET_STATS_FD KVM_SET_GUEST_DEBUG KVM_GET_DEVICE_ATTR
KVM_GET_XCRS KVM_GET_FPU KVM_SET_FPU KVM_GET_XSAVE KVM_GET_DEBUGREGS KVM_GET_CPUID2
KVM_GET_IRQCHIP KVM_GET_PIT2 KVM_GET_CLOCK
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
KVM_IRQFD_FLAG_DEASSIGN KVM_MP_STATE_RUNNABLE KVM_MP_STATE_HALTED KVM_MP_STATE_UNINITIALIZED KVM_MEM_READONLY
KVM_CPUID_FLAG_SIGNIFCANT_INDEX KVM_VCPU_TSC_CTRL KVM_VCPU_TSC_OFFSET
KVM_GUESTDBG_ENABLE KVM_GUESTDBG_SINGLESTEP KVM_GUESTDBG_USE_SW_BP KVM_GUESTDBG_USE_HW_BP
KVM_GUESTDBG_INJECT_BP KVM_GUESTDBG_INJECT_DB KVM_PIT_SPEAKER_DUMMY
SLOTS_MAX VCPU_STOPPED VCPU_FAILED
STATE_VERSION STATE_PC STATE_HAS_RUN STATE_OWN_PIT STATE_DEVICES IRQ_BASE SERIAL_PORT SERIAL_PORTS SERIAL_GSI VIRTIO_GSI
IOAPIC_PINS KVM_TSS_ADDRESS DEBUG_EXIT_PORT DEBUG_EXIT_PORTS I8042_COMMAND_PORT ACPI_SLEEP_PORT
ACPI_SLEEP_PORTS RAM_HOLE_START RAM_HOLE_END RAM_MAX
VCPU_EXIT_KINDS MFD_CLOEXEC MFD_ALLOW_SEALING EFD_CLOEXEC EFD_NONBLOCK
VSOCK_ANY_PORT VSOCK_FIRST_PORT VSOCK_LAST_PORT VSOCK_STREAMS VSOCK_BUFFER_MAX VSOCK_BUFFER_MIN VSOCK_BUFFERS
VSOCK_GATHERED REGISTRY_NAME_MAX REGISTRY_PATH_MAX
""".split()

#: Those of <linux/kvm.h>, then our own.
STRUCTURES = """
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
struct kvm_fpu {
    uint8_t fpr[8][16];
    uint16_t fcw, fsw;
    uint8_t ftwx, pad1;
    uint16_t last_opcode;
    uint64_t last_ip, last_dp;
    uint8_t xmm[16][16];
    uint32_t mxcsr;
    ...;
};
struct kvm_guest_debug_arch { unsigned long long debugreg[8]; };
struct kvm_guest_debug { uint32_t control; struct kvm_guest_debug_arch arch; ...; };
struct kvm_xcr { uint32_t xcr; uint64_t value; ...; };
struct kvm_xcrs { uint32_t nr_xcrs, flags; struct kvm_xcr xcrs[...]; ...; };
struct kvm_xsave { ...; };
struct kvm_debugregs { ...; };
struct kvm_irqchip { uint32_t chip_id; ...; };
struct kvm_pit_state2 { ...; };
struct kvm_clock_data { uint64_t clock; uint32_t flags; ...; };
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
    bool debugged;
    int thread_id;
    uint64_t first_run_ns;
    uint64_t exits[...];
    uint64_t emulated;
    struct trace *trace;
    ...;
};
struct sampler { uint32_t count; ...; };
struct ram { uint32_t count; ...; };
struct slots { uint32_t count; ...; };
struct bus { const struct ram *ram; struct slots *slots; ...; };
struct state { const struct state_header *header; char error[...]; ...; };
struct pit { uint64_t tsc_hz; bool unseen; ...; };
struct serial { int out_fd, input_fd, out_error; ...; };
struct paging { uint64_t next, end, root; ...; };
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
struct virtio_mmio {
    uint32_t status;
    uint64_t driver_features;
    int irq_fd;
    ...;
};
struct vsock {
    int note_fd;
    struct trace *trace;
    struct vsock_counts counts;
    uint32_t stream_count, next_port;
    uint64_t listens_since, retry_at;
    struct vsock_round round;
    ...;
};
struct sockaddr_un { char sun_path[...]; ...; };
"""

FUNCTIONS = """
int memfd_create(const char *name, unsigned int flags);
int munmap(void *address, size_t length);
int eventfd(unsigned int count, int flags);
"""


PYVMM = Path(__file__).parents[1]
HEADERS = sorted(PYVMM.glob("native/**/*.h"))
SOURCES = [PYVMM / "_kvm.c", *sorted(PYVMM.glob("native/**/*.c"))]

#: What `python.h` marks: a function, or all of an enum, a structure or a typedef.
_MARKED = re.compile(r"^PYTHON ((?:enum|struct) \w+ \{[^}]*\};|[^;]*;)", re.MULTILINE)


def declarations() -> str:
    """All that cffi is told: types before the functions that use them."""
    marked = [text for header in HEADERS for text in _MARKED.findall(header.read_text())]
    types = [text for text in marked if "{" in text or text.startswith("typedef")]
    constants = [f"#define {name} ..." for name in IOCTLS + CONSTANTS]
    return "\n".join([*constants, *types, STRUCTURES, FUNCTIONS, *(text for text in marked if text not in types)])


def _relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(PYVMM.parent)) for path in paths]


(PYVMM / "native/filters.inc").write_text(filters())
ffi = FFI()
ffi.cdef(declarations())
ffi.set_source(
    "pyvmm._kvm",
    """
    #include "emulate/emulate.h"
    #include "host.h"
    #include "bootinfo.h"
    #include "landlock.h"
    #include "machine.h"
    #include "memory/paging.h"
    #include "pages.h"
    #include "pit.h"
    #include "pin.h"
    #include "registry.h"
    #include "sandbox.h"
    #include "serial.h"
    #include "spawn.h"
    #include "trace.h"
    #include "vsock/vsock.h"
    #include <sys/eventfd.h>
    #include <sys/mman.h>
    """,
    sources=_relative(SOURCES),
    depends=_relative(HEADERS),
    include_dirs=["pyvmm/native"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
)
