# Made by native/stubs.py of what native/build.py declares.

from typing import Any, Generic, Literal, TypeVar, overload

_Item = TypeVar("_Item")

class CType:
    item: CType
    fields: list[tuple[str, CField]]

class CField:
    type: CType

class CData:
    def __add__(self, items: int) -> CData: ...

class Numbers(CData):
    def __add__(self, items: int) -> Numbers: ...
    def __getitem__(self, index: int) -> int: ...
    def __setitem__(self, index: int, value: int) -> None: ...

class Items(CData, Generic[_Item]):
    def __add__(self, items: int) -> _Item: ...  # type: ignore[override]
    def __getitem__(self, index: int) -> _Item: ...

class BootInfo(CData):
    magic: int
    version: int
    size: int
    cpu_count: int
    tsc_hz: int
    wall_clock_ns: int
    wall_clock_tsc: int
    command_line: int
    command_line_size: int
    memory_map_count: int
    memory_map: int
    devices: int
    device_count: int
    console_vector: int
    cpu_areas: int
    cpu_area_size: int
    supervisor_size: int
    stack_size: int
    flags: int
    shutdown_vector: int
    generation_vector: int
    generation: int
    marks: Numbers
    random: Numbers

class Vcpu(CData):
    fd: int
    index: int
    reason: int
    error: int
    write: bool
    address: int
    size: int
    count: int
    data: Numbers
    detail: Numbers
    suberror: int
    details: int
    debugged: bool
    thread_id: int
    first_run_ns: int
    exits: Numbers
    emulated: int
    trace: Trace

class Machine(CData):
    vm_fd: int
    memory_fd: int
    irq_fd: int
    input_fd: int
    event_fd: int
    cpus: int
    made: int
    running: bool
    lent: bool
    host: Numbers
    memory: int
    state: State
    boot_info: int
    end: int
    flags: int
    shutdown_message: int
    reset_limits: int
    vcpus: Vcpu
    ram: Ram
    slots: Slots
    bus: Bus
    serial: Serial
    pit: Pit
    has_tsc_offset: bool
    tsc_offset: int
    clock_tsc: int
    clock_ns: int
    state_ns: int
    vm_ns: int
    memory_ns: int
    vcpus_ns: int
    exit_ns: int
    failed: CData
    error: int
    failed_cpu: int

class State(CData):
    header: StateHeader
    error: CData

class Ram(CData):
    count: int

class Slots(CData):
    count: int

class Bus(CData):
    ram: Ram
    slots: Slots

class Serial(CData):
    out_fd: int
    input_fd: int
    out_error: int

class Pit(CData):
    tsc_hz: int
    unseen: bool

class Sandbox(CData):
    mode: int
    features: int
    vm_fd: int
    writes: bool
    user: int
    group: int
    files: CData
    named_user: bool
    started: bool
    entry_fd: int
    registry_fd: int
    report_fd: int
    image_fd: int
    ports_fd: int
    missing: int
    error: int

class SerialState(CData):
    ier: int
    lcr: int
    mcr: int
    scr: int
    fcr: int
    thr_empty: int
    wants_input: int
    rx_len: int
    divisor: int
    reserved: Numbers
    rx: Numbers

class StateHeader(CData):
    magic: CData
    version: int
    sections: int
    head_size: int
    file_size: int
    head_sum: int
    pages_sum: int
    memory: int
    cpus: int
    flags: int
    boot_info: int
    end: int
    shutdown_message: int
    reset_limits: int
    reserved: int
    device_count: int
    devices: Numbers

class StateSection(CData):
    kind: int
    index: int
    offset: int
    size: int

class StateRun(CData):
    address: int
    size: int

class TraceSpan(CData):
    start: int
    end: int
    address: int
    kind: int
    count: int
    write: int
    unused: int

class Trace(CData):
    span: TraceSpan
    room: int
    count: int
    dropped: int

class VirtioQueueSaved(CData):
    desc: int
    avail: int
    used: int
    size: int
    next_avail: int
    next_used: int
    signalled_used: int
    ready: int
    reserved: Numbers

class VirtioMmioSaved(CData):
    device_id: int
    queue_count: int
    driver_features: int
    device_features_sel: int
    driver_features_sel: int
    queue_sel: int
    status: int
    interrupt_status: int
    config_generation: int
    runs: int
    features_read: int
    reserved: Numbers
    queue: Items[VirtioQueueSaved]

