"""The host's TCP for a guest: published ports, and what the guest may connect to."""

from __future__ import annotations

# `socket` takes 20 ms to import; this is what it is made of.
import _socket
import posix as os  # `import os` alone costs more than a millisecond
from errno import EADDRINUSE, EINPROGRESS

from pyvmm.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.eventloop import EventLoop

LOOPBACK = "127.0.0.1"
_BACKLOG = 128


class Publish:
    """`[ADDR:]HOSTPORT:GUESTPORT`, with an IPv6 address in brackets.

    Attributes:
        address, port: where to listen; port 0 is any that is free.
        guest_port: the guest's, on vsock.

    Raises:
        UsageError: the text is something else.
    """

    def __init__(self, text: str) -> None:
        front, _, guest = text.rpartition(":")
        address, colon, port = front.rpartition(":")
        self.address = address.removeprefix("[").removesuffix("]") if colon else LOOPBACK
        if (address[:1] == "[") != (address[-1:] == "]") or (":" in self.address) != (address[:1] == "["):
            raise UsageError(f"-p {text}: an IPv6 address is written in brackets: [::1]:4000:80")
        try:
            self.port, self.guest_port = parse_port(port, 0, 0xFFFF), parse_port(guest, 0, 0xFFFF_FFFE)
        except ValueError:
            raise UsageError(f"-p {text}: not [ADDR:]HOSTPORT:GUESTPORT, such as 4000:80") from None


def parse_port(text: str, low: int, high: int) -> int:
    """A decimal number from `low` to `high`.

    Raises:
        ValueError: it is something else.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 11 and low <= int(text) <= high):
        raise ValueError(text)
    return int(text)


def parse_allow(text: str) -> tuple[int | None, tuple[str, int]]:
    """`PORT[=HOST:PORT]` or `all`.

    Returns:
        The port of CID 2, None for all; and where it leads, port 0 for the
        same one.

    Raises:
        UsageError: the text is something else.
    """
    if text == "all":
        return None, (LOOPBACK, 0)
    port, equals, target = text.partition("=")
    try:
        number = parse_port(port, 1, 0xFFFF_FFFE if equals else 0xFFFF)
        if not equals:
            return number, (LOOPBACK, number)
        host, _, target_port = target.rpartition(":")
        if not host:
            raise ValueError(target)
        return number, (host.removeprefix("[").removesuffix("]"), parse_port(target_port, 1, 0xFFFF))
    except ValueError:
        raise UsageError(f"--allow {text}: not PORT, PORT=HOST:PORT or `all`") from None


class TcpHost:
    """Listens for the guest's published ports, and connects it to allowed ones.

    Args:
        published: each is listened on from now on.
        allowed: as `parse_allow` gives them.
        log: called with a line about each connection that is not allowed.

    Attributes:
        ports: (address, port, guest's port) of each published port, as it is.

    Raises:
        HostError: a port cannot be listened on, or a host is unknown.
    """

    def __init__(
        self,
        published: list[Publish],
        allowed: list[tuple[int | None, tuple[str, int]]],
        log: Callable[[str], None],
    ) -> None:
        self._log = log
        self._listeners: list[tuple[_socket.socket, int]] = []
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.ports: list[tuple[str, int, int]] = []
        try:
            for publish in published:
                self._listen(publish)
            self._allowed = {port: _resolve(*target) for port, target in allowed}
        except BaseException:
            self.close()
            raise

    def _listen(self, publish: Publish) -> None:
        where = f"-p: port {publish.port} of {publish.address}"
        family = _socket.AF_INET6 if ":" in publish.address else _socket.AF_INET
        sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
        self._listeners.append((sock, publish.guest_port))
        try:
            # For ports whose last connections are still in TIME_WAIT; a second
            # listener stays impossible.
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            sock.bind((publish.address, publish.port))
            sock.listen(_BACKLOG)
        except OSError as error:
            hint = "another program listens there; choose another, or 0 for any" if error.errno == EADDRINUSE else ""
            raise HostError(where, error.errno or 0, hint) from None
        self.ports.append((publish.address, sock.getsockname()[1], publish.guest_port))

    def attach(self, loop: EventLoop, accept: Callable[[_socket.socket, int], None]) -> None:
        """Serves connections from `loop`.

        Args:
            accept: called with each, non-blocking, and the guest's port.
        """
        for listener, port in self._listeners:
            self._watch(loop, listener, port, accept)

    def _watch(
        self, loop: EventLoop, listener: _socket.socket, port: int, accept: Callable[[_socket.socket, int], None]
    ) -> None:
        def incoming() -> None:
            sock = self._accept(listener)
            if sock:
                accept(sock, port)

        loop.add(listener.fileno(), incoming)

    def _accept(self, listener: _socket.socket) -> _socket.socket | None:
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return None
        except OSError as error:
            # No descriptor is left: take the connection with the spare one, to
            # refuse it; it would be reported for ever.
            self._log(f"a connection is refused: {error.strerror}")
            os.close(self._spare)
            try:
                os.close(listener._accept()[0])  # type: ignore[attr-defined]
            except OSError:
                pass
            self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            return None
        sock = _socket.socket(fileno=fd)
        sock.setblocking(False)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        return sock

    def connect(self, port: int) -> _socket.socket | None:
        """A socket that is connecting to where the guest's wish for `port` leads; None if nowhere."""
        target = self._allowed.get(port) or self._allowed.get(None)
        if not target:
            self._log(f"the guest may not connect to port {port}; `--allow {port}` lets it")
            return None
        family, address = target
        if port not in self._allowed:
            if port > 0xFFFF:
                return None
            address = (address[0], port, *address[2:])
        sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if sock.connect_ex(address) not in (0, EINPROGRESS):
            sock.close()
            return None
        return sock

    def close(self) -> None:
        """Stops listening. A second call does nothing."""
        while self._listeners:
            self._listeners.pop()[0].close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1


def _resolve(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    """(family, address) of a host's first address."""
    try:
        family, _, _, _, address = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"--allow: {host}: {error.strerror}") from None
    return family, address
