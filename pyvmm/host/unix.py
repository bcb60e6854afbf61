"""A unix socket that clients reach the guest through.

That of `--vsock-uds` is known to Firecracker's users: a client of PATH writes
`CONNECT PORT` and a newline, and reads `OK` with a number once the guest has
accepted; the guest's connections to port P of CID 2 reach PATH_P.
"""

from __future__ import annotations

import _socket  # `socket` takes 20 ms to import
import posix as os
from errno import EADDRINUSE, ECONNREFUSED, ENOENT

from pyvmm.errors import ConfigError, HostError

#: Bytes of a path (`sun_path` of unix(7), with its zero), less those of `_PORT`.
PATH_MAX = 107 - len("_4294967294")
_FILE_TYPE, _SOCKET = 0o170000, 0o140000


class UnixHost:
    """The socket, listening.

    Args:
        path: where it is made. One that nobody listens on is replaced.
        backlog: clients that may wait before they are taken.
        purpose: what messages call it.

    Attributes:
        fd: the socket.
        path: as bytes.

    Raises:
        ConfigError: there is another file, or the path is too long.
        HostError: somebody listens there already, or it cannot be made.
    """

    def __init__(self, path: str, backlog: int, purpose: str = "unix") -> None:
        self.path = path.encode(errors="surrogateescape")
        self._purpose, self._name = purpose, path
        if not self.path or len(self.path) > PATH_MAX or b"\0" in self.path:
            raise ConfigError(purpose, path, f"not a path of 1 to {PATH_MAX} bytes")
        self._socket: _socket.socket | None = None
        try:
            self._socket = _new_socket()
            self._remove_stale()
            self._socket.bind(self.path)
            self._inode = _inode(self.path)
            self._socket.listen(backlog)
        except OSError as error:
            self.close()
            raise HostError(f"{self._purpose} {self._name}", error.errno or 0) from None
        except BaseException:
            self.close()
            raise
        self.fd: int = self._socket.fileno()

    _inode: tuple[int, int] | None = None

    def _remove_stale(self) -> None:
        try:
            mode = os.lstat(self.path).st_mode
        except FileNotFoundError:
            return
        if mode & _FILE_TYPE != _SOCKET:
            reason = "there is a file that is no socket; remove it, or choose another path"
            raise ConfigError(self._purpose, self._name, reason)
        probe = _new_socket()
        try:
            error = probe.connect_ex(self.path)
        finally:
            probe.close()
        if error == ECONNREFUSED:
            os.unlink(self.path)
        elif error != ENOENT:
            raise HostError(
                f"{self._purpose} {self._name}", EADDRINUSE, "another program listens there; choose another path"
            )

    def accept(self) -> int:
        """The descriptor of the next client, not blocking; -1 when nobody waits."""
        if not self._socket:
            return -1
        try:
            fd: int = self._socket._accept()[0]  # type: ignore[attr-defined] # what `socket` makes its accept of
        except OSError:
            return -1
        os.set_blocking(fd, False)
        return fd

    def close(self) -> None:
        """Stops listening and removes the file, if it is still this one. A second call does nothing."""
        if not self._socket:
            return
        try:
            if self._inode and _inode(self.path) == self._inode:
                os.unlink(self.path)
        except OSError:  # somebody has removed it
            pass
        self._socket.close()
        self._socket = None


def _new_socket() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)


def _inode(path: bytes) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
