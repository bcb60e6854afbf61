"""What all boot protocols have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from pyvmm._kvm import KvmCpuid2, KvmSegment, KvmSregs
    from pyvmm.boot.file import File
    from pyvmm.memory import GuestMemory

    class Cpu(Protocol):
        """A vCPU that has not run, of which these are KVM's ioctls (see `kvm.Vcpu`)."""

        index: int

        def set_cpuid(self, entries: KvmCpuid2) -> None: ...
        def sregs(self) -> KvmSregs: ...
        def set_sregs(self, sregs: KvmSregs) -> None: ...
        def set_regs(self, **values: int) -> None: ...
        def lapic(self) -> bytes: ...
        def set_lapic(self, registers: bytes) -> None: ...
        def set_mp_state(self, state: int) -> None: ...

    class Host(Protocol):
        """What KVM can do here (see `kvm.Kvm`)."""

        def check_extension(self, capability: int) -> int: ...
        def supported_cpuid(self) -> list[tuple[int, int, int, int, int, int]]: ...


class BootProtocol(ABC):
    """How one image starts on one machine: what memory and registers hold before its first instruction.

    A machine calls `load`, `write_devices`, `set_cpus` and, when it is about to run, `write_clock`.

    Attributes:
        is_pc: the image expects a PC: interrupt controllers and a timer as KVM has them, tables as
            firmware leaves them, and CPUs that wait for INIT and SIPI. Otherwise interrupts are
            messages (MSI), and all vCPUs start at once.
        shutdown_message: data of the message by which CPU 0 is asked to end, or 0 if it would not be
            understood.
        reset_limits: IDT limits with which a triple fault is how such a guest ends.
    """

    is_pc = True
    shutdown_message = 0
    reset_limits: tuple[int, ...] = ()

    @property
    def end(self) -> int | None:
        """Where the guest-physical memory ends that it starts in; None: it may be any."""
        return None

    @property
    def marks(self) -> int | None:
        """Guest-physical address where the guest writes `bootinfo.MARKS`, if it does."""
        return None

    @abstractmethod
    def load(self, file: File, memory: GuestMemory) -> None:
        """Puts the image, and what it needs besides, into memory.

        Raises:
            ImageError: it is damaged, or does not fit.
        """

    @abstractmethod
    def write_devices(self, memory: GuestMemory, devices: list[tuple[int, int, int]]) -> None:
        """Tells the guest of its virtio devices.

        Args:
            devices: (guest-physical base, GSI, device id) of each.
        """

    @abstractmethod
    def set_cpus(self, cpus: Sequence[Cpu], host: Host, have_cpuid: bool = False) -> None:
        """Gives each vCPU its CPUID and registers.

        Args:
            cpus: in the order of their APIC ids, which are 0, 1, 2 and so on.
            have_cpuid: they have their CPUID.
        """

    def write_clock(self, memory: GuestMemory, **clock: int) -> None:  # noqa: B027 - optional
        """Tells a guest with `marks` what time it is.

        Args:
            clock: tsc_hz, the guest's; wall_clock_ns since 1970, and wall_clock_tsc, its TSC then.
        """


def set_segment(segment: KvmSegment, **fields: int) -> None:
    """A flat segment, of 32 bits if `fields` do not say otherwise (Intel SDM volume 3, section 3.4.5)."""
    defaults = {"base": 0, "limit": 0xFFFF_FFFF, "present": 1, "s": 1, "db": 1, "g": 1, "l": 0, "dpl": 0, "unusable": 0}
    for name, value in (defaults | fields).items():
        setattr(segment, name, value)


def set_segments(sregs: KvmSregs, code: int, data: int, tss: int | None = None, long_mode: bool = False) -> None:
    """Flat segments in all segment registers.

    Args:
        sregs: a `struct kvm_sregs *`.
        code, data: selectors.
        tss: that of a busy TSS, which entering 64-bit mode on VT-x needs, be it an empty one
            (volume 3, section 26.3.1.2); None leaves TR as it is.
        long_mode: code is of 64 bits.
    """
    for name in ("ds", "es", "fs", "gs", "ss"):
        set_segment(getattr(sregs, name), selector=data, type=3)
    set_segment(sregs.cs, selector=code, type=11, l=int(long_mode), db=int(not long_mode))
    if tss is not None:
        set_segment(sregs.tr, selector=tss, type=11, s=0, db=0, g=0, limit=0x67)