class VsockNote(CData):
    kind: int
    value: int
    error: int

class VsockCounts(CData):
    connections: int
    resets: int
    stalls: int
    to_guest: int
    from_guest: int

class VsockRound(CData):
    number: int
    answered: int
    asked: int
    vain: int
    size: int
    wait_until: int

class VsockBusy(CData):
    until: int
    times: int

class KvmUserspaceMemoryRegion(CData):
    slot: int
    flags: int
    guest_phys_addr: int
    memory_size: int
    userspace_addr: int

class KvmRegs(CData):
    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rsp: int
    rbp: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    rflags: int

class KvmSegment(CData):
    base: int
    limit: int
    selector: int
    type: int
    present: int
    dpl: int
    db: int
    s: int
    l: int
    g: int
    avl: int
    unusable: int

class KvmDtable(CData):
    base: int
    limit: int

class KvmSregs(CData):
    cs: KvmSegment
    ds: KvmSegment
    es: KvmSegment
    fs: KvmSegment
    gs: KvmSegment
    ss: KvmSegment
    tr: KvmSegment
    ldt: KvmSegment
    gdt: KvmDtable
    idt: KvmDtable
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int
    efer: int
    apic_base: int

class KvmCpuidEntry2(CData):
    function: int
    index: int
    flags: int
    eax: int
    ebx: int
    ecx: int
    edx: int

class KvmCpuid2(CData):
    nent: int
    entries: Items[KvmCpuidEntry2]

class KvmMsrEntry(CData):
    index: int
    data: int

class KvmMsrs(CData):
    nmsrs: int
    entries: Items[KvmMsrEntry]

class KvmLapicState(CData):
    regs: CData

class KvmVcpuEvents(CData): ...

class KvmMpState(CData):
    mp_state: int

class KvmFpu(CData):
    fpr: CData
    fcw: int
    fsw: int
    ftwx: int
    pad1: int
    last_opcode: int
    last_ip: int
    last_dp: int
    xmm: CData
    mxcsr: int

class KvmGuestDebugArch(CData):
    debugreg: Numbers

class KvmGuestDebug(CData):
    control: int
    arch: KvmGuestDebugArch

class KvmXcr(CData):
    xcr: int
    value: int

class KvmXcrs(CData):
    nr_xcrs: int
    flags: int
    xcrs: Items[KvmXcr]

class KvmXsave(CData): ...
class KvmDebugregs(CData): ...

class KvmIrqchip(CData):
    chip_id: int

class KvmPitState2(CData): ...

class KvmClockData(CData):
    clock: int
    flags: int

class KvmEnableCap(CData):
    cap: int
    flags: int
    args: Numbers

class KvmPitConfig(CData):
    flags: int

class KvmIrqRoutingEntry(CData):
    gsi: int
    type: int

class KvmIrqRouting(CData):
    nr: int
    flags: int
    entries: Items[KvmIrqRoutingEntry]

class KvmIoeventfd(CData):
    datamatch: int
    addr: int
    len: int
    fd: int
    flags: int

class KvmIrqfd(CData):
    fd: int
    gsi: int
    flags: int
    resamplefd: int

class KvmMsi(CData):
    address_lo: int
    address_hi: int
    data: int
    flags: int

class KvmDeviceAttr(CData):
    flags: int
    group: int
    attr: int
    addr: int

class Sampler(CData):
    count: int

class Paging(CData):
    next: int
    end: int
    root: int

class Fxsave(CData): ...

class Cpu(CData):
    regs: KvmRegs
    sregs: KvmSregs
    fx: Fxsave
    ram: Ram
    vector: int
    has_error: bool
    error: int

class Insn(CData):
    length: int

class Queue(CData):
    size_max: int
    size: int
    desc: int
    avail: int
    used: int
    event_idx: bool
    indirect: bool
    enabled: bool
    desc_at: Numbers
    avail_at: Numbers
    used_at: Numbers
    next_avail: int
    next_used: int
    signalled_used: int
    error: int

class Iovec(CData):
    iov_base: CData
    iov_len: int

class Chain(CData):
    head: int
    readable: int
    count: int
    readable_bytes: int
    writable_bytes: int
    iov: Items[Iovec]

class VirtioMmio(CData):
    status: int
    driver_features: int
    irq_fd: int

class Vsock(CData):
    note_fd: int
    trace: Trace
    counts: VsockCounts
    stream_count: int
    next_port: int
    listens_since: int
    retry_at: int
    round: VsockRound

