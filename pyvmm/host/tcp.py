"""A guest's access to TCP on the host: published ports, and where the guest may connect to."""

from __future__ import annotations

# `socket` takes 20 ms to import; `_socket` is the C module below it.
import _socket
import posix as os
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, ENOSPC

from pyvmm.config import parse_decimal
from pyvmm.errors import ConfigError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOOPBACK = "127.0.0.1"
#: The most clients that may wait at each published port; Linux's default for
#: net.core.somaxconn.
BACKLOG_MAX = 4096
#: A guest that names its ports has at most so many published.
PORTS_MAX = 64
_HINTS = {
    EACCES: "low ports need a right of their own; choose one from 1024 on, such as 8080",
    EADDRINUSE: "another program listens there; choose another, or 0 for any",
    EADDRNOTAVAIL: "no interface of this host has that address",
}


class Publish:
    """`[ADDR:]HOSTPORT:GUESTPORT`, `[ADDR:]*` or `fd:GUESTPORT`, with an IPv6 address in brackets.

    Args:
        text: as above.
        default: the address to listen on if the text names none.

    Attributes:
        address, port: where to listen; port 0 is any free one.
        guest_port: the guest's vsock port; None for `*`: each at which it listens, under the same number.
        is_passed: a socket is meant that systemd has passed (sd_listen_fds(3)), the next one.

    Raises:
        ConfigError: the text is malformed.
    """

    def __init__(self, text: str, default: str = LOOPBACK) -> None:
        address, colon, guest = text.rpartition(":")
        port, self.guest_port = "0", None
        self.is_passed = address == "fd" and guest != "*"
        if self.is_passed:
            address = colon = ""
        elif guest != "*":
            address, colon, port = address.rpartition(":")
        self.address = address.removeprefix("[").removesuffix("]") if colon else default
        brackets = (address[:1], address[-1:])
        if colon and (("[" in brackets) != ("]" in brackets) or (":" in self.address) != (brackets == ("[", "]"))):
            raise ConfigError("publish", text, "an IPv6 address is written in brackets: [::1]:4000:80")
        if self.address.isdigit():
            raise ConfigError("publish", text, f"{self.address} is no address; write [ADDR:]HOSTPORT:GUESTPORT")
        if not self.address:
            raise ConfigError("publish", text, "no address before the colon; 0.0.0.0 is all of the host's")
        try:
            self.port = parse_decimal(port, 0, 0xFFFF)
            if guest != "*":
                self.guest_port = parse_decimal(guest, 0, 0xFFFF_FFFE)
        except ValueError:
            raise ConfigError("publish", text, "not [ADDR:]HOSTPORT:GUESTPORT, such as 4000:80, or [ADDR:]*") from None


def parse_allow(text: str) -> tuple[int | None, tuple[str, int]]:
    """Parses `PORT[=HOST:PORT]` or `all`.

    Returns:
        The port of CID 2 (None: all), and the host and port that it leads to
        (port 0: the same one).

    Raises:
        ConfigError: the text is malformed.
    """
    if text == "all":
        return None, (LOOPBACK, 0)
    port, equals, target = text.partition("=")
    try:
        number = parse_decimal(port, 1, 0xFFFF_FFFE if equals else 0xFFFF)
        if not equals:
            return number, (LOOPBACK, number)
        host, _, target_port = target.rpartition(":")
        if not host:
            raise ValueError(target)
        return number, (host.removeprefix("[").removesuffix("]"), parse_decimal(target_port, 1, 0xFFFF))
    except ValueError:
        raise ConfigError("allow", text, "not PORT, PORT=HOST:PORT or `all`") from None


