"""Files that go into guest memory: kernel images and initrds."""

from __future__ import annotations

import posix as os

from pyvmm.errors import HostError, ImageError
from pyvmm.state.state import MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.memory import GuestMemory


_EMFILE, _SEEK_END = 24, 2


def is_frozen(name: str) -> bool:
    """Whether a file begins as a frozen guest does; False if it cannot be read."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.pread(fd, len(MAGIC), 0) == MAGIC
    except OSError:
        return False
    finally:
        os.close(fd)


class File:
    """An open regular file.

    Args:
        name: path.
        fd: a descriptor of it, which becomes this object's, and is that of a regular file; by default it is opened.

    Attributes:
        fd: descriptor.
        name: path, for messages.
        size: bytes.

    Raises:
        ImageError: it cannot be opened, or is not a regular file.
        HostError: this process may open no more files.
    """

    __slots__ = ("fd", "name", "size")

    def __init__(self, name: str, fd: int = -1) -> None:
        self.name = name
        self.fd = fd
        if fd >= 0:
            self.size = os.lseek(fd, 0, _SEEK_END)  # which a confined process may ask
            return
        try:
            # O_NONBLOCK: opening a pipe without a writer would block.
            self.fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == _EMFILE:
                raise HostError(name, _EMFILE) from None
            raise ImageError(f"{name}: {error.strerror}") from None
        status = os.fstat(self.fd)
        self.size = status.st_size
        if status.st_mode & 0o170000 != 0o100000:
            self.close()
            raise ImageError(f"{name}: not a regular file")

    def close(self) -> None:
        """Closes the file. A second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self, offset: int, size: int) -> bytes:
        """Reads `size` bytes at `offset`, or fewer at the end of the file.

        Raises:
            ImageError: the host cannot read them.
        """
        try:
            return os.pread(self.fd, size, offset)
        except OSError as error:
            raise ImageError(f"{self.name}: {error.strerror}") from None

    def copy(self, offset: int, size: int, memory: GuestMemory, address: int) -> None:
        """Copies `size` bytes at `offset` to guest-physical `address`.

        Raises:
            ImageError: the file has become shorter.
            HostError: it cannot be read.
            GuestMemoryError: not all of it would be RAM.
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
