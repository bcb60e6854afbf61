"""The console of a guest that was detached: a log, and whoever attaches to it."""

from __future__ import annotations

import posix as os

from pyvmm.control.connection import Connection, Listener
from pyvmm.errors import HostError
from pyvmm.eventloop import WRITABLE
from pyvmm.host.errands import Errand

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from pyvmm.eventloop import Loop

#: Bytes of a log; then it becomes NAME.log.1, in place of the one before.
LOG_MAX = 1 << 20
_CHUNK = 64 << 10


def log_path(name: str) -> str:
    """Where the log of a guest is; it stays when the guest has ended."""
    base = os.environ.get(b"XDG_STATE_HOME", b"")
    if base[:1] != b"/":
        base = os.environ.get(b"HOME", b"/") + b"/.local/state"
    return f"{base.decode(errors='surrogateescape')}/pyvmm/{name}.log"


class Log(Errand):
    """A file that is replaced when it has become too long.

    Args:
        path: of the file; it begins anew.

    Raises:
        HostError: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        from os import makedirs

        self._path, self._size = path, 0
        try:
            makedirs(path.rpartition("/")[0], 0o700, exist_ok=True)
            try:
                os.unlink(f"{path}.1")
            except FileNotFoundError:
                pass
            self._fd = self._open()
        except OSError as error:
            raise HostError(path, error.errno or 0) from None
        super().__init__()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """Appends data; what does not fit on the disk is lost."""
        try:
            if self._size + len(data) > LOG_MAX:
                (fd,) = self.ask(0)[1]
                os.close(self._fd)
                self._fd, self._size = fd, 0
            self._size += os.write(self._fd, data)
        except OSError:
            pass

    def do(self, what: int) -> tuple[int, list[int]]:
        """Sets the file aside, and begins a new one."""
        os.rename(self._path, f"{self._path}.1")
        return 0, [self._open()]

    def close(self) -> None:
        """Closes the file."""
        self.forget()
        os.close(self._fd)


class DetachedConsole:
    """The pipes that the guest's console leads to.

    Args:
        name: of the guest.
        socket: listens for clients; closed with the console.

    Attributes:
        input, output: descriptors for the guest.

    Raises:
        HostError: the log cannot be written.
    """

    def __init__(self, name: str, socket: _socket.socket) -> None:
        self._log = Log(log_path(name))
        self.input, self._typed = os.pipe2(os.O_CLOEXEC)
        self._printed, self.output = os.pipe2(os.O_CLOEXEC)
        for fd in (self._typed, self._printed):
            os.set_blocking(fd, False)
        self._listener = Listener(socket, self._accepted)
        self._unread = b""  # by the guest

    def attach(self, loop: Loop) -> None:
        """Moves what is printed and typed, from `loop`."""
        self._loop = loop
        loop.add(self._printed, self._printable)
        loop.watch(self._typed, 0, lambda _: self._type())
        self._listener.attach(loop)

    def _accepted(self, socket: _socket.socket, gone: Callable[[Connection], None]) -> Connection:
        def received(data: bytes, _: list[int]) -> None:
            self._unread += data
            self._type()

        return Connection(socket, self._loop, received, gone)

    def _printable(self) -> None:
        self._print()  # no more: others are served in between

    def _print(self) -> bool:
        """Passes on what was printed; False: nothing was."""
        try:
            data = os.read(self._printed, _CHUNK)
        except BlockingIOError:
            return False
        self._log.write(data)
        for client in [*self._listener.clients]:
            client.send(data)
        return True

    def _type(self) -> None:
        """Gives the guest what was typed; clients wait while it does not read."""
        try:
            while self._unread:
                self._unread = self._unread[os.write(self._typed, self._unread) :]
        except BlockingIOError:
            pass
        self._loop.change(self._typed, WRITABLE if self._unread else 0)
        for client in self._listener.clients:
            client.pause(bool(self._unread))

    def drain(self) -> None:
        """Passes on what was printed last."""
        while self._print():
            pass

    def close(self) -> None:
        """Ends the connections and closes the pipes."""
        self._listener.close()
        for fd in (self.input, self.output, self._typed, self._printed):
            os.close(fd)
        self._log.close()
