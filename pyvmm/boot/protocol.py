"""The interface of boot protocols, and segment registers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from abc import ABC, abstractmethod
    from collections.abc import Sequence
    from typing import Protocol

    from pyvmm._kvm import KvmCpuid2, KvmSegment, KvmSregs
    from pyvmm.boot.file import File
    from pyvmm.memory import GuestMemory

    class Cpu(Protocol):
        """A vCPU that has not run (see `kvm.Vcpu`)."""

        index: int

        def set_cpuid(self, entries: KvmCpuid2) -> None: ...
        def sregs(self) -> KvmSregs: ...
        def set_sregs(self, sregs: KvmSregs) -> None: ...
        def set_regs(self, **values: int) -> None: ...
        def lapic(self) -> bytes: ...
        def set_lapic(self, registers: bytes) -> None: ...
        def set_mp_state(self, state: int) -> None: ...

    class Host(Protocol):
        """This host's KVM (see `kvm.Kvm`)."""

        def check_extension(self, capability: int) -> int: ...
        def supported_cpuid(self) -> list[tuple[int, int, int, int, int, int]]: ...
else:  # to import `abc` takes 0.3 ms; what is abstract is the type checker's to find
    ABC, abstractmethod = object, lambda method: method


class BootProtocol(ABC):
    """How one image starts on one machine: the contents of memory and registers before it runs.

    The machine calls `load`, `write_devices`, `set_cpus` and, just before it runs, `write_clock`.

    Attributes:
        is_pc: the image expects a PC: KVM's interrupt controllers and timer, tables as firmware
            leaves them, and CPUs that wait for INIT and SIPI. Otherwise interrupts are messages
            (MSI), and all vCPUs start at once.
        shutdown_message: data of the message (MSI) that asks CPU 0 to end; 0 if the guest would
            not understand one.
        reset_limits: IDT limits with which a triple fault is a regular reset.
    """

    is_pc = True
    shutdown_message = 0
    reset_limits: tuple[int, ...] = ()

    @property
    def end(self) -> int | None:
        """The end of the guest-physical memory that the image starts in; None if that may be all RAM."""
        return None

    @property
    def marks(self) -> int | None:
        """The guest-physical address where the guest writes `bootinfo.MARKS`; None if it writes none."""
        return None

    @abstractmethod
    def load(self, file: File, memory: GuestMemory) -> None:
        """Puts the image, and all else that it needs, into memory.

        Raises:
            ImageError: the image is damaged, or does not fit.
        """

    @abstractmethod
    def write_devices(self, memory: GuestMemory, devices: list[tuple[int, int, int]]) -> None:
        """Tells the guest about its virtio devices.

        Args:
            devices: (guest-physical base, GSI, device ID) of each.
        """

    @abstractmethod
    def set_cpus(self, cpus: Sequence[Cpu], host: Host, have_cpuid: bool = False) -> None:
        """Gives each vCPU its CPUID and registers.

        Args:
            cpus: all vCPUs, in the order of their APIC IDs 0, 1, 2 and so on.
            host: the host's KVM.
            have_cpuid: CPUID is set already.
        """

    def write_clock(self, memory: GuestMemory, **clock: int) -> None:
        """Tells a guest with `marks` the time.

        Args:
            clock: `tsc_hz`, the guest's frequency; `wall_clock_ns` since 1970; and
                `wall_clock_tsc`, the guest's TSC at that moment.
        """


def set_segment(segment: KvmSegment, **fields: int) -> None:
    """Sets a flat segment, of 32 bits unless `fields` say otherwise (Intel SDM volume 3, section 3.4.5)."""
    defaults = {"base": 0, "limit": 0xFFFF_FFFF, "present": 1, "s": 1, "db": 1, "g": 1, "l": 0, "dpl": 0, "unusable": 0}
    for name, value in (defaults | fields).items():
        setattr(segment, name, value)


def set_segments(sregs: KvmSregs, code: int, data: int, tss: int | None = None, long_mode: bool = False) -> None:
    """Sets flat segments in all segment registers.

    Args:
        sregs: a `struct kvm_sregs *`.
        code, data: selectors.
        tss: selector of a busy TSS, which VT-x requires in 64-bit mode even if it is empty
            (volume 3, section 26.3.1.2); None leaves TR as it is.
        long_mode: the code segment is of 64 bits.
    """
    for name in ("ds", "es", "fs", "gs", "ss"):
        set_segment(getattr(sregs, name), selector=data, type=3)
    set_segment(sregs.cs, selector=code, type=11, l=int(long_mode), db=int(not long_mode))
    if tss is not None:
        set_segment(sregs.tr, selector=tss, type=11, s=0, db=0, g=0, limit=0x67)
