"""Chooses the boot protocol for an image."""

from __future__ import annotations

from pyvmm.boot import elf
from pyvmm.boot.direct import DirectBoot
from pyvmm.errors import ConfigError, ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.boot.file import File
    from pyvmm.boot.protocol import BootProtocol
    from pyvmm.layout import Ram


_KERNEL_MAP = 0xFFFF_FFFF_8000_0000  # Documentation/arch/x86/x86_64/mm.rst
#: Existing Toro kernels with the loader that Linux's protocol starts: its entry, and what that calls.
_TORO_LOADER = b"_startkernel", b"_mainCRTStartup"

#: What glibc's linker puts into each program: the system that it is for (NT_GNU_ABI_TAG), Linux being 0.
_LINUX_NOTE, _LINUX = (b"GNU", 1), bytes(4)
_SOURCES = (".pas", ".pp", ".c")


def choose(
    file: File, wanted: str | None, ram: Ram, cpus: int, command_line: bytes, initrd: File | None
) -> BootProtocol:
    """The first of direct, toro-fast, pvh and linux that the image offers, or the wanted one.

    Args:
        file: the image: an ELF executable or a bzImage.
        wanted: the name of a protocol, or None.
        ram: where RAM is.
        cpus: number of vCPUs.
        command_line: bytes.
        initrd: an initial RAM disk, or None.

    Raises:
        ConfigError: the image does not offer the wanted protocol, or that takes no initrd.
        ImageError: the image is damaged, offers none, or does not fit into RAM.
    """
    image, offered, symbols, existing_toro = None, [], {}, False
    if file.read(0, 4) == b"\x7fELF":
        image = elf.parse(file.read, file.size, file.name)
        offered = ["direct"] if DirectBoot.wanted_by(image) else []
        if (b"Xen", 18) in image.notes:  # XEN_ELFNOTE_PHYS32_ENTRY
            if not offered:
                from pyvmm.boot.elf_symbols import find_symbols
                from pyvmm.boot.toro_fast import SYMBOLS

                symbols = find_symbols(file.read, SYMBOLS)
                offered = ["toro-fast"] if len(symbols) == len(SYMBOLS) else []
            offered.append("pvh")
        # Nothing in an ELF image names this protocol; a vmlinux is recognized by its address.
        is_linux = any(segment.vaddr >= _KERNEL_MAP for segment in image.segments)
        if not offered and not is_linux:
            from pyvmm.boot.elf_symbols import find_symbols

            existing_toro = len(find_symbols(file.read, _TORO_LOADER)) == len(_TORO_LOADER)
        if wanted == "linux" or is_linux or existing_toro:
            offered.append("linux")
        if not offered:
            if image.notes.get(_LINUX_NOTE, b"")[:4] == _LINUX:
                raise ImageError(f"{file.name}: a Linux program, not a kernel")
            notes = "ELF note `Toro` of type 1 (direct boot) or `Xen` of type 18 (PVH)"
            raise ImageError(f"{file.name}: no known boot protocol: there is no {notes}, and it is not a vmlinux")
    elif file.read(0x202, 4) == b"HdrS":
        offered = ["linux"]
    else:
        if file.name.endswith(_SOURCES):
            raise ImageError(f"{file.name}: a source; `pyvmm build {file.name}` makes an image of it")
        raise ImageError(f"{file.name}: neither an ELF executable (`pyvmm build` makes them) nor a Linux bzImage")
    protocol = wanted or offered[0]
    if protocol not in offered:
        raise ConfigError("boot", protocol, f"{file.name} offers {' and '.join(offered)}")
    if protocol == "direct":
        assert image
        if initrd:
            raise ConfigError("initrd", initrd.name, "direct boot takes none; try pvh")
        return DirectBoot(image, ram, cpus, command_line)
    if protocol == "toro-fast":
        from pyvmm.boot.toro_fast import ToroFastBoot

        assert image
        return ToroFastBoot(image, symbols, ram, cpus, command_line, initrd)
    if protocol == "pvh":
        from pyvmm.boot.pvh import PvhBoot

        assert image
        return PvhBoot(image, ram, cpus, command_line, initrd, existing_toro=bool(symbols))
    from pyvmm.boot.linux64 import Linux64Boot

    return Linux64Boot(file, image, ram, cpus, command_line, initrd, existing_toro)
