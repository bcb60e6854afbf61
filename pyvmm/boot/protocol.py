"""The interface of boot protocols, and segment registers."""

from __future__ import annotations

from pyvmm._kvm import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from abc import ABC, abstractmethod
    from typing import Protocol

    from pyvmm._kvm import CData, KvmSegment, KvmSregs
    from pyvmm.boot.file import File
    from pyvmm.memory import GuestMemory

    #: Structures of KVM by STATE_REGS, STATE_SREGS and so on; what is not there is as after reset.
    Registers = dict[int, CData]

    class Host(Protocol):
        """This host's KVM (see `kvm.Kvm`)."""

        def check_extension(self, capability: int) -> int: ...
        def supported_cpuid(self) -> list[tuple[int, int, int, int, int, int]]: ...
else:  # to import `abc` takes 0.3 ms; what is abstract is the type checker's to find
    ABC, abstractmethod = object, lambda method: method


class BootProtocol(ABC):
    """How one image starts on one machine: what memory and registers contain before it runs.

    No guest is needed for that, and no KVM beyond what `Host` tells of it. `load`,
    `write_tables` and `registers` are called in this order.

    Attributes:
        is_pc: the image expects a PC: KVM's interrupt controllers and timer, tables as firmware
            leaves them, and CPUs that wait for INIT and SIPI. Otherwise interrupts are messages
            (MSI), and all vCPUs start at once.
        own_pit: the timer of such a PC is pyvmm's, for kernels that measure their TSC by it (`native/pit.c`).
        boot_info: guest-physical address of the boot-info block (see `bootinfo`); 0 if there is none.
        shutdown_message: data of the message (MSI) that asks CPU 0 to end; 0 if the guest would
            not understand one.
        reset_limits: IDT limits with which a triple fault is a regular reset.
    """

    is_pc = True
    own_pit = False
    boot_info = 0
    shutdown_message = 0
    reset_limits: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        """The end of the guest-physical memory that the image starts in; 0 if that may be all RAM."""
        return 0

    @abstractmethod
    def load(self, file: File, memory: GuestMemory) -> None:
        """Puts the image, and all else that it needs, into memory.

        Raises:
            ImageError: the image is damaged, or does not fit.
        """

    @abstractmethod
    def write_tables(self, memory: GuestMemory, devices: list[tuple[int, int, int]]) -> None:
        """Writes what describes the machine to the guest.

        Args:
            devices: (guest-physical base, GSI, device ID) of each virtio device.
        """

    @abstractmethod
    def registers(self, host: Host | None) -> list[Registers]:
        """What each vCPU starts with, in the order of their APIC IDs 0, 1, 2 and so on.

        Args:
            host: the host's KVM, for a PC.
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


def start_at(sregs: KvmSregs, **regs: int) -> Registers:
    """The registers of a vCPU that starts; those not named are 0."""
    return {lib.STATE_SREGS: sregs, lib.STATE_REGS: ffi.new("struct kvm_regs *", {"rflags": 2, **regs})}
