"""Where things are in an image, to change them after the link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyvmm.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path


class Elf:
    """Where the segments of an image are in its file.

    Args:
        path: a 64-bit ELF file that ld has made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = bytearray(path.read_bytes())
        start, size, count = self._number(32, 8), self._number(54, 2), self._number(56, 2)
        headers = range(start, start + size * count, size)
        #: file offset, address, bytes in the file, flags
        self.segments = [
            (self._number(at + 8, 8), self._number(at + 16, 8), self._number(at + 32, 8), self._number(at + 4, 4))
            for at in headers
            if self._number(at, 4) == 1
        ]

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], "little")

    def place(self, address: int) -> int:
        """The file offset of what is at an address."""
        for offset, start, size, _ in self.segments:
            if start <= address < start + size:
                return offset + address - start
        raise BuildError(f"{self.path}: nothing is at {address:#x}")

    def word(self, address: int) -> int:
        """The 64-bit number at an address."""
        return self._number(self.place(address), 8)
