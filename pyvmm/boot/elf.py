"""ELF64 executables, as the System V gABI (chapters 4 and 5) defines them.

The file may be hostile: every field is checked before it is used, and an error
raises `ImageError` with the names of file and field.
"""

from __future__ import annotations

from pyvmm.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    #: (offset, length) to that many bytes of the file, or fewer at its end.
    Reader = Callable[[int, int], bytes]

PF_X, PF_W, PF_R = 1, 2, 4

_EHDR_SIZE, _PHDR_SIZE, _PHDR_MAX = 64, 56, 64
_NOTES_MAX = 64 << 10
_ET_EXEC, _ET_DYN, _EM_X86_64 = 2, 3, 62
_PT_LOAD, _PT_INTERP, _PT_NOTE = 1, 3, 4


class Segment:
    """A PT_LOAD: `filesz` bytes at `offset` go to `paddr`, followed by zeroes up to `memsz`."""

    __slots__ = ("filesz", "flags", "memsz", "offset", "paddr", "vaddr")

    def __init__(self, offset: int, vaddr: int, paddr: int, filesz: int, memsz: int, flags: int) -> None:
        self.offset = offset
        self.vaddr = vaddr
        self.paddr = paddr
        self.filesz = filesz
        self.memsz = memsz
        self.flags = flags

    @property
    def end(self) -> int:
        """The guest-physical address after the last byte."""
        return self.paddr + self.memsz


class Image:
    """What a loader needs to know about an ELF file.

    Attributes:
        name: the file's name, for messages.
        entry: e_entry.
        segments: in ascending order of physical address; at least one, none empty, none overlapping.
        notes: descriptors by (name, type).
    """

    __slots__ = ("entry", "name", "notes", "segments")

    def __init__(self, name: str, entry: int, segments: list[Segment], notes: dict[tuple[bytes, int], bytes]) -> None:
        self.name = name
        self.entry = entry
        self.segments = segments
        self.notes = notes


def parse(read: Reader, size: int, name: str) -> Image:
    """Reads the headers of an ELF64 executable for x86-64.

    Args:
        read: reads from the file.
        size: the file's size in bytes.
        name: the file's name, for messages.

    Raises:
        ImageError: the file is no such executable, or is damaged.
    """
    header = read(0, _EHDR_SIZE)
    if header[:4] != b"\x7fELF":
        raise ImageError(f"{name}: not an ELF file; pyvmm boots ELF64 executables (`pyvmm build` makes them)")
    if len(header) < _EHDR_SIZE:
        raise ImageError(f"{name}: truncated in the ELF header ({size} bytes)")

    def check(field: str, value: int, wanted: int, meaning: str) -> None:
        if value != wanted:
            raise ImageError(f"{name}: {field} is {value}, not {wanted} ({meaning})")

    check("EI_CLASS", header[4], 2, "64-bit")
    check("EI_DATA", header[5], 1, "little-endian")
    check("EI_VERSION", header[6], 1, "current")
    if _u16(header, 16) == _ET_DYN:
        raise ImageError(f"{name}: a Linux program or library (e_type is {_ET_DYN}), not a kernel")
    check("e_type", _u16(header, 16), _ET_EXEC, "an executable at fixed addresses")
    check("e_machine", _u16(header, 18), _EM_X86_64, "x86-64")
    check("e_phentsize", _u16(header, 54), _PHDR_SIZE, "ELF64")
    entry, phoff, phnum = _u64(header, 24), _u64(header, 32), _u16(header, 56)
    if not 1 <= phnum <= _PHDR_MAX:
        raise ImageError(f"{name}: e_phnum is {phnum}, not 1 to {_PHDR_MAX}")
    if phoff + phnum * _PHDR_SIZE > size:
        raise ImageError(f"{name}: e_phoff {phoff:#x}: program headers end past the file's {size} bytes")
    table = read(phoff, phnum * _PHDR_SIZE)
    if len(table) < phnum * _PHDR_SIZE:
        raise ImageError(f"{name}: truncated in the program headers")

    segments: list[Segment] = []
    notes: dict[tuple[bytes, int], bytes] = {}
    for i in range(phnum):
        at = i * _PHDR_SIZE
        kind, flags = _u32(table, at), _u32(table, at + 4)
        offset, vaddr, paddr, filesz, memsz = (_u64(table, at + 8 * n) for n in range(1, 6))
        if kind == _PT_INTERP:
            raise ImageError(f"{name}: a Linux program (it has a PT_INTERP), not a kernel")
        if kind not in (_PT_LOAD, _PT_NOTE):
            continue
        if offset + filesz > size:
            raise ImageError(f"{name}: program header {i}: p_offset {offset:#x} + p_filesz {filesz:#x} is past the end")
        if kind == _PT_NOTE:
            if filesz > _NOTES_MAX:
                raise ImageError(f"{name}: program header {i}: p_filesz {filesz:#x} is too much for notes")
            _parse_notes(read(offset, filesz), filesz, f"{name}: program header {i}", notes)
        elif memsz:
            if filesz > memsz:
                raise ImageError(f"{name}: program header {i}: p_filesz {filesz:#x} is over p_memsz {memsz:#x}")
            if max(paddr, vaddr) + memsz > 1 << 64:
                raise ImageError(f"{name}: program header {i}: p_paddr {paddr:#x} + p_memsz {memsz:#x} wraps")
            segments.append(Segment(offset, vaddr, paddr, filesz, memsz, flags))
    if not segments:
        raise ImageError(f"{name}: no program header is a PT_LOAD: nothing to boot")
    segments.sort(key=lambda segment: segment.paddr)
    for low, high in zip(segments, segments[1:], strict=False):
        if low.end > high.paddr:
            raise ImageError(f"{name}: segments overlap: p_paddr {high.paddr:#x} is in {low.paddr:#x}+{low.memsz:#x}")
    return Image(name, entry, segments, notes)


def _parse_notes(data: bytes, size: int, where: str, notes: dict[tuple[bytes, int], bytes]) -> None:
    """Adds the notes of a PT_NOTE (gABI chapter 5, "Note Section")."""
    if len(data) < size:
        raise ImageError(f"{where}: truncated in the notes")
    at = 0
    while at + 12 <= size:
        namesz, descsz, kind = _u32(data, at), _u32(data, at + 4), _u32(data, at + 8)
        desc = at + 12 + (namesz + 3 & ~3)
        end = desc + descsz
        if end > size:
            raise ImageError(f"{where}: n_namesz {namesz:#x} or n_descsz {descsz:#x} is past the end of the notes")
        notes.setdefault((data[at + 12 : at + 12 + namesz].rstrip(b"\0"), kind), data[desc:end])
        at = end + 3 & ~3


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")
