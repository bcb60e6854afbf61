"""What a virtio-console is connected to: a file, a pseudo-terminal, or a client of a unix socket.

All are watched edge-triggered (EPOLLET): after a read or write that could not be
completed, a callback says when to try again.
"""

from __future__ import annotations

import posix as os

from pyvmm.errors import ConfigError, HostError
from pyvmm.eventloop import CHANGES, READABLE, WRITABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.eventloop import Loop
    from pyvmm.host.unix import UnixHost

_EVENTS = READABLE | WRITABLE | CHANGES


class Stream:
    """A file: output is written to it, and there is no input.

    Args:
        path: created, or truncated.
        log: called with a line when it cannot be written to.

    Raises:
        HostError: it cannot be opened.
    """

    def __init__(self, path: str, log: Callable[[str], None]) -> None:
        self._log = log
        self._where = f"console file:{path}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise HostError(self._where, error.errno or 0) from None

    def attach(self, loop: Loop, changed: Callable[[], None]) -> None:
        """Calls `changed` from the loop when more can be read or written than before."""
        try:
            loop.watch(self._fd, _EVENTS, lambda _: changed())
        except PermissionError:  # a regular file never blocks
            pass

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes of input; empty if there is none now."""
        return b""

    def write(self, data: memoryview) -> int:
        """Writes or discards data; returns how many bytes, 0 if they must wait.

        Data is discarded when there is no reader.
        """
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._log(f"{self._where}: {error.strerror}; its output is discarded")
            self._log = lambda _: None
            return len(data)

    def close(self) -> None:
        """Closes it. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Terminal(Stream):
    """A pseudo-terminal in raw mode (pty(7)), which one program at a time may open.

    Attributes:
        name: the path to open.

    Raises:
        HostError: the host has no pseudo-terminal left.
    """

    def __init__(self) -> None:
        import termios

        try:
            self._fd, slave = os.openpty()
        except OSError as error:
            raise HostError("console pty", error.errno or 0) from None
        self.name = os.ttyname(slave)
        mode = termios.tcgetattr(slave)
        mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP | termios.BRKINT)
        mode[1] &= ~termios.OPOST
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        # The mode persists; from now on the master reports when the slave is not open.
        os.close(slave)
        os.set_blocking(self._fd, False)

    def read(self, size: int) -> bytes:
        try:
            return os.read(self._fd, size)
        except OSError:  # EAGAIN; EIO: the slave is not open
            return b""

    def write(self, data: memoryview) -> int:
        from select import POLLHUP, poll

        state = poll()
        state.register(self._fd, 0)
        if any(events & POLLHUP for _, events in state.poll(0)):
            return len(data)
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: closed since then
            return len(data)


class Client(Stream):
    """The client of a unix socket. Others wait until it disconnects.

    Args:
        host: the listening socket; closed with the stream.
    """

    def __init__(self, host: UnixHost) -> None:
        self._host = host
        self._fd = -1

    def attach(self, loop: Loop, changed: Callable[[], None]) -> None:
        self._loop, self._changed = loop, changed
        loop.watch(self._host.fd, READABLE | CHANGES, lambda _: self._accept())

    def _accept(self) -> None:
        """Accepts the next client if none is connected."""
        if self._fd < 0:
            self._fd = self._host.accept()
            if self._fd >= 0:
                self._loop.watch(self._fd, _EVENTS, lambda _: self._changed())

    def read(self, size: int) -> bytes:
        if self._fd < 0:
            return b""
        try:
            data = os.read(self._fd, size)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._loop.remove(self._fd)
            super().close()
            self._accept()
        return data

    def write(self, data: memoryview) -> int:
        if self._fd < 0:
            return len(data)
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:  # disconnected, which `read` notices
            return len(data)

    def close(self) -> None:
        super().close()
        self._host.close()


def open_stream(target: str, say: Callable[[str], None], log: Callable[[str], None]) -> Stream:
    """Opens the stream that a text names.

    Args:
        target: `file:PATH`, `pty` or `unix:PATH`.
        say: called with a line that names the pseudo-terminal.
        log: called with a line about what goes wrong later.

    Raises:
        ConfigError: the text is malformed, or the path is impossible.
        HostError: the stream cannot be opened.
    """
    kind, _, path = target.partition(":")
    if target == "pty":
        terminal = Terminal()
        say(f"virtio-console is {terminal.name}")
        return terminal
    if kind == "file" and path:
        return Stream(path, log)
    if kind == "unix" and path:
        from pyvmm.host.unix import UnixHost

        return Client(UnixHost(path, 1, "console"))
    raise ConfigError("console", target, "not file:PATH, unix:PATH or pty")
