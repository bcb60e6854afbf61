"""A guest's control socket: QMP, for any number of clients of the same user."""

from __future__ import annotations

from pyvmm.control.connection import Connection, Listener
from pyvmm.errors import STATUS_PANIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping

    from pyvmm.control.commands import Commands
    from pyvmm.control.entry import Entry
    from pyvmm.control.qmp import Session
    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine


class Control:
    """The socket of one guest, and its entry in the registry.

    Args:
        entry: of the guest; closed with the socket.
        socket: one of the entry that listens; closed with this.
    """

    def __init__(self, entry: Entry, socket: _socket.socket) -> None:
        self.entry = entry
        self._commands: Commands | None = None
        self._sessions: dict[Connection, Session] = {}
        self._listener = Listener(socket, self._accepted)

    def attach(self, loop: Loop, machine: Machine) -> None:
        """Serves clients of a machine from `loop`."""
        self._loop, self._machine = loop, machine
        self._listener.attach(loop)

    def _accepted(self, socket: _socket.socket, gone: Callable[[Connection], None]) -> Connection:
        # What it takes to talk is loaded when somebody does.
        from pyvmm.control.commands import Commands
        from pyvmm.control.qmp import Session

        if not self._commands:
            self._commands = Commands(self._machine, self.entry, self._tell)

        def received(data: bytes, fds: list[int]) -> None:
            if not session.receive(data, fds):
                connection.close()

        def ended(connection: Connection) -> None:
            self._sessions.pop(connection).close()
            gone(connection)

        connection = Connection(socket, self._loop, received, ended)
        session = self._sessions[connection] = Session(self._commands.by_name, connection.send)
        session.greet()
        return connection

    def _tell(self, name: str, data: Mapping[str, object]) -> None:
        for session in [*self._sessions.values()]:
            session.event(name, data)

    def ended(self, status: int, failed: bool) -> None:
        """Tells clients how the guest has ended: with a status of its own, or because a vCPU could not go on."""
        by_client = bool(self._commands and self._commands.has_quit)
        panicked = failed or status == STATUS_PANIC
        if panicked:
            self._tell("GUEST_PANICKED", {"action": "poweroff"})
        reason = "guest-panic" if panicked else "host-qmp-quit" if by_client else "guest-shutdown"
        if self._machine.ending == "reset":
            reason = "guest-reset"
        if self._machine.was_stopped and not by_client and not panicked:
            reason = "host-signal"
        guest = reason.startswith("guest")
        self._tell("SHUTDOWN", {"guest": guest, "reason": reason, "status": status})

    def close(self) -> None:
        """Ends all connections, and removes the entry. A second call does nothing."""
        self._listener.close()
        self.entry.close()
