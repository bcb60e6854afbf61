"""Where GDB connects to a guest: one client at a time, over a Unix socket or TCP."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from tempfile import mkdtemp

from pyvmm.config import parse_decimal
from pyvmm.errors import STATUS_TERMINATED, ConfigError, HostError
from pyvmm.eventloop import READABLE, WRITABLE
from pyvmm.gdb.debugger import SIGTRAP, Debugger, Stop
from pyvmm.gdb.monitor import answer
from pyvmm.gdb.session import Session
from pyvmm.host.errands import OwnFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.errors import PyvmmError
    from pyvmm.eventloop import Loop
    from pyvmm.kvm.thread import VcpuThread
    from pyvmm.machine import Machine

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: GDB's commands for Toro; `toro/` lies in the package once that is installed, and beside it before.
SCRIPT = next(
    (
        f"{place}/toro/pyvmm-gdb.py"
        for place in (_PACKAGE, os.path.dirname(_PACKAGE))
        if os.path.exists(f"{place}/toro")
    ),
    "",
)
_OUTPUT_MAX = 1 << 20  # bytes that a client may leave unread
_RECEIVE = 65536


class GdbServer:
    """The place of one machine.

    Args:
        machine: the guest's.
        target: the path of a Unix socket, which is made, HOST:PORT, or `-` for a socket in a
            directory of its own, with the guest stopped before its first instruction.
        log: called with a line about what cannot be.

    Attributes:
        place: what `target remote` takes.
        waits: the guest is stopped until a client comes.

    Raises:
        ConfigError, HostError: there can be no such socket.
    """

    def __init__(self, machine: Machine, target: str, log: Callable[[str], None]) -> None:
        self._machine, self._log = machine, log
        self._debugger = Debugger(machine.threads, machine.memory, self._stopped)
        self._client: _Client | None = None
        self.waits = self._is_awaited = target == "-"
        self._folder = mkdtemp(prefix="pyvmm-gdb-") if self.waits else ""
        path = f"{self._folder}/gdb" if self.waits else target
        host, colon, port = target.rpartition(":")
        try:
            if colon and "/" not in port:
                self._file, self._socket = None, _tcp(target, host.strip("[]"), port)
                self.place = f"{host}:{self._socket.getsockname()[1]}"
            else:
                self._socket = _unix(path)
                self._file = OwnFile(os.fsencode(path), os.fsencode(self._folder) if self._folder else None)
                self.place = path
        except BaseException:
            if self._folder:
                with suppress(OSError):
                    os.rmdir(self._folder)
            raise
        self._socket.setblocking(False)
        if self.waits:
            machine.debugger = self
            machine.pause_vcpus()

    def attach(self, loop: Loop) -> None:
        """Serves clients from `loop`."""
        self._loop = loop
        loop.add(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:  # it is gone, or there is no descriptor left
            return
        if self._client or self._machine.is_paused:
            if not self._client:
                self._log("the guest is paused; resume it before GDB connects")
            connection.close()
            return
        self._client = _Client(self._debugger, self._loop, connection, self._monitor, self._leave, self._log)
        self._machine.debugger = self
        self._is_awaited = False
        self._debugger.open()
        self._debugger.stop(Stop(0, SIGTRAP))
        if self._debugger.is_stopped:  # the one before left it so, a moment ago
            self._stopped(Stop(0, SIGTRAP))

    def _monitor(self, session: Session, text: str) -> str:
        return answer(self._debugger, self._machine.transports, session.vcpu, text)

    def _stopped(self, stop: Stop) -> None:
        if self._client:
            self._client.session.stopped(stop)
        else:
            self._let_go()

    def _leave(self, kill: bool) -> None:
        """The client is gone: the guest goes on as if it had never been there, or ends."""
        self._client = None
        if kill:
            self._machine.end(STATUS_TERMINATED, "kill")
        elif self._debugger.is_stopped:
            self._let_go()
        else:
            self._debugger.stop(Stop(0, SIGTRAP))

    def _let_go(self) -> None:
        self._debugger.close()
        self._debugger.go(range(self._debugger.count))
        if not self._debugger.has_strays:
            self._debugger.leave()
            self._machine.debugger = None

    @property
    def is_connected(self) -> bool:
        """Whether GDB says which vCPUs run."""
        return self._is_awaited or bool(self._client) or self._debugger.is_stopped

    def serves(self, thread: VcpuThread, reason: int) -> bool:
        """As `Debugger.serves`."""
        return self._debugger.serves(thread, reason)

    def check(self) -> None:
        """As `Debugger.check`."""
        self._debugger.check()

    def crashed(self, thread: VcpuThread, error: PyvmmError) -> None:
        """A vCPU cannot go on."""
        if self._client:
            self._client.session.crashed(error)
            self._debugger.crashed(thread)
        else:
            self._machine.fail(error)

    def close(self) -> None:
        """Tells the client how the guest has ended, and removes the socket. A second call does nothing."""
        if self._socket.fileno() < 0:
            return
        if self._client:
            self._client.end(self._machine.status)
        self._machine.debugger = None
        self._socket.close()
        if self._file:
            self._file.ask(0)
            self._file.forget()


def _tcp(target: str, host: str, port: str) -> socket.socket:
    try:
        number = parse_decimal(port)
    except ValueError:
        raise ConfigError("gdb", target, "not a path, nor HOST:PORT") from None
    try:
        return socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise HostError(f"--gdb {target}", error.errno or 0) from None


def _unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with suppress(ConnectionRefusedError, FileNotFoundError):
            listener.connect(path)
            raise ConfigError("gdb", path, "another program listens there")
        with suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(path), os.stat(path)) and _is_socket(path):
                os.unlink(path)  # of a guest that was killed
        listener.close()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise HostError(path, error.errno or 0) from None
    except ConfigError:
        listener.close()
        raise
    return listener


def _is_socket(path: str) -> bool:
    from stat import S_ISSOCK

    return S_ISSOCK(os.lstat(path).st_mode)


class _Client:
    """The connection of one GDB."""

    def __init__(
        self, debugger: Debugger, loop: Loop, connection: socket.socket, monitor: Callable[[Session, str], str],
        leave: Callable[[bool], None], log: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._loop, self._socket, self._leave = loop, connection, leave
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._output = b""
        self.session = Session(debugger, self._send, monitor, self._hang_up, log)
        loop.watch(connection.fileno(), READABLE, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if self._socket.fileno() >= 0 and events & ~WRITABLE:
            try:
                data = self._socket.recvmsg(_RECEIVE)[0]
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self.session.receive(data)
            else:
                self._hang_up(False)

    def _send(self, data: bytes) -> None:
        self._output += data
        self._flush()

    def _flush(self) -> None:
        if self._socket.fileno() < 0:
            return
        try:
            self._output = self._output[self._socket.send(self._output) :]
        except BlockingIOError:
            pass
        except OSError:
            self._output = b""
        if len(self._output) > _OUTPUT_MAX:
            self._hang_up(False)
        else:
            self._loop.change(self._socket.fileno(), READABLE | WRITABLE if self._output else READABLE)

    def _hang_up(self, kill: bool) -> None:
        if self._socket.fileno() >= 0:
            self._close()
            self._leave(kill)

    def _close(self) -> None:
        self._loop.remove(self._socket.fileno())
        self._socket.close()

    def end(self, status: int | None) -> None:
        """The guest has ended."""
        self.session.ended(STATUS_TERMINATED if status is None else status)
        if self._socket.fileno() >= 0:
            self._close()
