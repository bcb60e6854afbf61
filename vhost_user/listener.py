"""A listening unix socket. Either side of vhost-user may be the one that listens."""

from __future__ import annotations

import _socket  # `socket` takes 20 ms to import
import posix as os


class Listener:
    """Listens at `path` for the other side.

    Raises:
        OSError: the socket cannot be made there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self._sock.bind(path)
        except BaseException:
            self._sock.close()
            raise
        self._sock.listen(1)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accept(self, timeout: float | None = 5.0) -> _socket.socket:
        """Waits for the next connection.

        Args:
            timeout: seconds; None: no limit.

        Raises:
            TimeoutError: there was none in time.
        """
        self._sock.settimeout(timeout)
        fd, _ = self._sock._accept()  # type: ignore[attr-defined]
        return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)

    def close(self) -> None:
        """Stops listening and removes the socket. A second call does nothing."""
        if self._sock.fileno() >= 0:
            self._sock.close()
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
