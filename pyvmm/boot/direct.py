"""Direct boot: a Toro image starts in 64-bit mode with everything in place.

`docs/boot-protocol.md` is the contract. An image asks for it with an ELF note;
every vCPU then starts at the same entry point, at once, on the final page
tables, with stacks of its own. Behind the image lie, page by page:

    CPU areas   for each vCPU: supervisor area, guard page, stack
    boot-info   the block and its tables (see `bootinfo`)
    tables      a flat GDT, then the page tables
"""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.boot import bootinfo
from pyvmm.boot.elf import PF_W, PF_X
from pyvmm.errors import ImageError
from pyvmm.layout import MMIO_HOLE_END, MMIO_HOLE_START, PAGE_SIZE, SHUTDOWN_VECTOR, page_up, ram_regions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyvmm.boot.cpuid import Cpuid
    from pyvmm.boot.elf import Image, Segment
    from pyvmm.boot.file import File
    from pyvmm.memory import GuestMemory

NOTE = (b"Toro", 1)
NOTE_VERSION = 1
_NOTE_SIZE = 24

#: p_flags (within PF_MASKOS) of a segment that ring 3 must not reach.
PF_SUPERVISOR = 0x10_0000

_AREA_MAX = 1 << 20

# Page-table entries, Intel SDM volume 3, section 4.5.
_PRESENT, _WRITE, _USER, _PWT, _PCD, _NX = 1, 2, 4, 8, 16, 1 << 63

# Control registers, volume 3, section 2.5; EFER, section 2.2.1.
_CR0 = 0x8001_0033  # PG WP NE ET MP PE
_CR4 = 0x620  # PAE OSFXSR OSXMMEXCPT
_CR4_FSGSBASE = 1 << 16
_EFER = 0xD00  # LME LMA NXE
_RFLAGS = 2
_APIC_BASE, _APIC_BSP = 0xFEE0_0800, 0x100

#: null, 64-bit code, data
_GDT = b"".join(entry.to_bytes(8, "little") for entry in (0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF))


