"""What is counted of a guest, for Prometheus (its text format, version 0.0.4), over HTTP or a unix socket."""

from __future__ import annotations

import _socket
import posix as os

from pyvmm.control.connection import Connection, Listener
from pyvmm.errors import ConfigError, PyvmmError
from pyvmm.host.tcp import Publish, TcpHost
from pyvmm.host.unix import UnixHost
from pyvmm.measures import EXIT_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine

    #: Labels and a value.
    Sample = tuple[str, float]

_REQUEST_MAX = 8 << 10  # bytes
_BACKLOG = 8
_HALTED = ("halt_wait_ns", "halt_poll_success_ns", "halt_poll_fail_ns")
#: Of a device's counts: the metric's name, what kind it is, and what it says.
_COUNTS = {
    ("vsock", "streams"): ("vsock_streams", "gauge", "Connections now."),
    ("vsock", "connections"): ("vsock_connections_total", "counter", "Connections that both sides have agreed to."),
    ("vsock", "resets"): ("vsock_resets_total", "counter", "Connections that failed or were refused."),
    ("vsock", "stalls"): ("vsock_credit_stalls_total", "counter", "Times a connection has used up the guest's credit."),
    ("vsock", "to_guest"): ("vsock_to_guest_bytes_total", "counter", "Payload to the guest."),
    ("vsock", "from_guest"): ("vsock_from_guest_bytes_total", "counter", "Payload from the guest."),
    ("fs", "requests"): ("fs_requests_total", "counter", "Requests to shares that were answered."),
}


def text(machine: Machine) -> str:
    """All that is known now."""
    measures = machine.measures
    lines: list[str] = []

    def add(name: str, kind: str, help_text: str, samples: Iterable[Sample]) -> None:
        lines.append(f"# HELP pyvmm_{name} {help_text}\n# TYPE pyvmm_{name} {kind}\n")
        lines.extend(f"pyvmm_{name}{labels} {value}\n" for labels, value in samples)

    exits = [(f'{{kind="{EXIT_NAMES.get(kind, kind)}"}}', count) for kind, count in measures.exits().items()]
    add("exits_total", "counter", "Exits of the vCPUs, by their kind.", exits)
    add("emulated_total", "counter", "Instructions that pyvmm has executed.", [("", measures.emulated())])
    add("memory_bytes", "gauge", "Memory that the guest has.", [("", machine.memory.size)])
    add("memory_touched_bytes", "gauge", "Guest memory that is in the host's.", [("", measures.touched_bytes())])
    add("vcpus", "gauge", "Number of vCPUs.", [("", machine.cpus)])
    halted = _halted_ns(machine)
    if halted is not None:
        add("halted_seconds_total", "counter", "Time that vCPUs have halted.", [("", halted / 1e9)])
    add("steal_seconds_total", "counter", "Time that vCPUs have waited for a CPU.", [("", measures.steal_ns() / 1e9)])
    add("paused", "gauge", "1 while the guest is paused.", [("", int(machine.is_paused))])
    found: dict[tuple[str, str], list[int]] = {}
    for device, counts in machine.counts():
        for name, count in counts.items():
            found.setdefault((device, name), []).append(count)
    for key, values in found.items():
        name, kind, help_text = _COUNTS[key]
        labels = (f'{{device="{index}"}}' if len(values) > 1 else "" for index in range(len(values)))
        add(name, kind, help_text, zip(labels, values, strict=True))
    return "".join(lines)


def _halted_ns(machine: Machine) -> int | None:
    """How long the vCPUs have halted; None where KVM does not tell."""
    try:
        return sum(counts[name] for counts in machine.kvm_counters().vcpus() for name in _HALTED)
    except (PyvmmError, KeyError):
        return None


class Metrics:
    """A server for `GET /metrics`.

    Args:
        where: `[ADDR:]PORT` or `unix:PATH`.

    Attributes:
        address: where it listens, port 0 replaced.

    Raises:
        ConfigError: the text is malformed.
        HostError: it cannot be listened on.
    """

    def __init__(self, where: str) -> None:
        self._host: UnixHost | TcpHost
        if where.startswith("unix:"):
            self._host = UnixHost(where.removeprefix("unix:"), _BACKLOG, "metrics")
            fd, self.address = self._host.fd, where
        else:
            try:
                self._host = TcpHost([Publish(f"{where}:0")], [], _BACKLOG)
            except ConfigError:
                raise ConfigError("metrics", where, "not [ADDR:]PORT or unix:PATH") from None
            fd = self._host.listeners[0][0]
            host, port, _ = self._host.ports[0]
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._listener = Listener(_socket.socket(fileno=os.dup(fd)), self._accepted)

    def attach(self, loop: Loop, machine: Machine) -> None:
        """Serves clients from `loop` with what is counted of a machine."""
        self._loop, self._machine = loop, machine
        machine.measures.open()
        self._listener.attach(loop)

    def _accepted(self, socket: _socket.socket, gone: Callable[[Connection], None]) -> Connection:
        request = b""

        def received(data: bytes, _: list[int]) -> None:
            nonlocal request
            request += data
            if b"\r\n\r\n" in request or b"\n\n" in request:
                connection.send(self._answer(request))
                connection.finish()
            elif len(request) > _REQUEST_MAX:
                connection.close()

        connection = Connection(socket, self._loop, received, gone)
        return connection

    def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD") or path not in (b"/", b"/metrics"):
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        try:
            body = text(self._machine).encode()
        except OSError:  # no descriptor is left
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == b"HEAD" else body)

    def close(self) -> None:
        """Stops listening. A second call does nothing."""
        self._listener.close()
        self._host.close()
