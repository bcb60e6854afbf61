"""What surrounds a guest of `pyvmm boot`: its entry in the registry, its control socket, metrics, notifications.

`Operation` opens everything before the guest's machine is made; nothing is opened afterwards.
"""

from __future__ import annotations

import posix as os

from pyvmm.command.options import number
from pyvmm.control.entry import Entry, shown, started_now
from pyvmm.control.place import made_up
from pyvmm.control.server import Control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.command.detach import Detached
    from pyvmm.control.console import DetachedConsole
    from pyvmm.control.metrics import Metrics
    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine


class Operation:
    """All of it, for one guest.

    Args:
        image: path of the guest's image.
        options: of `boot`.
        say: writes a line to stderr.
        listed: name, directory and listening socket of an entry that there is already.
        registry: a descriptor of the registry, which becomes this object's; by default it is opened.

    Attributes:
        entry: in the registry.
        console: of a detached guest, its input and output; else None.
        network: that the guest is in, and its addresses there; empty for the host's.

    Raises:
        PyvmmError: one of the things that were asked for cannot be; none is left open.
    """

    def __init__(
        self, image: str, options: dict[str, str], say: Callable[[str], None],
        listed: tuple[str, int, int] = ("", -1, -1), registry: int = -1,
    ) -> None:  # fmt: skip
        self._closers: list[Callable[[], None]] = []
        self._detached: Detached | None = None
        self.console: DetachedConsole | None = None
        self.network = ""
        self._metrics: Metrics | None = None
        self._image, self._say = image, say
        try:
            self._open(options, listed, registry)
        except BaseException:
            self.close()
            raise

    def _open(self, options: dict[str, str], listed: tuple[str, int, int], registry: int) -> None:
        if "--detach" in options:
            from pyvmm.command.detach import Detached

            self._detached = Detached()
        name, directory, socket = listed
        self._is_described = bool(name)
        self.entry = entry = Entry(options.get("--name") or name or made_up(self._image), directory, registry)
        self._closers.append(entry.close)
        if socket < 0:
            listening = entry.listen("control")
        else:
            import _socket

            listening = _socket.socket(fileno=socket)
        self._control = Control(entry, listening)
        self._closers.append(self._control.close)
        if self._detached:
            from pyvmm.control.console import DetachedConsole

            self.console = DetachedConsole(entry.name, entry.listen("console"))
            self._closers.append(self.console.close)
        if "--metrics" in options:
            from pyvmm.control.metrics import Metrics

            self._metrics = Metrics(options["--metrics"])
            self._closers.append(self._metrics.close)
            if not options["--metrics"].startswith("unix:") and options["--metrics"].endswith("0"):
                self._say(f"metrics at http://{self._metrics.address}/metrics")
        self._open_notifications(options)

    def _open_notifications(self, options: dict[str, str]) -> None:
        from pyvmm.control.notify import Readiness, Script, Systemd

        fds = [number(name, options[name]) if name in options else -1 for name in ("--ready-fd", "--json-events")]
        self._systemd = Systemd(os.environ)
        self._closers.append(self._systemd.close)
        self._script = Script(*fds)
        self._closers.append(self._script.close)
        self._readiness = Readiness(self._ready)
        self._closers.append(self._readiness.close)
        self._tells_ready = max(fds) >= 0 or self._systemd.is_there

    def describe(self, machine: Machine) -> None:
        """Says in the registry what the guest is, before it runs."""
        if self._is_described:
            return
        ports = machine.ports.items()
        self.entry.describe(
            {
                "pid": str(os.getpid()),
                "image": self._image,
                "memory": str(machine.memory.size),
                "cpus": str(machine.cpus),
                "started": started_now(),
                "ports": " ".join(f"{shown(address)}:{port}:{guest}" for guest, (address, port) in ports),
                **({"network": self.network} if self.network else {}),
                **({"cid": str(machine.config.vsock)} if machine.config.vsock else {}),
            }
        )

    def attach(self, loop: Loop, machine: Machine) -> None:
        """Serves everything from `loop`, once the guest runs."""
        self._control.attach(loop, machine)
        self._systemd.attach(loop)
        if self.console:
            self.console.attach(loop)
        if self._metrics:
            self._metrics.attach(loop, machine)
        if self._tells_ready:
            self._readiness.attach(loop, machine)
        ports = machine.ports.items()
        where = [{"address": address, "port": port, "guest_port": guest} for guest, (address, port) in ports]
        metrics = {"metrics": self._metrics.address} if self._metrics else {}
        self._script.event("started", {"name": self.entry.name, "pid": os.getpid(), "ports": where, **metrics})
        if self._detached and self.console:
            self._detached.runs(self.entry.name, self.console.output)

    @property
    def name(self) -> str:
        """The guest's."""
        return self.entry.name

    def _ready(self) -> None:
        self._script.event("ready", {})
        self._systemd.tell("READY=1")

    def ended(self, status: int, ending: str) -> None:
        """Tells everybody that the guest has ended, and closes everything, while its loop is still there.

        Args:
            status: its exit status.
            ending: how (see `Machine.ending`), or `crash`.
        """
        self._control.ended(status, ending == "crash")
        self._systemd.tell("STOPPING=1")
        self._script.event("exit", {"status": status, "ending": ending})
        if self.console:
            self.console.drain()
        self.close()

    def close(self) -> None:
        """Closes everything. A second call does nothing."""
        while self._closers:
            self._closers.pop()()
