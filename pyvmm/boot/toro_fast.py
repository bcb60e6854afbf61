"""Existing Toro images, which run in ring 0, started where their own start-up code ends.

That code, entered by PVH, spends two million instructions on page tables for 512 GiB.
Here pyvmm makes the page tables, and copies the GDT and the start-up code of other CPUs
out of the image. The first CPU enters `_mainCRTStartup` in 64-bit mode with RBX = start
info and RCX = 1, the code for PVH:

    2000    start-up code of other CPUs (SIPI vector 2)
    3000    GDT and IDT, where the image's GDTR and IDTR point
    100000  page tables: pages of 2 MiB
"""

from __future__ import annotations

from array import array
from struct import pack, unpack

from pyvmm.boot import firmware
from pyvmm.boot.pc import reset_sregs
from pyvmm.boot.protocol import set_segments, start_at
from pyvmm.boot.pvh import PvhBoot
from pyvmm.errors import ImageError
from pyvmm.layout import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.boot.elf import Image
    from pyvmm.boot.file import File
    from pyvmm.boot.protocol import Registers
    from pyvmm.layout import Ram
    from pyvmm.memory import GuestMemory

#: The entry point, what is copied, and the operands of LGDT and LIDT.
ENTRY = b"_mainCRTStartup"
SYMBOLS = ENTRY, b"trampoline_init", b"trampoline_end", b"gdt", b"gdtr64", b"idtr64"

_TRAMPOLINE, _TRAMPOLINE_SIZE = 0x2000, 0x1000
_TABLES, _TABLES_END = 0x3000, 0x5000  # room for GDT and IDT
_DESCRIPTORS = 4 * 8
_PAGE_TABLES, _PAGE_TABLES_END = 0x10_0000, 0x30_2000
_STACK = 0x1000
_DATA, _CODE = 0x10, 0x18
_TABLE, _LARGE = 0x07, 0x87
_CR0, _CR4, _EFER = 0x8000_0011, 0x20, 0x500  # PG ET PE; PAE; LMA LME
_SIG_PVH = 1


class ToroFastBoot(PvhBoot):
    """PVH without the image's own switch to 64-bit mode.

    Args:
        symbols: addresses of all `SYMBOLS`.
        others: as for `PvhBoot`.

    Raises:
        ImageError: the image does not fit, or a symbol is invalid.
    """

    def __init__(
        self, image: Image, symbols: dict[bytes, int], ram: Ram, cpus: int, command_line: bytes,
        initrd: File | None,
    ) -> None:  # fmt: skip
        super().__init__(image, ram, cpus, command_line, initrd, existing_toro=True)
        self._symbols = symbols
        if image.segments[0].paddr < _PAGE_TABLES_END:
            raise ImageError(f"{image.name}: toro-fast: page tables end at {_PAGE_TABLES_END:#x}; try pvh")

    def load(self, file: File, memory: GuestMemory) -> None:
        """Copies the image and builds its tables."""
        super().load(file, memory)
        start, end = self._symbols[b"trampoline_init"], self._symbols[b"trampoline_end"]
        if not 0 < end - start <= _TRAMPOLINE_SIZE:
            raise ImageError(f"{file.name}: symbol trampoline_end is {end:#x}, and trampoline_init {start:#x}")
        memory.write(_TRAMPOLINE, self._read(memory, b"trampoline_init", end - start))
        self._gdt, self._idt = self._table(memory, b"gdtr64"), self._table(memory, b"idtr64")
        memory.write(self._gdt[1], self._read(memory, b"gdt", _DESCRIPTORS))
        memory.write(_PAGE_TABLES, _page_tables(self._ram.end))

    def _read(self, memory: GuestMemory, symbol: bytes, size: int) -> bytes:
        """Reads the part of the image that a symbol points to."""
        address = self._symbols[symbol]
        if not any(s.paddr <= address and address + size <= s.end for s in self._image.segments):
            raise ImageError(f"{self._image.name}: symbol {symbol.decode()}: {address:#x} is in no segment")
        return memory.read(address, size)

    def _table(self, memory: GuestMemory, symbol: bytes) -> tuple[int, int]:
        """The limit and base of a descriptor table."""
        limit, base = unpack("<HQ", self._read(memory, symbol, 10))
        if not _TABLES <= base <= base + max(limit + 1, _DESCRIPTORS) <= _TABLES_END:
            raise ImageError(f"{self._image.name}: symbol {symbol.decode()}: a table at {base:#x} is not expected")
        return limit, base

    def first_registers(self) -> Registers:
        """64-bit mode, as the image's own start-up code would leave it."""
        sregs = reset_sregs()
        set_segments(sregs, _CODE, _DATA, long_mode=True)
        sregs.gdt.limit, sregs.gdt.base = self._gdt
        sregs.idt.limit, sregs.idt.base = self._idt
        sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = _CR0, _PAGE_TABLES, _CR4, _EFER
        return start_at(sregs, rip=self._symbols[ENTRY], rsp=_STACK, rbx=firmware.START_INFO, rcx=_SIG_PVH)


def _page_tables(ram_end: int) -> bytes:
    """An identity map up to `ram_end`, and at least of the first 4 GiB, in tables for 512 GiB."""
    directories = _PAGE_TABLES + 0x2000
    end = min(max(ram_end, 4 << 30), 512 << 30)
    root = pack("<Q", _PAGE_TABLES + 0x1000 | _TABLE).ljust(0x1000, b"\0")
    pointers = array("Q", range(directories | _TABLE, directories + 512 * 0x1000, 0x1000))
    return root + pointers.tobytes() + array("Q", range(_LARGE, end, 2 * MIB)).tobytes()
