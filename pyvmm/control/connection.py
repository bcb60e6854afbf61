"""Listening sockets and their clients on the event loop, bounded in what they take and never blocking it."""

from __future__ import annotations

import _socket  # `socket` takes 20 ms to import
import posix as os

from pyvmm.errors import PyvmmError
from pyvmm.eventloop import FAILED, READABLE, WRITABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.eventloop import Loop

CLIENTS_MAX = 16
#: Bytes that wait for a client which does not read; more ends the connection.
UNSENT_MAX = 1 << 20
_CHUNK = 16 << 10
_DESCRIPTORS_MAX = 4
_INT = 4  # bytes


class Connection:
    """A client.

    Args:
        socket: of the client; closed with the connection.
        loop: serves it.
        received: called with what has come, bytes and descriptors, which are the callee's.
        ended: called once the connection has ended, whoever ended it.
    """

    def __init__(
        self, socket: _socket.socket, loop: Loop, received: Callable[[bytes, list[int]], None],
        ended: Callable[[Connection], None],
    ) -> None:  # fmt: skip
        self._socket, self._loop, self._received, self._ended = socket, loop, received, ended
        self._unsent = b""
        self._is_last = False  # what waits is all that is sent
        socket.setblocking(False)
        loop.watch(socket.fileno(), READABLE, self._ready)

    @property
    def is_open(self) -> bool:
        """Whether the client is still there, as far as is known."""
        return self._socket.fileno() >= 0

    def send(self, data: bytes) -> None:
        """Sends data as far as the client reads it, and the rest later."""
        if not self.is_open or self._is_last:
            return
        if len(self._unsent) + len(data) > UNSENT_MAX:
            self.close()
            return
        self._unsent += data
        self._flush()

    def finish(self) -> None:
        """Closes the connection once everything is sent."""
        self._is_last = True
        self._flush()

    def pause(self, paused: bool) -> None:
        """Reads nothing while it is paused."""
        self._paused = paused
        self._watch()

    _paused = False

    def _watch(self) -> None:
        if self.is_open:
            reading = 0 if self._is_last or self._paused else READABLE
            self._loop.change(self._socket.fileno(), reading | (WRITABLE if self._unsent else 0))

    def _flush(self) -> None:
        if not self.is_open:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent, _socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            pass
        except OSError:  # the client is gone
            self.close()
            return
        if self._is_last and not self._unsent:
            self.close()
        else:
            self._watch()

    def _ready(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if self.is_open and events & (READABLE | FAILED) and not self._paused:
            self._read()
        elif events & FAILED:
            self.close()

    def _read(self) -> None:
        fds: list[int] = []
        try:
            data, extra, _, _ = self._socket.recvmsg(_CHUNK, _socket.CMSG_SPACE(_DESCRIPTORS_MAX * _INT), _CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, extra = b"", []
        for level, kind, raw in extra:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                fds += (int.from_bytes(raw[at : at + _INT], "little") for at in range(0, len(raw) - _INT + 1, _INT))
        if data:
            self._received(data, fds)
        else:
            close_all(fds)
            self.close()

    def close(self) -> None:
        """Closes the connection, with what was not sent. A second call does nothing."""
        if self.is_open:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._ended(self)


_CLOEXEC = 0x4000_0000  # MSG_CMSG_CLOEXEC


def close_all(fds: list[int]) -> None:
    """Closes descriptors that came with a message."""
    while fds:
        os.close(fds.pop())


class Listener:
    """A listening socket, with `CLIENTS_MAX` clients at a time; others are turned away.

    Args:
        socket: closed with the listener.
        accepted: called with the socket of each client and what to call when it has gone; returns
            the connection.
    """

    def __init__(
        self,
        socket: _socket.socket,
        accepted: Callable[[_socket.socket, Callable[[Connection], None]], Connection],
    ) -> None:
        self._socket, self._accepted = socket, accepted
        self.clients: list[Connection] = []
        self._spare = os.dup(socket.fileno())  # to turn clients away with

    def attach(self, loop: Loop) -> None:
        """Serves clients from `loop`."""
        self._loop = loop
        loop.add(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            client = self._next()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: it would be asked for again and again
            os.close(self._spare)
            try:
                self._next().close()
            except OSError:
                pass
            self._spare = os.dup(self._socket.fileno())
            return
        if len(self.clients) == CLIENTS_MAX:
            client.close()
            return
        try:
            connection = self._accepted(client, self._gone)
        except (ImportError, OSError, PyvmmError):  # nothing is left to serve it with
            client.close()
            return
        if connection.is_open:
            self.clients.append(connection)

    def _gone(self, connection: Connection) -> None:
        if connection in self.clients:
            self.clients.remove(connection)

    def _next(self) -> _socket.socket:
        fd, _ = self._socket._accept()  # type: ignore[attr-defined] # what socket.accept calls
        return _socket.socket(fileno=fd)

    def close(self) -> None:
        """Ends all connections and stops listening. A second call does nothing."""
        for client in [*self.clients]:
            client.close()
        if self._socket.fileno() >= 0:
            loop = getattr(self, "_loop", None)
            if loop:
                loop.remove(self._socket.fileno())
            self._socket.close()
            os.close(self._spare)
