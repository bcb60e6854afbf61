"""PVH: an ELF image with a note that names its 32-bit entry point.

The machine is in protected mode without paging, flat segments, and EBX points to
the start info (Xen: docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h).
"""

from __future__ import annotations

from struct import pack

from pyvmm.boot import firmware
from pyvmm.boot.pc import PcBoot, reset_sregs
from pyvmm.boot.protocol import set_segments, start_at
from pyvmm.errors import ImageError
from pyvmm.layout import page_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.boot.elf import Image
    from pyvmm.boot.file import File
    from pyvmm.boot.protocol import Registers
    from pyvmm.layout import Ram
    from pyvmm.memory import GuestMemory

NOTE = (b"Xen", 18)  # XEN_ELFNOTE_PHYS32_ENTRY

_MAGIC, _VERSION = 0x336E_C578, 1
_INFO_SIZE, _MODULE_SIZE = 56, 32
_CR0 = 0x11  # ET PE
_CODE, _DATA, _TSS = 8, 16, 24
_GDT = (0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0000_0067)


class PvhBoot(PcBoot):
    """The protocol for one image on one machine.

    Args:
        image: must carry the note.
        ram: where RAM is.
        cpus: number of vCPUs.
        command_line: bytes.
        initrd: a module for the kernel, or None.
        existing_toro: the image is a Toro kernel that runs in ring 0.

    Raises:
        ImageError: the note is wrong, or the image does not fit into RAM.
    """

    def __init__(
        self, image: Image, ram: Ram, cpus: int, command_line: bytes, initrd: File | None,
        existing_toro: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(image.name, ram, cpus, command_line, existing_toro)
        self._image, self._initrd = image, initrd
        note = image.notes[NOTE]
        if len(note) not in (4, 8):
            raise ImageError(f"{image.name}: PVH note: n_descsz is {len(note)}, not 4 or 8")
        self._entry = int.from_bytes(note, "little")
        if not any(segment.paddr <= self._entry < segment.end for segment in image.segments):
            raise ImageError(f"{image.name}: PVH note: entry {self._entry:#x} is in no segment")
        first, last = image.segments[0].paddr, image.segments[-1].end
        if first < firmware.HIGH_MEMORY:
            raise ImageError(f"{image.name}: segment at p_paddr {first:#x}: below 1 MiB are the machine's tables")
        if last > ram.low_end:
            raise ImageError(
                f"{image.name}: the image ends at {last:#x}, past the RAM at {ram.low_end:#x}; it needs more memory"
            )
        self._initrd_at = 0
        if initrd:
            self._initrd_at = firmware.initrd_address(initrd.size, ram, last, 0xFFFF_FFFF, initrd.name)

    def load(self, file: File, memory: GuestMemory) -> None:
        """Copies the image, the initrd and the tables to memory."""
        for segment in self._image.segments:
            file.copy(segment.offset, segment.filesz, memory, segment.paddr)
        if self._initrd:
            self._initrd.copy(0, self._initrd.size, memory, self._initrd_at)
        firmware.write_command_line(memory, self._command_line)
        memory.write(firmware.GDT, b"".join(entry.to_bytes(8, "little") for entry in _GDT))
        memory.write(firmware.START_INFO, self._start_info())

    def _start_info(self) -> bytes:
        modules = []
        if self._initrd:
            modules.append(pack("<QQQQ", self._initrd_at, self._initrd.size, 0, 0))
        ranges = self.memory_map()
        modules_at = firmware.START_INFO + _INFO_SIZE
        map_at = modules_at + _MODULE_SIZE * len(modules)
        info = pack(
            "<IIIIQQQQII", _MAGIC, _VERSION, 0, len(modules), modules_at if modules else 0, firmware.COMMAND_LINE,
            firmware.ACPI_TABLES, map_at, len(ranges), 0,
        )  # fmt: skip
        return info + b"".join(modules) + b"".join(pack("<QQII", *entry, 0) for entry in ranges)

    @property
    def end(self) -> int:
        """The guest-physical address after everything that was put into memory."""
        if self._initrd:
            return page_up(self._initrd_at + self._initrd.size)
        return page_up(self._image.segments[-1].end)

    def first_registers(self) -> Registers:
        """Protected mode without paging; EBX points to the start info."""
        sregs = reset_sregs()
        set_segments(sregs, _CODE, _DATA, _TSS)
        sregs.gdt.base, sregs.gdt.limit = firmware.GDT, 8 * len(_GDT) - 1
        sregs.cr0 = _CR0
        return start_at(sregs, rip=self._entry, rbx=firmware.START_INFO)
