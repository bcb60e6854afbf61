"""Who asks for a guest to be frozen: another thread, the guest itself, or its idleness."""

from __future__ import annotations

import posix as os
from _thread import allocate_lock

from pyvmm._kvm import lib
from pyvmm.errors import HostError, PyvmmError
from pyvmm.host.newfile import NewFile, write
from pyvmm.layout import FREEZE_PORT, FREEZE_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from pyvmm.bus import Bus
    from pyvmm.eventloop import Loop
    from pyvmm.state.freeze import Freezer

    class Machine(Protocol):
        """What is asked of a machine."""

        status: int | None

        def freezer(self) -> Freezer: ...
        def request(self, action: Callable[[], None]) -> None: ...
        def hold(self, action: Callable[[], None]) -> None: ...
        def has_input(self) -> bool: ...
        def end(self, status: int) -> None: ...
        def fail(self, error: PyvmmError) -> None: ...


_ESRCH = 3
_FIRST_LOOK_NS, _LAST_LOOK_NS = 5_000_000, 100_000_000
_DECLINED, _FROZEN = 0xFF, 1


def open_folder(path: str) -> tuple[int, str]:
    """The directory of a file that is to be, as a descriptor that the caller closes, and the file's name.

    Raises:
        HostError: there is no such directory.
    """
    folder, slash, name = path.rpartition("/")
    try:
        return os.open(folder or slash or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), name
    except OSError as error:
        raise HostError(path, error.errno or 0) from None


def open_file(path: str) -> tuple[int, NewFile]:
    """A frozen file that is to be: the descriptor of its directory, and the file; the caller closes both.

    Raises:
        HostError: it cannot be made.
    """
    directory, name = open_folder(path)
    try:
        return directory, NewFile(directory, name)
    except OSError as error:
        os.close(directory)
        raise HostError(path, error.errno or 0) from None


def freeze(freezer: Freezer, fd: int, path: str) -> None:
    """Writes the State of a guest that is paused.

    Args:
        freezer: has paused it.
        fd: where to write it.
        path: its name in messages.

    Raises:
        HostError: its devices do not come to rest, or the file cannot be written.
    """
    freezer.drain()
    parts = freezer.state().parts()
    assert parts
    try:
        write(fd, parts)
    except OSError as error:
        raise HostError(path, error.errno or 0) from None


class FreezeRequest:
    """A freeze that another thread, or another process, asks for.

    Args:
        machine: the guest's.
        fd: where it is written; it stays the caller's.
        path: its name in messages.
        end: the guest ends then.
    """

    def __init__(self, machine: Machine, fd: int, path: str, end: bool) -> None:
        self._machine, self._fd, self._path, self._end = machine, fd, path, end
        self._error: PyvmmError | None = None
        self._done = allocate_lock()

    def wait(self) -> None:
        """Has it done by the control thread, and waits.

        Raises:
            HostError: it was not done.
        """
        self._done.acquire()
        self._machine.request(self._serve)
        with self._done:
            if self._error:
                raise self._error

    def _serve(self) -> None:
        try:
            self.serve()
        except PyvmmError as error:
            self._error = error
        finally:
            self._done.release()

    def serve(self) -> None:
        """Does it, in the control thread.

        Raises:
            HostError: it was not done.
        """
        if self._machine.status is not None:
            raise HostError("freezing", _ESRCH, "the guest has ended")
        with self._machine.freezer() as freezer:
            freeze(freezer, self._fd, self._path)
            if self._end:
                freezer.keep_paused()
                self._machine.end(0)


class Freezes:
    """Freezes a guest when it first has nothing to do, or asks for it by a write to FREEZE_PORT.

    Args:
        machine: the guest's.
        path: of the file.
        end: the guest ends then.
        done: called when it is frozen.

    Attributes:
        is_done: it has been frozen.

    Raises:
        HostError: there is no such directory.
    """

    def __init__(self, machine: Machine, path: str, end: bool, done: Callable[[], None]) -> None:
        self._machine, self._path, self._end, self._told = machine, path, end, done
        self._directory, self._file = open_file(path)
        self._timer = -1
        self._wait_ns = _FIRST_LOOK_NS
        self._answer = _DECLINED
        self.is_done = False

    def add_port(self, bus: Bus) -> None:
        """Lets the guest ask."""
        bus.add(FREEZE_PORT, FREEZE_PORTS, self)

    def attach(self, loop: Loop) -> None:
        """Looks from time to time whether the guest is idle."""
        self._loop = loop
        self._watch()

    def read(self, offset: int, size: int) -> int:
        """What has become of the last write."""
        return self._answer

    def write(self, offset: int, size: int, value: int) -> None:
        """The guest asks. Its vCPU comes to rest behind the instruction, once this exit is served."""
        self._answer = _DECLINED
        if not self.is_done:
            self._machine.hold(self._freeze)

    def _watch(self) -> None:
        self._timer = lib.timer_fd(self._wait_ns)
        if self._timer >= 0:
            self._loop.add(self._timer, self._look)

    def _unwatch(self) -> None:
        if self._timer >= 0:
            self._loop.remove(self._timer)
            os.close(self._timer)
            self._timer = -1

    def _look(self) -> None:
        self._unwatch()
        self._wait_ns = min(2 * self._wait_ns, _LAST_LOOK_NS)
        self._freeze(only_idle=True)
        if not self.is_done:
            self._watch()

    def _freeze(self, only_idle: bool = False) -> None:
        if self.is_done or self._machine.status is not None:
            return
        try:
            with self._machine.freezer() as freezer:
                if only_idle and (self._machine.has_input() or not freezer.is_idle()):
                    return
                self._answer = _FROZEN
                freeze(freezer, self._file.fd, self._path)
                self._keep()
                self.is_done = True
                if self._end:
                    freezer.keep_paused()
                    self._machine.end(0)
            self._told()
        except PyvmmError as error:
            self._machine.fail(error)

    def _keep(self) -> None:
        try:
            self._file.keep(sync=True)
        except OSError as error:
            raise HostError(self._path, error.errno or 0) from None

    def close(self) -> None:
        """Frees its descriptors. A second call does nothing."""
        self._unwatch()
        self._file.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
