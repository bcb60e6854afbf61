"""The file system of a directory: whether it may stall, and when it has gone or was mounted anew.

A server of the directory keeps the old mount, which answers nothing but errors for ever. The
table of mounts (proc(5), mountinfo) tells without a call that a dead file system would hold up.
"""

from __future__ import annotations

import posix as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.eventloop import Loop

_EPOLLPRI = 2  # the table has changed

#: File systems that wait for nothing but this host's memory and devices.
_LOCAL = frozenset(
    b"bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs iso9660 jfs overlay ramfs rootfs squashfs tmpfs udf vfat xfs "
    b"zfs".split()
)


class Mount:
    """A line of the table.

    Attributes:
        number: the mount's ID, which another may get once it is gone.
        point: where it is.
        is_on_device: its file system is on a device of this host.
        may_stall: its file system may wait for another program or host.
    """

    __slots__ = ("is_on_device", "may_stall", "number", "point")

    def __init__(self, line: bytes) -> None:
        fields = line.split(b" ", 5)
        self.number = int(fields[0])
        self.is_on_device = not fields[2].startswith(b"0:")
        self.point = _unescaped(fields[4])
        self.may_stall = line.partition(b" - ")[2].partition(b" ")[0] not in _LOCAL


def _unescaped(text: bytes) -> bytes:
    """A path of the table, in which blanks and the like are three octal digits behind a backslash."""
    first, *rest = text.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def mounts(table: bytes) -> list[Mount]:
    """All lines of a table."""
    return [Mount(line) for line in table.splitlines()]


def covering(table: list[Mount], path: bytes) -> Mount | None:
    """The mount that a path without symbolic links is on: the last of those that reach furthest down to it."""
    found = None
    for mount in table:
        below = mount.point if mount.point.endswith(b"/") else mount.point + b"/"
        if (path + b"/").startswith(below) and (not found or len(mount.point) >= len(found.point)):
            found = mount
    return found


class MountWatch:
    """Watches the mount of a directory.

    Args:
        path: the directory, without symbolic links.

    Attributes:
        may_stall: its file system may wait for another program or host.
    """

    def __init__(self, path: str) -> None:
        self._path = path.encode(errors="surrogateescape")
        self._loop: Loop | None = None
        self._is_gone = False
        self._fd = self._open()
        self._mount = covering(self._table(), self._path) if self._fd >= 0 else None
        self.may_stall = not self._mount or self._mount.may_stall
        self.close()

    @staticmethod
    def _open() -> int:
        try:
            return os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no /proc: nothing to watch
            return -1

    def attach(self, loop: Loop, changed: Callable[[bool], None]) -> None:
        """Calls `changed` from `loop` when the mount is gone (False), and when there is another in its place (True).

        Mounts of this host's devices do not die, and are not watched.
        """
        if self._mount and not self._mount.is_on_device and (fd := self._open()) >= 0:
            self._fd, self._loop, self._changed = fd, loop, changed
            loop.watch(fd, _EPOLLPRI, lambda _: self._look())

    def _table(self) -> list[Mount]:
        os.lseek(self._fd, 0, 0)
        text = b""
        while part := os.read(self._fd, 1 << 16):
            text += part
        return mounts(text)

    def _look(self) -> None:
        assert self._mount
        there = [mount for mount in self._table() if mount.point == self._mount.point]
        if not there:
            if not self._is_gone:
                self._is_gone = True
                self._changed(False)
        elif self._is_gone or there[-1].number != self._mount.number:
            self._mount, self._is_gone = there[-1], False
            self._changed(True)

    def close(self) -> None:
        """Stops watching. A second call does nothing."""
        if self._fd >= 0:
            if self._loop:
                self._loop.remove(self._fd)
            os.close(self._fd)
            self._fd = -1
