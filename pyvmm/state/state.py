"""The State: all that a guest is, as data.

`docs/frozen-format.md` describes the file, `native/state.h` has its structures, and
`native/state.c` reads it. A State is composed of an image (`boot.compose`) or taken from a
guest that runs (`state.freeze`); `native/thaw/` makes a machine of either.
"""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError
from pyvmm.layout import page_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm._kvm import CData
    from pyvmm.memory import GuestMemory

    #: (guest-physical address, bytes) of consecutive pages.
    Runs = list[tuple[int, int]]

#: What a frozen file begins with.
MAGIC = b"PYVSTATE"
_RUNS_MAX = 1 << 16
_SECTION_ALIGNMENT = 8


class State:
    """A guest.

    Args:
        memory: its RAM, with what is in it.
        cpus: number of vCPUs.
        devices: the virtio device ID of each slot.
        fields: others of `struct state_header` by name: `flags`, `boot_info`, `end`,
            `shutdown_message`, `reset_limits`.
    """

    def __init__(self, memory: GuestMemory, cpus: int, devices: Sequence[int], **fields: int) -> None:
        self.memory = memory
        self.cpus = cpus
        self.devices = devices
        self._fields = fields
        self._sections: dict[tuple[int, int], bytes] = {}

    def add(self, kind: int, index: int, data: bytes | CData) -> None:
        """Adds a section.

        Args:
            kind: STATE_PIC, STATE_REGS and so on.
            index: of the vCPU, or the number among those of a kind.
            data: bytes, or a pointer to a structure of KVM or of `state.h`.
        """
        self._sections[kind, index] = data if isinstance(data, bytes) else bytes(ffi.buffer(data))

    def pages(self) -> Runs:
        """Its pages that are not zero. No vCPU must run.

        Raises:
            HostError: the host does not tell.
        """
        runs = ffi.new("struct state_run[]", _RUNS_MAX)
        end = self._fields["end"] if not self._fields["flags"] & lib.STATE_HAS_RUN else 0
        memory = self.memory
        count = lib.pages_find(memory.native, memory.fd, end or (1 << 64) - 1, runs, _RUNS_MAX)
        if count < 0:
            raise HostError("/proc/self/pagemap", ffi.errno)
        return [(runs[i].address, runs[i].size) for i in range(count)]

    def head(self, runs: Runs | None = None, key: bytes = b"", pages_sum: int = 0) -> bytes:
        """What a file begins with.

        Args:
            runs: pages that follow it; None: they are in `memory` alone.
            key: what an entry of the boot cache depends on.
            pages_sum: `state_sum` of the pages, or 0.
        """
        sections = dict(self._sections)
        if key:
            sections[lib.STATE_KEY, 0] = key
        if runs:
            numbers = (number.to_bytes(8, "little") for run in runs for number in run)
            sections[lib.STATE_PAGES, 0] = b"".join(numbers)
        ordered = sorted(sections.items())
        at = ffi.sizeof("struct state_header") + len(ordered) * ffi.sizeof("struct state_section")
        table, contents = [], []
        for (kind, index), data in ordered:
            table.append(ffi.buffer(ffi.new("struct state_section *", (kind, index, at, len(data))))[:])
            data += bytes(-len(data) % _SECTION_ALIGNMENT)
            contents.append(data)
            at += len(data)
        size = page_up(at)
        header = ffi.new(
            "struct state_header *",
            {
                "magic": MAGIC,
                "version": lib.STATE_VERSION,
                "sections": len(ordered),
                "head_size": size,
                "file_size": size + sum(length for _, length in runs or ()),
                "pages_sum": pages_sum,
                "memory": self.memory.size,
                "cpus": self.cpus,
                "device_count": len(self.devices),
                "devices": list(self.devices),
                **self._fields,
            },
        )
        rest = b"".join([*table, *contents]).ljust(size - ffi.sizeof("struct state_header"), b"\0")
        header.head_sum = lib.state_sum(lib.state_sum(0, header, ffi.sizeof("struct state_header")), rest, len(rest))
        return bytes(ffi.buffer(header)) + rest

    def parts(self, key: bytes = b"", summed: bool = False, most: int = 0) -> list[bytes | memoryview] | None:
        """The contents of its file, one after the other.

        Args:
            key: see `head`.
            summed: damage to pages will be noticed.
            most: pages are copied, if they are no more than so many bytes, so that the guest may
                run; else the parts are None. By default they are views of memory.
        """
        runs = self.pages()
        if most and sum(size for _, size in runs) > most:
            return None
        pages: list[bytes | memoryview] = [self.memory.view(address, size) for address, size in runs]
        if most:
            pages = [bytes(page) for page in pages]
        total = 0
        if summed:
            for page in pages:
                total = lib.state_sum(total, ffi.from_buffer(page), len(page))
        return [self.head(runs, key, total), *pages]
