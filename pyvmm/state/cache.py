"""The boot cache: States at time zero, by which later boots start without Python.

An entry is a file of its user's alone. The executable finds and checks it
(`command/executable/cache.c`), and says here where it would be. No failure to write one is
an error.
"""

from __future__ import annotations

import posix as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm.state.state import State

#: Bytes of all entries, and of the pages of one.
SIZE_MAX, PAGES_MAX = 256 << 20, 64 << 20
#: Writing one takes less. A file that is older was left by a process that was killed.
_WRITING_NS = 300 * 10**9


class Entry:
    """Where the State of a boot is to be.

    Args:
        directory: path of the cache.
        name: of the file in it.
        key: all that the State depends on.
        files: paths of those that it is composed of.
    """

    def __init__(self, directory: str, name: str, key: bytes, files: Sequence[str]) -> None:
        self._directory, self._name, self._key = directory, name, key
        self._files = files
        self._parts: list[bytes | memoryview] | None = None

    def take(self, state: State) -> None:
        """Copies a State whose guest is about to run.

        A file that was replaced, or changed, since the key was made may be another than was read.
        """
        from pyvmm.errors import HostError

        try:
            if not all(_identity(file) in self._key for file in self._files):
                return
            self._parts = state.parts(self._key, summed=True, most=PAGES_MAX)
        except (HostError, OSError):  # no /proc here; a file is gone
            self._parts = None

    def store(self) -> None:
        """Writes what was taken, and drops the entries that were used least recently."""
        parts, self._parts = self._parts, None
        if not parts:
            return
        from pyvmm.host.newfile import NewFile, write

        try:
            directory = open_directory(self._directory, make=True)
        except OSError:
            return
        try:
            file = NewFile(directory, self._name)
            try:
                write(file.fd, parts)
                file.keep()
            finally:
                file.close()
            _shrink(directory)
        except OSError:  # the disk is full, say
            pass
        finally:
            os.close(directory)


def _identity(path: str) -> bytes:
    """What tells whether a file is the same, and unchanged, as `add_file` of cache.c writes it."""
    status = os.stat(path)
    times = *divmod(status.st_mtime_ns, 10**9), *divmod(status.st_ctime_ns, 10**9)
    numbers = status.st_dev, status.st_ino, status.st_size, *times
    return b"".join((number % (1 << 64)).to_bytes(8, "little") for number in numbers)


def open_directory(path: str, make: bool = False) -> int:
    """Opens a cache.

    Args:
        path: of the directory.
        make: it is made if it is not there.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        OSError: it is not there, or not this user's alone.
    """
    if make:
        _make(path)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    status = os.fstat(directory)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        os.close(directory)
        raise PermissionError(1, "not a directory of yours alone", path)
    return directory


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make(path.rpartition("/")[0])
        os.mkdir(path, 0o700)


def entries(directory: int) -> list[tuple[str, os.stat_result]]:
    """The files in a cache: name and status of each, from the least recently used on.

    A name that begins with a dot is that of an entry which is being written.
    """
    found = []
    for name in os.listdir(directory):
        try:
            found.append((name, os.stat(name, dir_fd=directory, follow_symlinks=False)))
        except FileNotFoundError:  # another process has cleared it
            continue
    return sorted(found, key=lambda each: _used_ns(each[1]))


def _used_ns(status: os.stat_result) -> int:
    return max(status.st_atime_ns, status.st_mtime_ns)


def _shrink(directory: int) -> None:
    found = entries(directory)
    now = _used_ns(found[-1][1])  # by the clock of the file system
    total = sum(status.st_size for _, status in found)
    for name, status in found[:-1]:
        is_left = name.startswith(".") and now - status.st_mtime_ns > _WRITING_NS
        if is_left or total > SIZE_MAX:
            os.unlink(name, dir_fd=directory)
            total -= status.st_size
