"""Direct boot: a Toro image starts in 64-bit mode on its final page tables.

`docs/boot-protocol.md` is the contract. An image asks for it with an ELF note.
All vCPUs start at once at the same entry point, each with its own stacks. Behind
the image lie, each at a page boundary:

    CPU areas   for each vCPU: supervisor area, guard page, stack
    boot-info   the block and its tables (see `bootinfo`)
    tables      a flat GDT, then the page tables
"""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.boot import bootinfo
from pyvmm.boot.cpuid import Cpuid
from pyvmm.boot.elf import PF_W, PF_X
from pyvmm.boot.protocol import BootProtocol, set_segments, start_at
from pyvmm.errors import ImageError
from pyvmm.layout import (
    GENERATION_VECTOR,
    IRQ_BASE,
    MMIO_HOLE_END,
    MMIO_HOLE_START,
    PAGE_SIZE,
    SERIAL_GSI,
    SHUTDOWN_VECTOR,
    VIRTIO_MMIO_STRIDE,
    page_up,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyvmm.boot.elf import Image, Segment
    from pyvmm.boot.file import File
    from pyvmm.boot.protocol import Host, Registers
    from pyvmm.layout import Ram
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
_APIC_BASE, _APIC_BSP = 0xFEE0_0800, 0x100

#: null, 64-bit code, data
_GDT = b"".join(entry.to_bytes(8, "little") for entry in (0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF))


class DirectBoot(BootProtocol):
    """The protocol for one image on one machine.

    Args:
        image: must carry the note (see `wanted_by`).
        ram: where RAM is.
        cpus: number of vCPUs.
        command_line: bytes.
        cpuid: the vCPUs' features; None: those of this host.

    Raises:
        ImageError: the image or its note is wrong, or does not fit into RAM.
    """

    is_pc = False
    shutdown_message = SHUTDOWN_VECTOR

    def __init__(self, image: Image, ram: Ram, cpus: int, command_line: bytes, cpuid: Cpuid | None = None) -> None:
        self.image = image
        self._cpus = cpus
        self._command_line = command_line
        self._ram = ram
        self._cpuid = cpuid or Cpuid(cpus)
        self._read_note()
        for segment in image.segments:
            self._check_segment(segment, ram.low_end)
        self.cpu_areas = page_up(image.segments[-1].end)
        self.cpu_area_size = self.supervisor_size + PAGE_SIZE + self.stack_size
        self.boot_info = self.cpu_areas + cpus * self.cpu_area_size
        map_room = 4 * bootinfo.SIZE
        self.tables = page_up(self.boot_info + bootinfo.SIZE + map_room + len(command_line) + 1)
        if self.tables >= ram.low_end:
            self._no_room(self.tables)

    @staticmethod
    def wanted_by(image: Image) -> bool:
        """Whether the image carries this protocol's note."""
        return NOTE in image.notes

    def _fail(self, text: str) -> ImageError:
        return ImageError(f"{self.image.name}: {text}")

    def _no_room(self, end: int) -> None:
        raise self._fail(
            f"the image, {self._cpus} CPU areas and tables end at {end:#x}, past the RAM; it needs more memory"
        )

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
            raise self._fail(
                f"{where}: p_memsz {segment.memsz:#x} ends past the RAM at {low_end:#x}; it needs more memory"
            )

    def load(self, file: File, memory: GuestMemory) -> None:
        """Copies the image and builds its tables."""
        for segment in self.image.segments:
            file.copy(segment.offset, segment.filesz, memory, segment.paddr)
        self.build_tables(memory)

    def build_tables(self, memory: GuestMemory) -> None:
        """Builds the GDT and the page tables, and sets `end`.

        RAM and MMIO are readable and writable in ring 3 but not executable;
        segments have the access rights of their p_flags.
        """
        memory.write(self.tables, _GDT)
        paging = ffi.new("struct paging *")

        def call(function: Any, *args: Any) -> None:
            if function(paging, *args) < 0:
                self._no_room(self._ram.low_end)

        call(lib.paging_init, memory.host, self.tables + PAGE_SIZE, self._ram.low_end, self._cpuid.gigabyte_pages)
        data = _PRESENT | _WRITE | _USER | _NX
        for start, length in self._ram.regions:
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
        # Hiding the tables may itself take two more tables at either end, one of
        # 2 MiB and one of 4 KiB pages.
        self._end: int = min(paging.next + 4 * PAGE_SIZE, self._ram.low_end)
        call(lib.paging_map, self.tables, self._end, data & ~_USER)
        self._root: int = paging.root

    @property
    def end(self) -> int:
        """The guest-physical address after the tables."""
        return self._end

    def write_tables(self, memory: GuestMemory, devices: list[tuple[int, int, int]]) -> None:
        """Writes the boot-info block; time and random bytes are put in when the guest starts."""
        block = bootinfo.build(
            self.boot_info,
            self._command_line,
            self._memory_map(),
            [(base, VIRTIO_MMIO_STRIDE, IRQ_BASE + gsi, device) for base, gsi, device in devices],
            console_vector=IRQ_BASE + SERIAL_GSI,
            cpu_count=self._cpus,
            shutdown_vector=self.shutdown_message,
            generation_vector=GENERATION_VECTOR,
            cpu_areas=self.cpu_areas,
            cpu_area_size=self.cpu_area_size,
            supervisor_size=self.supervisor_size,
            stack_size=self.stack_size,
        )
        memory.write(self.boot_info, block)

    def _memory_map(self) -> list[tuple[int, int, int]]:
        """All RAM, free or in use: by page 0, the image, and the data put behind it."""
        free, used = bootinfo.MEMORY_FREE, bootinfo.MEMORY_IN_USE
        image = self.image.segments[0].paddr
        bounds = [
            (0, PAGE_SIZE, used),
            (PAGE_SIZE, image, free),
            (image, self._end, used),
            (self._end, self._ram.low_end, free),
        ]
        bounds += [(start, start + length, free) for start, length in self._ram.regions[1:]]
        return [(start, end - start, kind) for start, end, kind in bounds if end > start]

    def registers(self, host: Host | None) -> list[Registers]:
        """All vCPUs start at the entry point, without INIT and SIPI."""
        return [self._registers(cpu) for cpu in range(self._cpus)]

    def _registers(self, cpu: int) -> Registers:
        sregs = ffi.new("struct kvm_sregs *")
        set_segments(sregs, code=8, data=16, tss=0, long_mode=True)
        sregs.ldt.unusable = 1
        sregs.gdt.base, sregs.gdt.limit = self.tables, len(_GDT) - 1
        sregs.cr0, sregs.cr3 = _CR0, self._root
        sregs.cr4 = _CR4 | (_CR4_FSGSBASE if self._cpuid.fsgsbase else 0)
        sregs.efer = _EFER
        sregs.apic_base = _APIC_BASE | (_APIC_BSP if cpu == 0 else 0)
        area = self.cpu_areas + cpu * self.cpu_area_size
        registers = start_at(
            sregs,
            rip=self.entry,
            rdi=self.boot_info,
            rsi=cpu,
            rsp=area + self.supervisor_size,
            rdx=area + self.cpu_area_size,
        )
        registers[lib.STATE_CPUID] = self._cpuid.native(cpu)
        if cpu:
            registers[lib.STATE_MP] = ffi.new("struct kvm_mp_state *", {"mp_state": lib.KVM_MP_STATE_RUNNABLE})
        return registers


def _rights(flags: int) -> int:
    """The page-table flags for p_flags. A segment without any rights is a guard page."""
    if not flags & 7:
        return 0
    return (
        _PRESENT
        | (_WRITE if flags & PF_W else 0)
        | (0 if flags & PF_SUPERVISOR else _USER)
        | (0 if flags & PF_X else _NX)
    )
