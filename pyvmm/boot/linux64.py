"""Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst) for bzImage and vmlinux.

The machine is in 64-bit mode on an identity map of the first 4 GiB, with RSI
pointing to the zero page (struct boot_params). A bzImage is entered 0x200 bytes
into its second part, a vmlinux at its ELF entry point.
"""

from __future__ import annotations

from struct import pack, pack_into, unpack_from

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

_ACPI_RSDP = 0x70  # in the zero page
# Offsets, the same in a bzImage and in the zero page.
_HEADER = 0x1F1
_SETUP_SECTS, _BOOT_FLAG, _JUMP, _MAGIC_AT, _VERSION = 0x1F1, 0x1FE, 0x200, 0x202, 0x206
_TYPE_OF_LOADER, _LOADFLAGS = 0x210, 0x211
_RAMDISK_IMAGE, _RAMDISK_SIZE, _CMD_LINE_PTR = 0x218, 0x21C, 0x228
_INITRD_ADDR_MAX, _KERNEL_ALIGNMENT, _CMDLINE_SIZE, _XLOADFLAGS = 0x22C, 0x230, 0x238, 0x236
_PREF_ADDRESS, _INIT_SIZE = 0x258, 0x260
_E820_ENTRIES, _E820_TABLE = 0x1E8, 0x2D0
_MAGIC = b"HdrS"
_VERSION_MIN = 0x20C  # the first with xloadflags
_KERNEL_64 = 1
_OTHER_LOADER = 0xFF
_ENTRY_64 = 0x200
_SECTOR = 512

_CR0, _CR4, _EFER = 0x8001_0033, 0x620, 0x500  # PG WP NE ET MP PE; PAE OSFXSR OSXMMEXCPT; LME LMA
_CODE, _DATA, _TSS = 0x10, 0x18, 0x20  # __BOOT_CS, __BOOT_DS
_GDT = (0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0000_0067, 0)