class DirectBoot:
    """Where everything goes, for one image on one machine.

    Args:
        image: must carry the note (see `wanted_by`).
        memory_size: bytes of RAM.
        cpus: number of vCPUs.
        command_line: bytes.

    Attributes:
        shutdown_message: data of the message (MSI) by which CPU 0 is asked for an end.

    Raises:
        ImageError: the image or its note is wrong, or does not fit.
    """

    shutdown_message = SHUTDOWN_VECTOR

    def __init__(self, image: Image, memory_size: int, cpus: int, command_line: bytes) -> None:
        self.image = image
        self._cpus = cpus
        self._command_line = command_line
        self._regions = ram_regions(memory_size)
        self._read_note()
        low_end = self._regions[0][1]
        for segment in image.segments:
            self._check_segment(segment, low_end)
        self.cpu_areas = page_up(image.segments[-1].end)
        self.cpu_area_size = self.supervisor_size + PAGE_SIZE + self.stack_size
        self.boot_info = self.cpu_areas + cpus * self.cpu_area_size
        map_room = 4 * bootinfo.SIZE
        self.tables = page_up(self.boot_info + bootinfo.SIZE + map_room + len(command_line) + 1)
        if self.tables >= low_end:
            self._no_room(self.tables)
        self._low_end = low_end

    @staticmethod
    def wanted_by(image: Image) -> bool:
        """Whether the image carries a note of this protocol."""
        return NOTE in image.notes

    def _fail(self, text: str) -> ImageError:
        return ImageError(f"{self.image.name}: {text}")

    def _no_room(self, end: int) -> None:
        raise self._fail(f"the image, {self._cpus} CPU areas and tables end at {end:#x}, past the RAM; give more --mem")

    def _read_note(self) -> None:
        note = self.image.notes[NOTE]
        if len(note) < _NOTE_SIZE:
            raise self._fail(f"Toro note: n_descsz is {len(note)}, not {_NOTE_SIZE}")
        version = int.from_bytes(note[0:4], "little")
        if version != NOTE_VERSION:
            raise self._fail(f"Toro note: version is {version}; this pyvmm knows {NOTE_VERSION}")
        self.entry = int.from_bytes(note[8:16], "little")
        self.supervisor_size = int.from_bytes(note[16:20], "little")
        self.stack_size = int.from_bytes(note[20:24], "little")
        for field, size in (("supervisor_size", self.supervisor_size), ("stack_size", self.stack_size)):
            if not 0 < size <= _AREA_MAX or size % PAGE_SIZE:
                raise self._fail(f"Toro note: {field} is {size:#x}, not whole pages up to {_AREA_MAX:#x}")
        if not any(s.flags & PF_X and s.paddr <= self.entry < s.end for s in self.image.segments):
            raise self._fail(f"Toro note: entry {self.entry:#x} is in no executable segment")

    def _check_segment(self, segment: Segment, low_end: int) -> None:
        where = f"segment at p_paddr {segment.paddr:#x}"
        if segment.vaddr != segment.paddr:
            raise self._fail(f"{where}: p_vaddr is {segment.vaddr:#x}, but the map is the identity")
        if segment.paddr % PAGE_SIZE:
            raise self._fail(f"{where}: not at a page boundary, so it cannot have rights of its own")
        if segment.paddr < PAGE_SIZE:
            raise self._fail(f"{where}: page 0 stays unmapped")
        if segment.end > low_end:
            raise self._fail(f"{where}: p_memsz {segment.memsz:#x} ends past the RAM at {low_end:#x}; give more --mem")

    def load(self, file: File, memory: GuestMemory) -> None:
        """Copies the image to memory."""
        for segment in self.image.segments:
            file.copy(segment.offset, segment.filesz, memory, segment.paddr)

    def build_tables(self, memory: GuestMemory, gigabyte_pages: bool) -> None:
        """Makes the GDT and the page tables. After it, `end` is known.

        RAM and MMIO are readable and writable in ring 3 but not executable;
        segments have the rights of their p_flags.
        """
        memory.write(self.tables, _GDT)
        paging = ffi.new("struct paging *")

        def call(function: Any, *args: int) -> None:
            if function(paging, *args) < 0:
                self._no_room(self._low_end)

        call(lib.paging_init, memory.host, self.tables + PAGE_SIZE, self._low_end, gigabyte_pages)
        data = _PRESENT | _WRITE | _USER | _NX
        for start, length in self._regions:
            call(lib.paging_map, start, start + length, data)
        call(lib.paging_map, MMIO_HOLE_START, MMIO_HOLE_END, data | _PCD | _PWT)
        call(lib.paging_map, 0, PAGE_SIZE, 0)
        for segment in self.image.segments:
            call(lib.paging_map, segment.paddr, page_up(segment.end), _rights(segment.flags))
        for cpu in range(self._cpus):
            area = self.cpu_areas + cpu * self.cpu_area_size
            guard = area + self.supervisor_size
            call(lib.paging_map, area, guard, data & ~_USER)
            call(lib.paging_map, guard, guard + PAGE_SIZE, 0)
        # Hiding the tables may itself take a table of 2 MiB and one of 4 KiB
        # pages at either end.
        self.end = min(paging.next + 4 * PAGE_SIZE, self._low_end)
        call(lib.paging_map, self.tables, self.end, data & ~_USER)
        self._root: int = paging.root

    def build_boot_info(self, memory: GuestMemory, devices: list[tuple[int, int, int, int]], **values: int) -> None:
        """Writes the boot-info block.

        Args:
            devices: see `bootinfo.build`.
            values: tsc_hz, wall_clock_ns, wall_clock_tsc, console_vector.
        """
        block = bootinfo.build(
            self.boot_info,
            self._command_line,
            self._memory_map(),
            devices,
            cpu_count=self._cpus,
            shutdown_vector=self.shutdown_message,
            cpu_areas=self.cpu_areas,
            cpu_area_size=self.cpu_area_size,
            supervisor_size=self.supervisor_size,
            stack_size=self.stack_size,
            **values,
        )
        memory.write(self.boot_info, block)

    def _memory_map(self) -> list[tuple[int, int, int]]:
        """All RAM: what is free, and what page 0, the image and the data here use."""
        free, used = bootinfo.MEMORY_FREE, bootinfo.MEMORY_IN_USE
        image = self.image.segments[0].paddr
        bounds = [
            (0, PAGE_SIZE, used),
            (PAGE_SIZE, image, free),
            (image, self.end, used),
            (self.end, self._low_end, free),
        ]
        bounds += [(start, start + length, free) for start, length in self._regions[1:]]
        return [(start, end - start, kind) for start, end, kind in bounds if end > start]

    def set_registers(self, vcpu: Any, cpuid: Cpuid) -> None:
        """Puts a `kvm.Vcpu` at the entry point."""
        sregs = ffi.new("struct kvm_sregs *")
        for name in ("ds", "es", "fs", "gs", "ss"):
            _segment(getattr(sregs, name), selector=16, type=3)
        _segment(sregs.cs, selector=8, type=11, l=1, db=0)
        # Entering 64-bit mode needs a busy TSS, be it an empty one (Intel SDM
        # volume 3, section 26.3.1.2).
        _segment(sregs.tr, selector=0, type=11, s=0, db=0, g=0, limit=0x67)
        sregs.ldt.unusable = 1
        sregs.gdt.base, sregs.gdt.limit = self.tables, len(_GDT) - 1
        sregs.cr0, sregs.cr3 = _CR0, self._root
        sregs.cr4 = _CR4 | (_CR4_FSGSBASE if cpuid.fsgsbase else 0)
        sregs.efer = _EFER
        sregs.apic_base = _APIC_BASE | (_APIC_BSP if vcpu.index == 0 else 0)
        vcpu.set_sregs(sregs)
        area = self.cpu_areas + vcpu.index * self.cpu_area_size
        vcpu.set_regs(
            rip=self.entry,
            rflags=_RFLAGS,
            rdi=self.boot_info,
            rsi=vcpu.index,
            rsp=area + self.supervisor_size,
            rdx=area + self.cpu_area_size,
        )


def _rights(flags: int) -> int:
    """The page-table rights for p_flags. One without any is a guard page."""
    if not flags & 7:
        return 0
    return (
        _PRESENT
        | (_WRITE if flags & PF_W else 0)
        | (0 if flags & PF_SUPERVISOR else _USER)
        | (0 if flags & PF_X else _NX)
    )


def _segment(segment: Any, selector: int, **fields: int) -> None:
    defaults = {"base": 0, "limit": 0xFFFF_FFFF, "present": 1, "s": 1, "db": 1, "g": 1, "selector": selector}
    for name, value in (defaults | fields).items():
        setattr(segment, name, value)