class SockaddrUn(CData):
    sun_path: CData

class _Ffi:
    NULL: Any
    errno: int
    @overload
    def new(self, cdecl: Literal["struct boot_info *"], init: Any = ...) -> BootInfo: ...
    @overload
    def new(self, cdecl: Literal["struct vcpu *"], init: Any = ...) -> Vcpu: ...
    @overload
    def new(self, cdecl: Literal["struct machine *"], init: Any = ...) -> Machine: ...
    @overload
    def new(self, cdecl: Literal["struct state *"], init: Any = ...) -> State: ...
    @overload
    def new(self, cdecl: Literal["struct ram *"], init: Any = ...) -> Ram: ...
    @overload
    def new(self, cdecl: Literal["struct slots *"], init: Any = ...) -> Slots: ...
    @overload
    def new(self, cdecl: Literal["struct bus *"], init: Any = ...) -> Bus: ...
    @overload
    def new(self, cdecl: Literal["struct serial *"], init: Any = ...) -> Serial: ...
    @overload
    def new(self, cdecl: Literal["struct pit *"], init: Any = ...) -> Pit: ...
    @overload
    def new(self, cdecl: Literal["struct sandbox *"], init: Any = ...) -> Sandbox: ...
    @overload
    def new(self, cdecl: Literal["struct serial_state *"], init: Any = ...) -> SerialState: ...
    @overload
    def new(self, cdecl: Literal["struct state_header *"], init: Any = ...) -> StateHeader: ...
    @overload
    def new(self, cdecl: Literal["struct state_section *"], init: Any = ...) -> StateSection: ...
    @overload
    def new(self, cdecl: Literal["struct state_run *"], init: Any = ...) -> StateRun: ...
    @overload
    def new(self, cdecl: Literal["struct trace_span *"], init: Any = ...) -> TraceSpan: ...
    @overload
    def new(self, cdecl: Literal["struct trace *"], init: Any = ...) -> Trace: ...
    @overload
    def new(self, cdecl: Literal["struct virtio_queue_saved *"], init: Any = ...) -> VirtioQueueSaved: ...
    @overload
    def new(self, cdecl: Literal["struct virtio_mmio_saved *"], init: Any = ...) -> VirtioMmioSaved: ...
    @overload
    def new(self, cdecl: Literal["struct vsock_note *"], init: Any = ...) -> VsockNote: ...
    @overload
    def new(self, cdecl: Literal["struct vsock_counts *"], init: Any = ...) -> VsockCounts: ...
    @overload
    def new(self, cdecl: Literal["struct vsock_round *"], init: Any = ...) -> VsockRound: ...
    @overload
    def new(self, cdecl: Literal["struct vsock_busy *"], init: Any = ...) -> VsockBusy: ...
    @overload
    def new(
        self, cdecl: Literal["struct kvm_userspace_memory_region *"], init: Any = ...
    ) -> KvmUserspaceMemoryRegion: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_regs *"], init: Any = ...) -> KvmRegs: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_segment *"], init: Any = ...) -> KvmSegment: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_dtable *"], init: Any = ...) -> KvmDtable: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_sregs *"], init: Any = ...) -> KvmSregs: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_cpuid_entry2 *"], init: Any = ...) -> KvmCpuidEntry2: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_cpuid2 *"], init: Any = ...) -> KvmCpuid2: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_msr_entry *"], init: Any = ...) -> KvmMsrEntry: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_msrs *"], init: Any = ...) -> KvmMsrs: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_lapic_state *"], init: Any = ...) -> KvmLapicState: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_vcpu_events *"], init: Any = ...) -> KvmVcpuEvents: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_mp_state *"], init: Any = ...) -> KvmMpState: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_fpu *"], init: Any = ...) -> KvmFpu: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_guest_debug_arch *"], init: Any = ...) -> KvmGuestDebugArch: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_guest_debug *"], init: Any = ...) -> KvmGuestDebug: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_xcr *"], init: Any = ...) -> KvmXcr: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_xcrs *"], init: Any = ...) -> KvmXcrs: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_xsave *"], init: Any = ...) -> KvmXsave: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_debugregs *"], init: Any = ...) -> KvmDebugregs: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_irqchip *"], init: Any = ...) -> KvmIrqchip: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_pit_state2 *"], init: Any = ...) -> KvmPitState2: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_clock_data *"], init: Any = ...) -> KvmClockData: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_enable_cap *"], init: Any = ...) -> KvmEnableCap: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_pit_config *"], init: Any = ...) -> KvmPitConfig: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_irq_routing_entry *"], init: Any = ...) -> KvmIrqRoutingEntry: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_irq_routing *"], init: Any = ...) -> KvmIrqRouting: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_ioeventfd *"], init: Any = ...) -> KvmIoeventfd: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_irqfd *"], init: Any = ...) -> KvmIrqfd: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_msi *"], init: Any = ...) -> KvmMsi: ...
    @overload
    def new(self, cdecl: Literal["struct kvm_device_attr *"], init: Any = ...) -> KvmDeviceAttr: ...
    @overload
    def new(self, cdecl: Literal["struct sampler *"], init: Any = ...) -> Sampler: ...
    @overload
    def new(self, cdecl: Literal["struct paging *"], init: Any = ...) -> Paging: ...
    @overload
    def new(self, cdecl: Literal["struct fxsave *"], init: Any = ...) -> Fxsave: ...
    @overload
    def new(self, cdecl: Literal["struct cpu *"], init: Any = ...) -> Cpu: ...
    @overload
    def new(self, cdecl: Literal["struct insn *"], init: Any = ...) -> Insn: ...
    @overload
    def new(self, cdecl: Literal["struct queue *"], init: Any = ...) -> Queue: ...
    @overload
    def new(self, cdecl: Literal["struct iovec *"], init: Any = ...) -> Iovec: ...
    @overload
    def new(self, cdecl: Literal["struct chain *"], init: Any = ...) -> Chain: ...
    @overload
    def new(self, cdecl: Literal["struct virtio_mmio *"], init: Any = ...) -> VirtioMmio: ...
    @overload
    def new(self, cdecl: Literal["struct vsock *"], init: Any = ...) -> Vsock: ...
    @overload
    def new(self, cdecl: Literal["struct sockaddr_un *"], init: Any = ...) -> SockaddrUn: ...
    @overload
    def new(self, cdecl: str, init: Any = ...) -> Any: ...
    def cast(self, cdecl: str, value: Any) -> Any: ...
    def buffer(self, cdata: Any, size: int = ...) -> Any: ...
    def from_buffer(self, data: Any) -> Any: ...
    def addressof(self, what: Any, *fields: str | int) -> Any: ...
    def sizeof(self, what: Any) -> int: ...
    def typeof(self, cdecl: str) -> CType: ...
    def offsetof(self, kind: CType, *fields: str | int) -> int: ...
    def string(self, cdata: Any) -> bytes: ...

