"""When this process is confined, and for what.

The order is the point. All threads are there, and have confined themselves, before an exit of
a guest is looked at. The main thread is at `START` then: it may still read the interpreter's
files, and nothing else. Once devices are attached, it gives that up as well.
"""

from __future__ import annotations

import sys

from pyvmm._kvm import ffi, lib
from pyvmm.errors import ConfigError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType
    from typing import Protocol

    class Transport(Protocol):
        """A device on its bus: what may have threads of its own."""

        def confine(self) -> None: ...


MODES = ("off", "on", "require")


class Sandbox:
    """Confines this process, for good, to what one machine needs.

    It is the process that is confined, so a program that does other things too should run its
    machines in another one.

    Args:
        mode: `on`, the default: as far as the host can; `require`: or not at all.
        user: `UID[-UID][:GID]`: who root's guests run as (65534, nobody); of a range, an ID of it.

    Attributes:
        is_on: whether it does anything.
        first: what still has to be done unconfined; called once the guest runs, whose exits wait.
        registry, report, image: descriptors of the registry, of the file for `--timing`, and of the image, that C has
            opened; else -1.
        stays: the main thread stays at `START` until somebody calls `settle`.

    Raises:
        ConfigError: a value is none of these.
    """

    def __init__(self, mode: str | None = None, user: str | None = None) -> None:
        if mode is not None and mode not in MODES:
            raise ConfigError("sandbox", mode, f"not {', '.join(MODES)}")
        number = lib.SANDBOX_DEFAULT if mode is None else MODES.index(mode)
        text = ffi.NULL if user is None else ffi.new("char[]", user.encode(errors="replace"))
        if not lib.sandbox_begin(number, text):
            raise ConfigError("user", user, "not UID, UID-UID or UID:GID, in numbers")
        self.is_on = number != lib.SANDBOX_OFF
        self.first: list[Callable[[], None]] = []
        self.stays = False
        self.registry = int(lib.sandbox_of_process().registry_fd)
        self.report = int(lib.sandbox_of_process().report_fd)
        self.image = int(lib.sandbox_of_process().image_fd)
        self._native = native = lib.sandbox_of_process()
        if not native.files:  # not the executable, which has said it
            self._files = [ffi.new("char[]", path.encode()) for path in {*sys.path, "/lib", "/usr/lib"} if path]
            self._list = native.files = ffi.new("char *[]", [*self._files, ffi.NULL])

    @property
    def has_started(self) -> bool:
        """Whether this thread is confined already, as C has run the guest."""
        return bool(self._native.started)

    @property
    def is_limited(self) -> bool:
        """Whether Landlock limits what this thread may open at `START`."""
        return int(lib.landlock_abi()) > 0

    def allow(
        self,
        ports: Sequence[int] | None = (),
        unix: bool = False,
        freeze: bool = False,
        timing: bool = False,
        gdb: bool = False,
        writes: bool = False,
        publish: bool = False,
    ) -> None:
        """What this boot needs beyond the least.

        Args:
            ports: TCP ports that the guest may connect to; None: all of them.
            unix: it may connect to unix sockets.
            freeze: its State may be taken.
            timing: what KVM counts may be read.
            gdb: registers may be read and changed.
            writes: files that are open now, besides standard streams, may be written.
            publish: TCP ports may be listened on while the guest runs.
        """
        native = self._native
        wanted = {lib.SANDBOX_UNIX: unix, lib.SANDBOX_FREEZE: freeze, lib.SANDBOX_TIMING: timing}
        wanted[lib.SANDBOX_GDB] = gdb
        wanted[lib.SANDBOX_PUBLISH] = publish
        native.writes = native.writes or freeze or writes
        wanted[lib.SANDBOX_TCP] = ports is None or bool(ports)
        native.features |= sum(bit for bit, is_wanted in wanted.items() if is_wanted)
        if ports is None or ports:
            native.ports_fd = lib.landlock_ports(ffi.NULL if ports is None else [*ports], len(ports or ()))

    def list_in(self, registry: int) -> bool:
        """Lets the guest have an entry in the registry, and a control socket, by which it may be frozen.

        Args:
            registry: a descriptor of the registry.

        Returns:
            Whether the entry can be made, and removed, by a confined process: only where Landlock limits it to that.
        """
        self.allow(freeze=True, timing=True, writes=True)
        if not self.is_limited:
            return False
        self._native.registry_fd = registry
        self._native.features |= lib.SANDBOX_REGISTRY
        return True

    def listed_as(self, entry: int) -> None:
        """The guest's entry, by a descriptor. To be called before `settle`."""
        self._native.entry_fd = entry

    def know(self, vm_fd: int, is_pc: bool) -> None:
        """What the machine is. To be called before its vCPUs run."""
        lib.sandbox_settle_heap()
        self._native.vm_fd = vm_fd
        if is_pc:
            self._native.features |= lib.SANDBOX_PC

    def enter(self, transports: Iterable[Transport]) -> None:
        """Confines all threads. To be called before exits of the guest are looked at."""
        for do in self.first:
            do()
        if self.is_on:
            errands = sys.modules.get("pyvmm.host.errands")
            if errands:
                _fork(errands)
            for transport in transports:
                transport.confine()
            if self._native.features & lib.SANDBOX_FREEZE:
                lib.pages_prepare()
            sys.dont_write_bytecode = True
            lib.sandbox_thread(lib.SANDBOX_START, -1)

    def settle(self) -> None:
        """Takes from this thread what only the start needs."""
        if self.is_on:
            _load(self._native.features)
            lib.sandbox_thread(lib.SANDBOX_MAIN, -1)

    def fails(self) -> None:
        """To be called before it is told why there is no guest; does not return if a thread tells another reason."""
        if self.is_on:
            lib.sandbox_ends()

    def close(self) -> None:
        """Ends the helper, when the guest has ended."""
        if errands := sys.modules.get("pyvmm.host.errands"):
            errands.close()


def _fork(errands: ModuleType) -> None:
    try:
        errands.fork()
    except OSError as error:
        raise HostError("a helper process", error.errno or 0) from None


#: The extension modules that crash reports and clients of the control socket take.
_EXTENSIONS = ("_bisect", "_json", "_struct", "zlib")
#: Modules that a guest may need later, where they are not in the executable.
_LATE = ("pyvmm.crash.recorder", "pyvmm.kvm.stats", "pyvmm.measures")
_LATE_FREEZING = ("pyvmm.state.freeze", "pyvmm.state.request")
_LATE_LISTED = ("pyvmm.control.commands",)


def _load(features: int) -> None:
    """Loads what is imported only when something is needed: from now on no file can be."""
    __import__("time")
    pow(2.0, 0.5)  # the executable opens libm when it first calls it
    launch = sys.modules.get("pyvmm.command.launch")
    if not launch:
        names = _LATE + _LATE_FREEZING * bool(features & lib.SANDBOX_FREEZE)
        names += _LATE_LISTED * ("pyvmm.control.server" in sys.modules)
    else:
        names = _EXTENSIONS
    for name in names:
        __import__(name)
    if launch:
        launch._stamps = {}  # type: ignore[attr-defined] # sources are not looked at any more
        decoder = sys.modules.setdefault("json.decoder", type(sys)("json.decoder"))
        decoder.__dict__.setdefault("JSONDecodeError", ValueError)  # what the C part of `json` looks for there
