"""A file that appears as a whole, or not at all."""

from __future__ import annotations

import posix as os

from pyvmm.host.errands import Errand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def write(fd: int, parts: Iterable[bytes | memoryview]) -> None:
    """Writes all of it.

    Raises:
        OSError: it cannot be written.
    """
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest) :]


class NewFile(Errand):
    """A file that is written first, and gets its name then.

    Args:
        directory: descriptor of its directory; it stays the caller's.
        name: of the file in it; one that is there is replaced.

    Attributes:
        fd: where to write it.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, directory: int, name: str) -> None:
        self._directory, self._name, self._temporary = directory, name, f".{name}.{os.getpid()}"
        self.fd, self._has_name = self._open()
        self.fds = (directory, self.fd)
        super().__init__()

    def _open(self) -> tuple[int, bool]:
        """A file without a name, which goes if this process is killed; or with another one where that cannot be."""
        flags = os.O_WRONLY | os.O_CLOEXEC
        try:
            return os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=self._directory), False
        except OSError:
            more = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            return os.open(self._temporary, flags | more, 0o600, dir_fd=self._directory), True

    def keep(self, sync: bool = False) -> None:
        """Gives it its name.

        Args:
            sync: what was written is to outlive a failure of the host.

        Raises:
            OSError: it cannot get it, or not be written.
        """
        self.ask(sync)
        self._has_name = False

    def do(self, what: int) -> tuple[int, list[int]]:
        if what:
            os.fsync(self.fd)
        if not self._has_name:
            os.link(f"/proc/self/fd/{self.fd}", self._temporary, dst_dir_fd=self._directory, follow_symlinks=True)
            self._has_name = True
        os.rename(self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._has_name = False
        return 0, []

    def end(self) -> None:
        if self._has_name:
            os.unlink(self._temporary, dir_fd=self._directory)

    def close(self) -> None:
        """Drops it, unless it was kept. A second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            if self.forget():
                self.end()
