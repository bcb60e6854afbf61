"""Guest memory: one mapping, and bounds-checked views of it.

RAM is contiguous in it; guest-physical addresses have a hole (see `layout`). A page costs
nothing until it is touched.
"""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from pyvmm._kvm import Machine
    from pyvmm.layout import Ram


class GuestMemoryError(Exception):
    """An access outside the guest's RAM, by [address, address + length)."""

    def __init__(self, address: int, length: int) -> None:
        super().__init__(f"no RAM at [{address:#x}, {address + length:#x})")


class GuestMemory:
    """The RAM of one guest.

    Args:
        ram: its layout; the size is a multiple of the page size.
        shared: other processes are to map it.
        made: a `struct machine *` that has it, and frees it; or None.

    Attributes:
        fd: if it is shared, a memfd, sealed at its size, whose offset 0 is guest-physical 0; else -1.
        regions: (guest-physical start, length, offset in the mapping) of each
            range of RAM, in order.
        host: host address of offset 0, a `uint8_t *`.
        native: the C side (`struct ram *`).

    Raises:
        HostError: the host has no memory or no address space for it.
    """

    def __init__(self, ram: Ram, shared: bool = False, made: Machine | None = None) -> None:
        self.size = size = ram.size
        self.regions: list[tuple[int, int, int]] = []
        offset = 0
        for start, length in ram.regions:
            self.regions.append((start, length, offset))
            offset += length
        self._is_own = not made
        if not made:
            made = ffi.new("struct machine *")
            if not lib.machine_map(made, size, shared):
                call = ffi.string(made.failed).decode()
                what = f"mapping {size >> 20} MiB of {call}" if call == "guest memory" else call
                raise HostError(what, made.error, "try less memory")
        self.fd: int = made.memory_fd
        self.host = made.host
        self._bytes = memoryview(ffi.buffer(self.host, size))
        self.native = ffi.new("struct ram *")
        lib.ram_lay_out(self.native, size, self.host)

    def __enter__(self) -> GuestMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmaps and frees the memory. Views of it must be gone by then."""
        self._bytes.release()
        if not self._is_own:
            return
        lib.munmap(self.host, self.size)
        if self.fd >= 0:
            os.close(self.fd)

    def offset(self, address: int, length: int) -> int:
        """The offset in the mapping of RAM at guest-physical `address`.

        Raises:
            GuestMemoryError: not all of [address, address + length) is in one
                range of RAM.
        """
        if length >= 0:
            for start, size, offset in self.regions:
                if start <= address and address + length <= start + size:
                    return offset + address - start
        raise GuestMemoryError(address, length)

    def view(self, address: int, length: int) -> memoryview:
        """A writable view of `length` bytes at guest-physical `address`.

        The guest may change the bytes at any time: copy them before checking.

        Raises:
            GuestMemoryError: not all of it is RAM.
        """
        offset = self.offset(address, length)
        return self._bytes[offset : offset + length]

    def read(self, address: int, length: int) -> bytes:
        """A copy of `length` bytes at guest-physical `address`.

        Raises:
            GuestMemoryError: not all of it is RAM.
        """
        return bytes(self.view(address, length))

    def write(self, address: int, data: bytes) -> None:
        """Copies `data` to guest-physical `address`.

        Raises:
            GuestMemoryError: not all of it would be RAM; nothing is written.
        """
        self.view(address, len(data))[:] = data