class Linux64Boot(PcBoot):
    """The protocol for one kernel on one machine.

    Args:
        file: the kernel.
        image: its ELF headers; None if it is a bzImage.
        ram: where RAM is.
        cpus: number of vCPUs.
        command_line: bytes.
        initrd: an initial RAM disk, or None.
        existing_toro: the kernel is a Toro that runs in ring 0.

    Raises:
        ImageError: the kernel does not support the protocol, or does not fit into RAM.
    """

    def __init__(
        self, file: File, image: Image | None, ram: Ram, cpus: int, command_line: bytes, initrd: File | None,
        existing_toro: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(file.name, ram, cpus, command_line, existing_toro)
        self._image, self._initrd = image, initrd
        self._header = bytearray(0x290 - _HEADER)
        highest = 0x7FFF_FFFF
        if image:
            self._entry, self._load_at = image.entry, image.segments[0].paddr
            self._end = image.segments[-1].end
        else:
            highest = self._read_header(file)
        if self._load_at < firmware.HIGH_MEMORY:
            raise ImageError(f"{file.name}: loads at {self._load_at:#x}: below 1 MiB are the machine's tables")
        if self._end > ram.low_end:
            text = (
                f"the kernel needs memory up to {self._end:#x}, past the RAM at {ram.low_end:#x}; it needs more memory"
            )
            raise ImageError(f"{file.name}: {text}")
        self._initrd_at = 0
        if initrd:
            self._initrd_at = firmware.initrd_address(initrd.size, ram, self._end, highest, initrd.name)

    def _read_header(self, file: File) -> int:
        """Reads the setup header of a bzImage; returns the highest address for an initrd."""
        head = file.read(0, 0x290)
        if len(head) < 0x290:
            raise ImageError(f"{file.name}: truncated in the setup header ({file.size} bytes)")
        (version,) = unpack_from("<H", head, _VERSION)
        (flags,) = unpack_from("<H", head, _XLOADFLAGS)
        if version < _VERSION_MIN or not flags & _KERNEL_64:
            raise ImageError(f"{file.name}: a Linux kernel without the 64-bit entry point (boot protocol {version:#x})")
        size_max, cmdline_max = unpack_from("<I", head, _INIT_SIZE)[0], unpack_from("<I", head, _CMDLINE_SIZE)[0]
        if len(self._command_line) > cmdline_max:
            raise ImageError(
                f"{file.name}: the command line has {len(self._command_line)} bytes; at most {cmdline_max} fit"
            )
        self._skip = (head[_SETUP_SECTS] or 4) * _SECTOR + _SECTOR
        self._size = file.size - self._skip
        if self._size <= _ENTRY_64:
            raise ImageError(f"{file.name}: truncated: nothing follows the {self._skip} bytes of set-up code")
        (self._load_at,) = unpack_from("<Q", head, _PREF_ADDRESS)
        self._entry = self._load_at + _ENTRY_64
        self._end = self._load_at + max(size_max, self._size)
        stop = _MAGIC_AT + head[_JUMP + 1]  # the jump over the header gives its end
        self._header[: stop - _HEADER] = head[_HEADER:stop]
        return int(unpack_from("<I", head, _INITRD_ADDR_MAX)[0])

    def load(self, file: File, memory: GuestMemory) -> None:
        """Copies the kernel, its initrd and the tables to memory."""
        if self._image:
            for segment in self._image.segments:
                file.copy(segment.offset, segment.filesz, memory, segment.paddr)
        else:
            file.copy(self._skip, self._size, memory, self._load_at)
        if self._initrd:
            self._initrd.copy(0, self._initrd.size, memory, self._initrd_at)
        firmware.write_command_line(memory, self._command_line)
        memory.write(firmware.GDT, b"".join(entry.to_bytes(8, "little") for entry in _GDT))
        memory.write(firmware.PAGE_TABLES, _page_tables(firmware.PAGE_TABLES))
        memory.write(firmware.ZERO_PAGE, self._zero_page())

    def _zero_page(self) -> bytes:
        page = bytearray(4096)
        page[_HEADER : _HEADER + len(self._header)] = self._header
        pack_into("<Q", page, _ACPI_RSDP, firmware.ACPI_TABLES)
        pack_into("<H", page, _BOOT_FLAG, 0xAA55)
        page[_MAGIC_AT : _MAGIC_AT + 4] = _MAGIC
        page[_TYPE_OF_LOADER] = _OTHER_LOADER
        page[_LOADFLAGS] |= 1  # LOADED_HIGH
        pack_into("<I", page, _KERNEL_ALIGNMENT, 0x20_0000)
        pack_into("<I", page, _CMD_LINE_PTR, firmware.COMMAND_LINE)
        if self._initrd:
            pack_into("<II", page, _RAMDISK_IMAGE, self._initrd_at, self._initrd.size)
        ranges = self.memory_map()
        page[_E820_ENTRIES] = len(ranges)
        for index, entry in enumerate(ranges):
            pack_into("<QQI", page, _E820_TABLE + 20 * index, *entry)
        return bytes(page)

    @property
    def end(self) -> int:
        """The guest-physical address after everything that was put into memory."""
        return page_up(self._initrd_at + self._initrd.size if self._initrd else self._end)

    def first_registers(self) -> Registers:
        """64-bit mode on an identity map; RSI points to the zero page."""
        sregs = reset_sregs()
        set_segments(sregs, _CODE, _DATA, _TSS, long_mode=True)
        sregs.gdt.base, sregs.gdt.limit = firmware.GDT, 8 * len(_GDT) - 1
        sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = _CR0, firmware.PAGE_TABLES, _CR4, _EFER
        return start_at(sregs, rip=self._entry, rsi=firmware.ZERO_PAGE)


def _page_tables(at: int) -> bytes:
    """An identity map of 4 GiB by pages of 2 MiB (Intel SDM volume 3, section 4.5)."""
    table, large = 3, 0x83
    root = pack("<Q", at + 0x1000 | table).ljust(4096, b"\0")
    directories = b"".join(pack("<Q", at + 0x2000 + 0x1000 * i | table) for i in range(4)).ljust(4096, b"\0")
    return root + directories + b"".join(pack("<Q", i << 21 | large) for i in range(4 * 512))