class TcpHost:
    """Listens on published ports, and resolves where allowed ports lead.

    Args:
        published: ports to listen on from now on.
        allowed: results of `parse_allow`.
        backlog: how many clients may wait at each port.

    Attributes:
        ports: (address, port, guest's port) of each published port; no port is 0.
        listeners: (descriptor, guest's port) of each.
        publishes_all: `publish` does something.
        allowed: by port of CID 2 (None: all others), the `struct sockaddr`s that it leads
            to, to be tried in order; port 0 there stands for the same port.

    Raises:
        HostError: a port cannot be listened on.
        ConfigError: a host or address is unknown.
    """

    def __init__(
        self, published: list[Publish], allowed: list[tuple[int | None, tuple[str, int]]], backlog: int
    ) -> None:
        self._sockets: list[_socket.socket] = []
        self.listeners: list[tuple[int, int]] = []
        self.ports: list[tuple[str, int, int]] = []
        self._backlog = backlog
        everywhere = [one.address for one in published if one.guest_port is None]
        self._everywhere = [(host, *_place(host, 0)) for host in everywhere]
        self.publishes_all = bool(everywhere)
        try:
            for one in published:
                if one.is_passed and one.guest_port is not None:
                    self._take(one.guest_port)
                elif one.guest_port is not None:
                    self._listen(one.address, one.port, one.guest_port)
            self.allowed = {port: _addresses(*target) for port, target in allowed}
        except BaseException:
            self.close()
            raise

    def publish(self, guest_port: int) -> list[int]:
        """Publishes a port of the guest under the same number, for each `*`; returns the new listeners.

        Raises:
            HostError: it cannot be listened on, or there are too many.
        """
        known = {(address, port) for address, _, port in self.ports}
        new = [place for place in self._everywhere if (place[0], guest_port) not in known]
        if new and len(self.ports) + len(new) > PORTS_MAX:
            raise HostError(f"publishing port {guest_port}", ENOSPC, f"{PORTS_MAX} ports are published already")
        before = len(self.listeners)
        for host, family, (numeric, _, *rest) in new:
            self._listen_at(host, family, (numeric, guest_port, *rest), guest_port)
        return [fd for fd, _ in self.listeners[before:]]

    def _listen(self, host: str, port: int, guest_port: int) -> None:
        self._listen_at(host, *_place(host, port), guest_port)

    def _listen_at(self, host: str, family: int, address: tuple[Any, ...], guest_port: int) -> None:
        where = f"publishing port {address[1]} of {host}"
        try:
            sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
            self._sockets.append(sock)
            # For ports whose last connections are still in TIME_WAIT; a second
            # listener remains impossible.
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(self._backlog)
        except OSError as error:
            raise HostError(where, error.errno or 0, _HINTS.get(error.errno or 0, "")) from None
        self.listeners.append((sock.fileno(), guest_port))
        self.ports.append((host, sock.getsockname()[1], guest_port))

    def _take(self, guest_port: int) -> None:
        """Takes the next of the sockets that systemd has passed."""
        number = sum(1 for sock in self._sockets if _FIRST_PASSED <= sock.fileno() < _FIRST_PASSED + _passed())
        text = f"fd:{guest_port}"
        if number >= _passed():
            raise ConfigError("publish", text, f"systemd has passed {_passed()} sockets (LISTEN_FDS)")
        sock = _socket.socket(fileno=_FIRST_PASSED + number)
        self._sockets.append(sock)
        if sock.type != _socket.SOCK_STREAM or not sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            raise ConfigError("publish", text, "the socket that was passed does not listen for streams")
        sock.setblocking(False)
        os.set_inheritable(sock.fileno(), False)
        name = sock.getsockname()
        address, port = name[:2] if isinstance(name, tuple) else (str(name), 0)
        self.listeners.append((sock.fileno(), guest_port))
        self.ports.append((address, port, guest_port))

    def close(self) -> None:
        """Stops listening. A second call does nothing."""
        while self._sockets:
            self._sockets.pop().close()


_FIRST_PASSED = 3  # SD_LISTEN_FDS_START


def _passed() -> int:
    """How many sockets systemd has passed to this process."""
    pid, count = os.environ.get(b"LISTEN_PID", b""), os.environ.get(b"LISTEN_FDS", b"")
    return int(count) if pid == b"%d" % os.getpid() and count.isdigit() else 0


def _look_up(parameter: str, host: str, port: int, family: int = 0) -> list[tuple[Any, ...]]:
    """What getaddrinfo(3) finds.

    Raises:
        ConfigError: nothing.
    """
    # As bytes: to encode a str, Python imports IDNA's tables, which takes 8 ms.
    name = host.encode(errors="surrogateescape")
    try:
        return _socket.getaddrinfo(name, port, family, _socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(parameter, host, str(error.strerror)) from None
    except ValueError:  # a NUL
        raise ConfigError(parameter, repr(host), "not a host's name") from None


def _place(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """Where to listen: an address family, and an address in numbers.

    Raises:
        ConfigError: there is no such host.
    """
    family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
    return family, _look_up("publish", host, port, family)[0][4]


def _addresses(host: str, port: int) -> list[bytes]:
    """The `struct sockaddr`s (ip(7), ipv6(7)) of a host's addresses, in the order in which to try them.

    The resolver's order (RFC 6724), but with alternating address families (RFC 8305, section 4).
    """
    families: dict[int, list[bytes]] = {}
    for family, _, _, _, address in _look_up("allow", host, port):
        families.setdefault(family, []).append(_sockaddr(family, address))
    ordered = []
    while any(families.values()):
        ordered += [addresses.pop(0) for addresses in families.values() if addresses]
    return ordered


def _sockaddr(family: int, address: tuple[Any, ...]) -> bytes:
    host, port = str(address[0]), int(address[1])
    packed = _socket.inet_pton(family, host.partition("%")[0])
    head = family.to_bytes(2, "little") + port.to_bytes(2, "big")
    if family == _socket.AF_INET:
        return head + packed + bytes(8)
    return head + int(address[2]).to_bytes(4, "big") + packed + int(address[3]).to_bytes(4, "little")
