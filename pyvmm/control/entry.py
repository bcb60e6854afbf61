"""A guest's entry in the registry: a directory that its process keeps locked (flock(2)) as long as it lives.

    guest      what the guest is, a line for each value (see `describe`)
    control    the socket that speaks QMP (see `control.server`)
    console    of a detached guest: the socket that `pyvmm attach` connects to

`guest` is locked (fcntl(2), F_OFD_SETLK) while the guest is paused.

Who gets the lock of an entry knows that its process is gone, however it ended, and removes it. No
process ID is trusted. `command/executable/entry.c` makes the entries of guests without Python.
"""

from __future__ import annotations

import _socket  # `socket` takes 20 ms to import
import posix as os
from fcntl import F_OFD_GETLK, F_OFD_SETLK, LOCK_EX, LOCK_NB, fcntl, flock
from time import CLOCK_BOOTTIME, clock_gettime_ns, sleep

from pyvmm.control.place import check_name, folder, open_folder
from pyvmm.errors import ConfigError, HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTION_MAX = 64 << 10
_BACKLOG = 8
_FILES = ("guest", ".guest", "control", "console")
_UNLOCKED, _WRITE_LOCKED, _ANY_LOCK = (kind.to_bytes(2, "little") + bytes(30) for kind in (2, 1, 0))  # struct flock
_TRIES, _PAUSE = 40, 0.005  # seconds; who looks whether an entry is dead holds its lock for an instant


class Entry:
    """One guest's entry.

    Args:
        name: of the guest.
        directory: a descriptor of an entry that C has made.
        registry: a descriptor of the registry, which becomes this object's; by default it is opened.

    Attributes:
        name: as given.
        path: of its directory.
        directory, registry: descriptors of it, and of the registry.
        stays: it is not removed by `close`, but by whoever looks for guests next.

    Raises:
        ConfigError: the name is none, or another guest's.
        HostError: it cannot be made.
    """

    def __init__(self, name: str, directory: int = -1, registry: int = -1) -> None:
        self.name = check_name(name)
        self.path = f"{folder()}/{name}"
        self.stays = False
        self._guest = -1  # the file `guest`
        self.registry = registry
        if self.registry < 0:
            self.registry = open_folder(make=True) if directory < 0 else _open(directory, "..")
        try:
            self.directory = directory if directory >= 0 else self._claim()
            if directory >= 0:
                self._guest = os.open("guest", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
        except BaseException:
            os.close(self.registry)
            raise

    def _claim(self) -> int:
        try:
            for _ in range(_TRIES):
                try:
                    os.mkdir(self.name, 0o700, dir_fd=self.registry)
                except FileExistsError:
                    pass
                fd = _open(self.registry, self.name)
                if fd >= 0 and _lock(fd) and _is_there(self.registry, self.name, fd):
                    for left in os.listdir(fd):
                        os.unlink(left, dir_fd=fd)
                    return fd
                if fd >= 0:
                    os.close(fd)
                sleep(_PAUSE)
        except OSError as error:
            raise HostError(self.path, error.errno or 0) from None
        raise ConfigError("name", self.name, "another guest has this name")

    def listen(self, name: str) -> _socket.socket:
        """A socket in the entry that listens."""
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        try:
            made.bind(f"/proc/self/fd/{self.directory}/{name}")  # however long its path is
            made.listen(_BACKLOG)
        except OSError as error:
            made.close()
            raise HostError(f"{self.path}/{name}", error.errno or 0) from None
        return made

    def describe(self, values: dict[str, str]) -> None:
        """Writes what the guest is; others see it at once or not at all.

        Raises:
            HostError: it cannot be written.
        """
        text = "".join(f"{key} {_one_line(value)}\n" for key, value in values.items())
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            self._guest = os.open(".guest", flags, 0o600, dir_fd=self.directory)
            os.write(self._guest, text.encode(errors="surrogateescape"))
            os.rename(".guest", "guest", src_dir_fd=self.directory, dst_dir_fd=self.directory)
        except OSError as error:
            raise HostError(f"{self.path}/guest", error.errno or 0) from None

    def set_paused(self, paused: bool) -> None:
        """Shows whether the guest is paused."""
        try:
            fcntl(self._guest, F_OFD_SETLK, _WRITE_LOCKED if paused else _UNLOCKED)
        except OSError:  # it is only shown
            pass

    def close(self) -> None:
        """Removes it. A second call does nothing."""
        if self.directory >= 0 and not self.stays:
            _remove(self.registry, self.name, self.directory)
        if self.directory >= 0:
            for fd in {self.directory, self.registry, self._guest} - {-1}:
                os.close(fd)
            self.directory = -1


def descriptions() -> Iterator[dict[str, str]]:
    """What each guest is that runs, with its `name` and whether it is `paused`; entries of others are removed.

    Raises:
        ConfigError: the registry is not this user's alone.
    """
    try:
        registry = open_folder(make=False)
    except FileNotFoundError:
        return
    try:
        for name in sorted(os.listdir(registry)):
            fd = _open(registry, name)
            if fd < 0:
                continue
            try:
                if _lock(fd):
                    if _is_there(registry, name, fd):
                        _remove(registry, name, fd)
                elif text := _read(fd):
                    yield {"name": name, **dict(line.partition(" ")[::2] for line in text.splitlines())}
            finally:
                os.close(fd)
    finally:
        os.close(registry)


def shown(address: str) -> str:
    """An address as it is written before a port."""
    return f"[{address}]" if ":" in address else address


def started_now() -> str:
    """The value `started` of a description."""
    return str(clock_gettime_ns(CLOCK_BOOTTIME))


def uptime_ns(values: dict[str, str]) -> int:
    """How long a guest runs, by its `started`, which is CLOCK_BOOTTIME in ns."""
    return clock_gettime_ns(CLOCK_BOOTTIME) - int(values["started"])


def open_entry(name: str) -> int:
    """A descriptor of the entry of a guest that may run.

    Raises:
        ConfigError: the name is none.
        UsageError: no guest has it.
    """
    check_name(name)
    try:
        registry = open_folder(make=False)
    except FileNotFoundError:
        fd = -1
    else:
        fd = _open(registry, name)
        os.close(registry)
    if fd < 0:
        raise UsageError(f"{name}: no guest of yours has this name; `pyvmm ps` lists them")
    return fd


def _lock(fd: int) -> bool:
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(registry: int, name: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=registry)
    except OSError:  # no entry, or gone meanwhile
        return -1


def _is_there(registry: int, name: str, fd: int) -> bool:
    """Whether a directory that was opened still has its name: it may have been removed before it was locked."""
    try:
        named = os.stat(name, dir_fd=registry, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)


def _remove(registry: int, name: str, directory: int) -> None:
    """Removes an entry whose lock this process has."""
    for file in _FILES:
        try:
            os.unlink(file, dir_fd=directory)
        except OSError:  # it has none, or another process is doing the same
            pass
    try:
        os.rmdir(name, dir_fd=registry)
    except OSError:
        pass


def _read(directory: int) -> str:
    """A description, and whether the guest is `paused`; nothing if there is none yet."""
    try:
        fd = os.open("guest", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return ""
    try:
        text = os.read(fd, _DESCRIPTION_MAX).decode(errors="surrogateescape")
        paused = fcntl(fd, F_OFD_GETLK, _ANY_LOCK)[:2] != _UNLOCKED[:2]
    finally:
        os.close(fd)
    return f"{text}paused {'yes' if paused else ''}\n" if text else ""


def _one_line(text: str) -> str:
    return "".join(" " if c in "\n\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e" else c for c in text)
