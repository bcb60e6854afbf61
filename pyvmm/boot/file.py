"""A file that goes into guest memory: a kernel image, or an initrd."""

from __future__ import annotations

import posix as os

from pyvmm.errors import HostError, ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.memory import GuestMemory


_EMFILE = 24


class File:
    """An open regular file.

    Args:
        name: its path.

    Attributes:
        fd: its descriptor.
        name: its path, for messages.
        size: in bytes.

    Raises:
        ImageError: it cannot be opened, or is no regular file.
        HostError: this process may open no more files.
    """

    __slots__ = ("fd", "name", "size")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fd = -1
        try:
            # A pipe without a writer must not keep pyvmm waiting.
            self.fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == _EMFILE:
                raise HostError(name, _EMFILE) from None
            raise ImageError(f"{name}: {error.strerror}") from None
        status = os.fstat(self.fd)
        self.size: int = status.st_size
        if status.st_mode & 0o170000 != 0o100000:
            self.close()
            raise ImageError(f"{name}: not a regular file")

    def close(self) -> None:
        """Closes it. A second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self, offset: int, size: int) -> bytes:
        """That many bytes, fewer at the end.

        Raises:
            ImageError: the host cannot read it.
        """
        try:
            return os.pread(self.fd, size, offset)
        except OSError as error:
            raise ImageError(f"{self.name}: {error.strerror}") from None

    def copy(self, offset: int, size: int, memory: GuestMemory, address: int) -> None:
        """Reads `size` bytes at `offset` to guest-physical `address`.

        Raises:
            ImageError: the file has become shorter.
            HostError: it cannot be read.
        """
        done = 0
        while done < size:
            with memory.view(address + done, size - done) as view:
                try:
                    count = os.preadv(self.fd, [view], offset + done)
                except OSError as error:
                    raise HostError(f"reading {self.name}", error.errno or 0) from None
            if not count:
                raise ImageError(f"{self.name}: truncated in what goes to {address:#x}")
            done += count
