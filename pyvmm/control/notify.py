"""Tells whoever has started a guest what becomes of it: systemd (sd_notify(3)), or a script.

A guest is *ready* once it has accepted a client at one of its ports, or first has nothing to do.
"""

from __future__ import annotations

import posix as os

from pyvmm._kvm import lib
from pyvmm.errors import ConfigError, PyvmmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine

_FIRST_LOOK_NS, _LAST_LOOK_NS, _AFTER_FAILURE_NS = 5_000_000, 100_000_000, 2_000_000_000
_BRIEFLY = 0.05  # seconds


class Readiness:
    """Looks from time to time whether a guest is ready, and then calls `ready` once.

    Args:
        ready: what to call.
    """

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready
        self._wait_ns = _FIRST_LOOK_NS
        self._timer = -1

    def attach(self, loop: Loop, machine: Machine) -> None:
        """Looks at a machine from `loop`."""
        self._loop, self._machine = loop, machine
        self._timer = lib.timer_fd(self._wait_ns)
        if self._timer >= 0:
            loop.add(self._timer, self._look)

    def _look(self) -> None:
        self.close()
        self._wait_ns = min(2 * self._wait_ns, _LAST_LOOK_NS)
        if self._machine.status is not None:
            return
        if self._is_ready():
            self._ready()
        else:
            self.attach(self._loop, self._machine)

    def _is_ready(self) -> bool:
        if any(counts.get("connections") for _, counts in self._machine.counts()):
            return True
        try:
            with self._machine.freezer(_BRIEFLY) as freezer:
                return freezer.is_idle()
        except PyvmmError:  # it has just ended, or writes to a console that nobody reads
            self._wait_ns = _AFTER_FAILURE_NS
            return False

    def close(self) -> None:
        """Looks no more. A second call does nothing."""
        if self._timer >= 0:
            self._loop.remove(self._timer)
            os.close(self._timer)
            self._timer = -1


class Script:
    """Tells a script by descriptors that it has opened.

    Args:
        ready_fd: gets a newline when the guest is ready, and is closed; -1 for none.
        events_fd: gets a line of JSON for each event; -1 for none. They become this object's.

    Raises:
        ConfigError: one of them is not open for writing.
    """

    def __init__(self, ready_fd: int, events_fd: int) -> None:
        self._ready_fd = _check("ready_fd", ready_fd)
        self._events_fd = _check("json_events", events_fd)

    def event(self, name: str, values: Mapping[str, object]) -> None:
        """Tells of an event: `started`, `ready`, `exit`."""
        if self._events_fd >= 0:
            import json

            _write(self._events_fd, json.dumps({"event": name, **values}).encode() + b"\n")
        if name == "ready" and self._ready_fd >= 0:
            _write(self._ready_fd, b"\n")
            os.close(self._ready_fd)
            self._ready_fd = -1

    def close(self) -> None:
        """Closes the descriptors. A second call does nothing."""
        for fd in {self._ready_fd, self._events_fd} - {-1}:
            os.close(fd)
        self._ready_fd = self._events_fd = -1


def _check(parameter: str, fd: int) -> int:
    if fd >= 0:
        from fcntl import F_GETFL, F_SETFL, fcntl

        try:
            flags = fcntl(fd, F_GETFL)
            if flags & os.O_ACCMODE == os.O_RDONLY:
                raise ConfigError(parameter, fd, "this descriptor is open for reading only")
            if fd > 2:  # those are others' as well
                fcntl(fd, F_SETFL, flags | os.O_NONBLOCK)
                os.set_inheritable(fd, False)
        except OSError as error:
            raise ConfigError(parameter, fd, f"{error.strerror}: the caller must have opened it") from None
    return fd


def _write(fd: int, data: bytes) -> None:
    """Whoever does not read misses it."""
    try:
        os.write(fd, data)
    except OSError:
        pass


class Systemd:
    """Tells the service manager (sd_notify(3)), if there is one: NOTIFY_SOCKET and WATCHDOG_USEC say so.

    Args:
        environment: the process's.
    """

    def __init__(self, environment: Mapping[bytes, bytes]) -> None:
        self._path = environment.get(b"NOTIFY_SOCKET", b"")
        usec = environment.get(b"WATCHDOG_USEC", b"")
        for_us = environment.get(b"WATCHDOG_PID", b"%d" % os.getpid()) == b"%d" % os.getpid()
        self._watchdog_ns = int(usec) * 500 if usec.isdigit() and for_us else 0
        self._timer = -1
        self._socket = None
        if self._path[:1] in (b"/", b"@"):
            import _socket

            path = b"\0" + self._path[1:] if self._path[:1] == b"@" else self._path
            self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            try:
                self._socket.connect(path)
            except OSError:  # there is nobody
                pass

    @property
    def is_there(self) -> bool:
        """Whether there is a service manager to tell."""
        return self._socket is not None

    def attach(self, loop: Loop) -> None:
        """Tells from `loop`, twice in each interval of the watchdog, that the control thread is alive."""
        self._loop = loop
        if self._socket and self._watchdog_ns:
            self._tick()

    def _tick(self) -> None:
        self._stop_timer()
        self.tell("WATCHDOG=1")
        self._timer = lib.timer_fd(self._watchdog_ns)
        if self._timer >= 0:
            self._loop.add(self._timer, self._tick)

    def tell(self, *lines: str) -> None:
        """Sends assignments such as `READY=1`."""
        if self._socket:
            try:
                self._socket.send("\n".join(lines).encode())
            except OSError:  # there is nobody
                pass

    def _stop_timer(self) -> None:
        if self._timer >= 0:
            self._loop.remove(self._timer)
            os.close(self._timer)
            self._timer = -1

    def close(self) -> None:
        """A second call does nothing."""
        self._stop_timer()
        if self._socket:
            self._socket.close()
            self._socket = None
