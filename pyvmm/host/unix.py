"""A unix socket through which clients reach the guest.

For vsock it works like Firecracker's: a client of PATH writes `CONNECT PORT` and a
newline, and reads `OK` with a number once the guest has accepted; the guest's
connections to port P of CID 2 reach PATH_P.
"""

from __future__ import annotations

import _socket  # `socket` takes 20 ms to import
import posix as os
from errno import EADDRINUSE, ECONNREFUSED, ENOENT

from pyvmm.errors import ConfigError, HostError
from pyvmm.host.errands import OwnFile

#: Bytes of a path: `sun_path` of unix(7) without its NUL, minus room for `_PORT`.
PATH_MAX = 107 - len("_4294967294")
_FILE_TYPE, _SOCKET = 0o170000, 0o140000


class UnixHost:
    """A listening unix socket.

    Args:
        path: where to make it. A stale socket, on which nothing listens, is replaced.
        backlog: how many clients may wait.
        purpose: the parameter's name in messages.

    Attributes:
        fd: the socket's descriptor.
        path: the path as bytes.

    Raises:
        ConfigError: the path is too long, or another kind of file is there.
        HostError: another program listens there, or the socket cannot be made.
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
            self._file = OwnFile(self.path)
            self._socket.listen(backlog)
        except OSError as error:
            self.close()
            raise HostError(f"{self._purpose} {self._name}", error.errno or 0) from None
        except BaseException:
            self.close()
            raise
        self.fd: int = self._socket.fileno()

    _file: OwnFile | None = None

    def _remove_stale(self) -> None:
        try:
            mode = os.lstat(self.path).st_mode
        except FileNotFoundError:
            return
        if mode & _FILE_TYPE != _SOCKET:
            reason = "another kind of file is there; remove it, or choose another path"
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
        """The descriptor of the next client, non-blocking; -1 if none waits."""
        if not self._socket:
            return -1
        try:
            fd: int = self._socket._accept()[0]  # type: ignore[attr-defined] # what socket.accept calls
        except OSError:
            return -1
        os.set_blocking(fd, False)
        return fd

    def close(self) -> None:
        """Stops listening and removes the file, if it is still ours. A second call does nothing."""
        if not self._socket:
            return
        if self._file:
            self._file.ask(0)
            self._file.forget()
        self._socket.close()
        self._socket = None


def _new_socket() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