class _Lib:
    KVM_GET_API_VERSION: int
    KVM_CHECK_EXTENSION: int
    KVM_CREATE_VM: int
    KVM_GET_VCPU_MMAP_SIZE: int
    KVM_GET_SUPPORTED_CPUID: int
    KVM_SET_USER_MEMORY_REGION: int
    KVM_SET_TSS_ADDR: int
    KVM_CREATE_IRQCHIP: int
    KVM_CREATE_PIT2: int
    KVM_ENABLE_CAP: int
    KVM_SET_GSI_ROUTING: int
    KVM_IRQFD: int
    KVM_IOEVENTFD: int
    KVM_SIGNAL_MSI: int
    KVM_CREATE_VCPU: int
    KVM_GET_REGS: int
    KVM_SET_REGS: int
    KVM_GET_SREGS: int
    KVM_SET_SREGS: int
    KVM_GET_MSRS: int
    KVM_SET_MSRS: int
    KVM_SET_CPUID2: int
    KVM_GET_LAPIC: int
    KVM_SET_LAPIC: int
    KVM_GET_VCPU_EVENTS: int
    KVM_SET_VCPU_EVENTS: int
    KVM_GET_MP_STATE: int
    KVM_SET_MP_STATE: int
    KVM_GET_TSC_KHZ: int
    KVM_GET_STATS_FD: int
    KVM_SET_GUEST_DEBUG: int
    KVM_GET_DEVICE_ATTR: int
    KVM_GET_XCRS: int
    KVM_GET_FPU: int
    KVM_SET_FPU: int
    KVM_GET_XSAVE: int
    KVM_GET_DEBUGREGS: int
    KVM_GET_CPUID2: int
    KVM_GET_IRQCHIP: int
    KVM_GET_PIT2: int
    KVM_GET_CLOCK: int
    KVM_CAP_USER_MEMORY: int
    KVM_CAP_IMMEDIATE_EXIT: int
    KVM_CAP_SPLIT_IRQCHIP: int
    KVM_CAP_IRQCHIP: int
    KVM_CAP_IOEVENTFD: int
    KVM_CAP_IRQFD: int
    KVM_CAP_MAX_VCPUS: int
    KVM_CAP_NR_VCPUS: int
    KVM_CAP_SYNC_REGS: int
    KVM_CAP_EXIT_ON_EMULATION_FAILURE: int
    KVM_CAP_MAX_VCPU_ID: int
    KVM_CAP_BINARY_STATS_FD: int
    KVM_CAP_TSC_DEADLINE_TIMER: int
    KVM_EXIT_UNKNOWN: int
    KVM_EXIT_EXCEPTION: int
    KVM_EXIT_IO: int
    KVM_EXIT_DEBUG: int
    KVM_EXIT_HLT: int
    KVM_EXIT_MMIO: int
    KVM_EXIT_SHUTDOWN: int
    KVM_EXIT_FAIL_ENTRY: int
    KVM_EXIT_INTR: int
    KVM_EXIT_INTERNAL_ERROR: int
    KVM_EXIT_SYSTEM_EVENT: int
    KVM_EXIT_IOAPIC_EOI: int
    KVM_INTERNAL_ERROR_EMULATION: int
    KVM_IOEVENTFD_FLAG_DATAMATCH: int
    KVM_IOEVENTFD_FLAG_PIO: int
    KVM_IOEVENTFD_FLAG_DEASSIGN: int
    KVM_IRQFD_FLAG_DEASSIGN: int
    KVM_MP_STATE_RUNNABLE: int
    KVM_MP_STATE_HALTED: int
    KVM_MP_STATE_UNINITIALIZED: int
    KVM_MEM_READONLY: int
    KVM_CPUID_FLAG_SIGNIFCANT_INDEX: int
    KVM_VCPU_TSC_CTRL: int
    KVM_VCPU_TSC_OFFSET: int
    KVM_GUESTDBG_ENABLE: int
    KVM_GUESTDBG_SINGLESTEP: int
    KVM_GUESTDBG_USE_SW_BP: int
    KVM_GUESTDBG_USE_HW_BP: int
    KVM_GUESTDBG_INJECT_BP: int
    KVM_GUESTDBG_INJECT_DB: int
    KVM_PIT_SPEAKER_DUMMY: int
    SLOTS_MAX: int
    VCPU_STOPPED: int
    VCPU_FAILED: int
    STATE_VERSION: int
    STATE_PC: int
    STATE_HAS_RUN: int
    STATE_OWN_PIT: int
    STATE_DEVICES: int
    IRQ_BASE: int
    SERIAL_PORT: int
    SERIAL_PORTS: int
    SERIAL_GSI: int
    VIRTIO_GSI: int
    IOAPIC_PINS: int
    KVM_TSS_ADDRESS: int
    DEBUG_EXIT_PORT: int
    DEBUG_EXIT_PORTS: int
    I8042_COMMAND_PORT: int
    ACPI_SLEEP_PORT: int
    ACPI_SLEEP_PORTS: int
    RAM_HOLE_START: int
    RAM_HOLE_END: int
    RAM_MAX: int
    VCPU_EXIT_KINDS: int
    MFD_CLOEXEC: int
    MFD_ALLOW_SEALING: int
    EFD_CLOEXEC: int
    EFD_NONBLOCK: int
    VSOCK_ANY_PORT: int
    VSOCK_FIRST_PORT: int
    VSOCK_LAST_PORT: int
    VSOCK_STREAMS: int
    VSOCK_BUFFER_MAX: int
    VSOCK_BUFFER_MIN: int
    VSOCK_BUFFERS: int
    VSOCK_GATHERED: int
    REGISTRY_NAME_MAX: int
    REGISTRY_PATH_MAX: int
    DONE: int
    FAULT: int
    UNKNOWN: int
    PIN_READ: int
    PIN_NO_LIST: int
    PIN_NOT_ALLOWED: int
    PIN_TOO_FEW: int
    REGISTRY_FOREIGN: int
    SANDBOX_VCPU: int
    SANDBOX_RELAY: int
    SANDBOX_MAIN: int
    SANDBOX_START: int
    SANDBOX_SAMPLER: int
    SANDBOX_THREADS: int
    SANDBOX_PC: int
    SANDBOX_TCP: int
    SANDBOX_UNIX: int
    SANDBOX_FREEZE: int
    SANDBOX_TIMING: int
    SANDBOX_GDB: int
    SANDBOX_REGISTRY: int
    SANDBOX_PUBLISH: int
    SANDBOX_NO_NEW_PRIVS: int
    SANDBOX_USER: int
    SANDBOX_CAPABILITIES: int
    SANDBOX_LANDLOCK: int
    SANDBOX_SECCOMP: int
    SANDBOX_LIMITS: int
    SANDBOX_OFF: int
    SANDBOX_ON: int
    SANDBOX_REQUIRED: int
    SANDBOX_DEFAULT: int
    STATE_KEY: int
    STATE_PAGES: int
    STATE_SERIAL: int
    STATE_DEVICE: int
    STATE_PIC: int
    STATE_IOAPIC: int
    STATE_PIT: int
    STATE_CLOCK: int
    STATE_CPUID: int
    STATE_REGS: int
    STATE_SREGS: int
    STATE_XCRS: int
    STATE_XSAVE: int
    STATE_MSR: int
    STATE_LAPIC: int
    STATE_DEBUG: int
    STATE_EVENTS: int
    STATE_MP: int
    STATE_TSC: int
    STATE_KINDS: int
    VIRTIO_MMIO_SETTLED: int
    VIRTIO_MMIO_START: int
    VIRTIO_MMIO_CHANGE: int
    VIRTIO_MMIO_RESET: int
    QUEUE_OK: int
    QUEUE_BAD_SIZE: int
    QUEUE_BAD_RINGS: int
    QUEUE_AVAIL_TOO_FAR: int
    QUEUE_BAD_HEAD: int
    QUEUE_BAD_NEXT: int
    QUEUE_CHAIN_TOO_LONG: int
    QUEUE_EMPTY_BUFFER: int
    QUEUE_BUFFER_OUTSIDE: int
    QUEUE_READ_AFTER_WRITE: int
    QUEUE_BAD_INDIRECT: int
    VSOCK_NOTE_FORBIDDEN: int
    VSOCK_NOTE_REFUSED: int
    VSOCK_NOTE_CAPTURE: int
    VSOCK_NOTE_BROKEN: int
    def memfd_create(self, a: Any, b: int, /) -> int: ...
    def munmap(self, a: Any, b: int, /) -> int: ...
    def eventfd(self, a: int, b: int, /) -> int: ...
    def bus_init(self, a: Bus, b: Ram, c: Slots, d: bool, /) -> None: ...
    def bus_close(self, a: Bus, /) -> None: ...
    def bus_open(self, a: Bus, /) -> None: ...
    def bus_add(self, a: Bus, b: bool, c: int, d: int, e: CData, f: Any, /) -> int: ...
    def insn_decode(self, a: Cpu, b: Insn, /) -> int: ...
    def insn_execute(self, a: Cpu, b: Insn, /) -> int: ...
    def rdtsc(self, /) -> int: ...
    def clock_ns(self, a: int, /) -> int: ...
    def clock_with_tsc(self, a: int, b: Any, /) -> int: ...
    def cpuid(self, a: int, b: int, c: Any, /) -> None: ...
    def process_start_ns(self, /) -> int: ...
    def timer_fd(self, a: int, /) -> int: ...
    def signal_fd(self, a: Any, b: int, /) -> int: ...
    def signal_fd_close(self, a: int, b: Any, c: int, /) -> None: ...
    def process_stop(self, /) -> None: ...
    def raise_descriptor_limit(self, a: int, /) -> None: ...
    def map_memory(self, a: int, b: int, /) -> Numbers: ...
    def enter_netns(self, a: int, /) -> int: ...
    def wait_readable(self, a: int, b: int, /) -> bool: ...
    def open_inside(self, a: int, b: Any, /) -> int: ...
    def landlock_abi(self, /) -> int: ...
    def landlock_ports(self, a: Any, b: int, /) -> int: ...
    def machine_thaw(self, a: Machine, b: State, c: int, d: bool, e: bool, /) -> bool: ...
    def machine_start(self, a: Machine, b: Any, /) -> bool: ...
    def machine_map(self, a: Machine, b: int, c: bool, /) -> bool: ...
    def machine_discard(self, a: Machine, /) -> None: ...
    def paging_init(self, a: Paging, b: Any, c: int, d: int, e: bool, /) -> int: ...
    def paging_map(self, a: Paging, b: int, c: int, d: int, /) -> int: ...
    def ram_lay_out(self, a: Ram, b: int, c: Any, /) -> None: ...
    def slots_init(self, a: Slots, b: int, c: Ram, /) -> None: ...
    def slots_add(self, a: Slots, b: int, c: int, /) -> None: ...
    def slots_choose(self, a: Slots, b: int, c: Any, d: Any, /) -> bool: ...
    def slots_end(self, a: Slots, b: int, /) -> int: ...
    def slots_cover(self, a: Slots, b: int, /) -> int: ...
    def slots_cover_all(self, a: Slots, /) -> int: ...
    def pages_prepare(self, /) -> int: ...
    def pages_find(self, a: Ram, b: int, c: int, d: StateRun, e: int, /) -> int: ...
    def pin_read(self, a: Any, b: int, c: Any, d: Any, /) -> int: ...
    def pit_init(self, a: Pit, b: KvmPitState2, /) -> None: ...
    def pit_save(self, a: Pit, b: KvmPitState2, /) -> None: ...
    def pit_read(self, a: Pit, b: int, c: int, /) -> int: ...
    def pit_write(self, a: Pit, b: int, c: int, d: int, /) -> None: ...
    def registry_path(self, a: Any, /) -> bool: ...
    def registry_open(self, a: bool, /) -> int: ...
    def registry_make_up(self, a: Any, b: Any, /) -> None: ...
    def sandbox_of_process(self, /) -> Sandbox: ...
    def sandbox_begin(self, a: int, b: Any, /) -> bool: ...
    def sandbox_settle_heap(self, /) -> None: ...
    def sandbox_ends(self, /) -> None: ...
    def sandbox_thread(self, a: int, b: int, /) -> None: ...
    def serial_save(self, a: Serial, b: SerialState, /) -> None: ...
    def serial_restore(self, a: Serial, b: SerialState, /) -> None: ...
    def serial_init(self, a: Serial, b: int, c: int, d: int, /) -> None: ...
    def serial_drop_late(self, a: Serial, b: int, c: bool, /) -> None: ...
    def serial_lost(self, a: Serial, /) -> int: ...
    def serial_access(self, a: Any, b: Vcpu, c: bool, d: int, e: Any, f: int, g: int, /) -> bool: ...
    def serial_hang_up(self, a: Serial, /) -> None: ...
    def serial_input(self, a: Serial, b: Any, c: int, /) -> int: ...
    def spawn(self, a: Any, b: int, c: int, d: Any, e: bool, /) -> int: ...
    def state_check(self, a: State, b: Any, c: int, d: int, /) -> bool: ...
    def state_open(self, a: State, b: int, /) -> bool: ...
    def state_close(self, a: State, /) -> None: ...
    def state_section(self, a: State, b: int, c: int, d: Any, /) -> CData: ...
    def state_sum(self, a: int, b: Any, c: int, /) -> int: ...
    def trace_open(self, a: Trace, b: int, /) -> bool: ...
    def trace_close(self, a: Trace, /) -> None: ...
    def sampler_add(self, a: Sampler, b: int, c: int, d: int, /) -> bool: ...
    def sampler_start(self, a: Sampler, /) -> int: ...
    def sampler_stop(self, a: Sampler, /) -> None: ...
    def sampler_trace(self, a: Sampler, b: int, /) -> Trace: ...
    def sampler_close(self, a: Sampler, /) -> None: ...
    def ioctl_ptr(self, a: int, b: int, c: Any, /) -> int: ...
    def ioctl_int(self, a: int, b: int, c: int, /) -> int: ...
    def route_ioapic(self, a: KvmIrqRoutingEntry, b: int, c: int, /) -> None: ...
    def route_msi(self, a: KvmIrqRoutingEntry, b: int, c: int, d: int, /) -> None: ...
    def vcpu_init(self, a: Vcpu, b: int, c: int, d: int, e: Bus, /) -> int: ...
    def vcpu_close(self, a: Vcpu, /) -> None: ...
    def vcpu_run(self, a: Vcpu, /) -> int: ...
    def vcpu_stop(self, a: Vcpu, /) -> None: ...
    def vcpu_emulate(self, a: Vcpu, /) -> bool: ...
    def vcpu_start(self, a: Vcpu, b: int, c: int, d: int, /) -> int: ...
    def vcpu_has_exited(self, a: Vcpu, /) -> bool: ...
    def vcpu_resume(self, a: Vcpu, /) -> None: ...
    def vcpu_join(self, a: Vcpu, /) -> None: ...
    def vcpu_pause(self, a: Vcpu, /) -> None: ...
    def vcpu_is_paused(self, a: Vcpu, /) -> bool: ...
    def vcpu_unpause(self, a: Vcpu, /) -> None: ...
    def virtio_mmio_init(self, a: VirtioMmio, b: int, c: int, d: int, /) -> None: ...
    def virtio_mmio_add_queue(self, a: VirtioMmio, b: Queue, c: int, /) -> int: ...
    def virtio_mmio_access(self, a: Any, b: Vcpu, c: bool, d: int, e: Any, f: int, g: int, /) -> bool: ...
    def virtio_mmio_deliver(self, a: VirtioMmio, b: Slots, c: int, d: int, /) -> None: ...
    def virtio_mmio_set_config(self, a: VirtioMmio, b: Any, c: int, /) -> None: ...
    def virtio_mmio_next(self, a: VirtioMmio, /) -> int: ...
    def virtio_mmio_runs(self, a: VirtioMmio, /) -> bool: ...
    def virtio_mmio_change_queues(self, a: VirtioMmio, /) -> int: ...
    def virtio_mmio_reset(self, a: VirtioMmio, /) -> None: ...
    def virtio_mmio_needs_reset(self, a: VirtioMmio, /) -> None: ...
    def virtio_mmio_save(self, a: VirtioMmio, b: VirtioMmioSaved, /) -> None: ...
    def virtio_mmio_restore(self, a: VirtioMmio, b: VirtioMmioSaved, c: bool, /) -> bool: ...
    def virtio_mmio_use_line(self, a: VirtioMmio, b: int, c: int, /) -> None: ...
    def virtio_mmio_interrupt(self, a: VirtioMmio, /) -> None: ...
    def virtio_mmio_use_elsewhere(self, a: VirtioMmio, /) -> None: ...
    def virtio_mmio_relay(self, a: VirtioMmio, /) -> int: ...
    def virtio_mmio_end_relay(self, a: VirtioMmio, /) -> None: ...
    def queue_init(self, a: Queue, b: Ram, c: int, /) -> None: ...
    def queue_reset(self, a: Queue, /) -> None: ...
    def queue_enable(self, a: Queue, /) -> int: ...
    def queue_pop(self, a: Queue, b: Chain, /) -> int: ...
    def queue_push(self, a: Queue, b: int, c: int, /) -> None: ...
    def queue_must_interrupt(self, a: Queue, /) -> bool: ...
    def queue_watch(self, a: Queue, /) -> bool: ...
    def queue_is_drained(self, a: Queue, /) -> bool: ...
    def queue_unwatch(self, a: Queue, /) -> None: ...
    def vsock_init(self, a: Vsock, b: int, /) -> int: ...
    def vsock_activate(self, a: Vsock, b: VirtioMmio, c: bool, /) -> None: ...
    def vsock_confine(self, a: Vsock, /) -> int: ...
    def vsock_start(self, a: Vsock, /) -> int: ...
    def vsock_pause(self, a: Vsock, /) -> None: ...
    def vsock_reset(self, a: Vsock, /) -> None: ...
    def vsock_end_streams(self, a: Vsock, /) -> int: ...
    def vsock_close(self, a: Vsock, /) -> None: ...
    def vsock_turn(self, a: Vsock, b: int, /) -> int: ...
    def busy_noticed(self, a: VsockBusy, b: int, c: int, /) -> bool: ...
    def round_answered(self, a: VsockRound, b: Any, c: int, /) -> None: ...
    def round_asked(self, a: VsockRound, b: Any, /) -> None: ...
    def round_waits(self, a: VsockRound, b: int, /) -> bool: ...
    def round_end(self, a: VsockRound, /) -> None: ...
    def vsock_capture(self, a: Vsock, b: int, /) -> int: ...
    def vsock_listen(self, a: Vsock, b: int, c: int, /) -> int: ...
    def vsock_listen_unix(self, a: Vsock, b: int, c: Any, /) -> int: ...
    def vsock_allow(self, a: Vsock, b: int, c: Any, d: int, /) -> int: ...
    def vsock_take_note(self, a: Vsock, b: VsockNote, /) -> bool: ...

ffi: _Ffi
lib: _Lib
