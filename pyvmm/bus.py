"""The bus: finds the device that serves a port or a guest-physical address.

Devices with frequent accesses are C functions, called without leaving the run
loop; the others have `read` and `write` in Python. Addresses that no device
claims read as all ones.
"""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pyvmm._kvm import Bus as NativeBus
    from pyvmm._kvm import CData, Vcpu
    from pyvmm.memory import GuestMemory

    class Device(Protocol):
        """What the bus calls. `offset` is relative to the device's region."""

        def read(self, offset: int, size: int) -> int:
            """The value of `size` bytes at `offset`."""

        def write(self, offset: int, size: int, value: int) -> None:
            """Stores `value`, of `size` bytes, at `offset`."""


def eventfd() -> int:
    """An eventfd, by which a device is notified or interrupts; the caller closes it.

    Raises:
        HostError: there is no descriptor for it.
    """
    fd = lib.eventfd(0, lib.EFD_CLOEXEC | lib.EFD_NONBLOCK)
    if fd < 0:
        raise HostError("eventfd", ffi.errno)
    return fd


class Bus:
    """Ports and MMIO of one machine. Regions are added before vCPUs run.

    Args:
        memory: the RAM that string I/O reads from.
        made: the C side of a machine's, a `struct bus *`; or None.

    Attributes:
        native: the C side (`struct bus *`).
    """

    def __init__(self, memory: GuestMemory, made: NativeBus | None = None) -> None:
        if not made:
            made = ffi.new("struct bus *")
            lib.bus_init(made, memory.native, ffi.NULL, False)
        self.native = made
        self._devices: dict[bool, list[tuple[int, int, Device]]] = {False: [], True: []}
        self._owned: list[CData] = [memory.native]

    def add(self, base: int, size: int, device: Device, mmio: bool = False) -> None:
        """Gives `device` the ports, or with `mmio` the addresses, [base, base + size).

        Raises:
            ValueError: they overlap another device's, or there are too many regions.
        """
        self._add(mmio, base, size, ffi.NULL, ffi.NULL)
        self.serve_with(base, size, device, mmio)

    def serve_with(self, base: int, size: int, device: Device, mmio: bool = False) -> None:
        """Serves a region that C has added without a handler."""
        self._devices[mmio].append((base, size, device))

    def close(self) -> None:
        """Has exits wait for `open`. No vCPU must run."""
        lib.bus_close(self.native)

    def open(self) -> None:
        """Lets vCPUs reach devices: all of them are there, and all threads confined."""
        lib.bus_open(self.native)

    def add_native(
        self, base: int, size: int, handler: CData, device: CData, mmio: bool = False, cold: Device | None = None
    ) -> None:
        """The same for a C `bus_handler` and its `void *`, which is kept alive.

        Args:
            cold: serves the accesses that `handler` leaves to Python, by returning false.
        """
        self._add(mmio, base, size, handler, device)
        self._owned.append(device)
        if cold:
            self.serve_with(base, size, cold, mmio)

    def _add(self, mmio: bool, base: int, size: int, handler: CData, device: CData) -> None:
        if lib.bus_add(self.native, mmio, base, size, handler, device) < 0:
            raise ValueError(f"cannot add region {base:#x}+{size:#x}: errno {ffi.errno}")

    def serve(self, access: Vcpu, mmio: bool) -> None:
        """Serves an exit that C left to Python.

        Args:
            access: a `struct vcpu *` that returned KVM_EXIT_IO or KVM_EXIT_MMIO.
        """
        size: int = access.size
        address: int = access.address
        base, device = next((b, d) for b, n, d in self._devices[mmio] if b <= address < b + n)
        data = ffi.buffer(access.data, size * access.count)
        for at in range(0, size * access.count, size):
            if access.write:
                device.write(address - base, size, int.from_bytes(data[at : at + size], "little"))
            else:
                value = device.read(address - base, size) & ((1 << 8 * size) - 1)
                data[at : at + size] = value.to_bytes(size, "little")
