"""`pyvmm warm`: a process that stays, and boots guests for the `pyvmm boot` of its user.

It has everything loaded and keeps a few children that wait at a unix socket, each
with a VM made beforehand. A `pyvmm boot` (`launcher/warm.c`) connects to the socket
and hands over what it got from its user; the child becomes like it (`_warm.c`),
boots the guest, tells its exit status and ends. The parent then makes another child.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time

from pyvmm._kvm import ffi, lib
from pyvmm.boot.tiny import tiny_image
from pyvmm.command.boot import machine_config
from pyvmm.command.options import DEVICES, only_operand, parse
from pyvmm.command.ready import ReadyMachine, prepare_any
from pyvmm.config import parse_decimal
from pyvmm.errors import HostError, PyvmmError, UsageError
from pyvmm.eventloop import EventLoop
from pyvmm.host.unix import UnixHost
from pyvmm.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.config import MachineConfig

    Command = Callable[..., int]
    Service = tuple[Command, Callable[[str], None], MachineConfig | None]

_SIGNALS = _SIGCHLD, *_ENDING = signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP
_READY_MAX = 64
_REHEARSALS = 10
#: A child that has just been taken has better use for the CPUs than its successor.
_PAUSE_SECONDS = 0.02


def warm(words: list[str], command: Command, say: Callable[[str], None]) -> int:
    """Serves as the options say; see `serve`."""
    operands, options, repeated = parse("warm", words, DEVICES)
    ready = options.pop("--ready", "2")
    try:
        waiting = parse_decimal(ready, 1, _READY_MAX)
    except ValueError:
        raise UsageError(f"--ready {ready}: not 1 to {_READY_MAX}") from None
    devices = [option[0] for option in DEVICES]
    for name in [*options, *(name for name, values in repeated.items() if values)]:
        if name in devices:
            raise UsageError(f"warm: {name}: a guest with devices is not made beforehand; leave out the IMAGE")
        if not operands:
            raise UsageError(f"warm: {name} is of no use without an IMAGE")
    config = machine_config(only_operand("warm", operands), options) if operands else None
    return serve(waiting, command, say, config)


def serve(ready: int, command: Command, say: Callable[[str], None], config: MachineConfig | None) -> int:
    """Serves until SIGINT, SIGTERM or SIGHUP. Guests that run then go on.

    Args:
        ready: how many children wait.
        command: runs a command line and returns its exit status (`cli.main`).
        say: writes a line to stderr.
        config: the machine that each child makes beforehand, if not None.

    Returns:
        The exit status.

    Raises:
        UsageError: somebody serves already, or it cannot be here.
        HostError: the socket cannot be made, or KVM not be used.
    """
    if "pyvmm.command.launch" not in sys.modules:
        raise UsageError("warm: this pyvmm is a script, and only its executable knows how to ask for it")
    status = _rehearse(command, _REHEARSALS)
    if status:
        return status
    if config:
        Machine(config).close()  # or it tells why it cannot be
    gc.collect()
    gc.freeze()
    path = _path()
    host = UnixHost(path, 128, "warm:")
    try:
        return _Nursery(host, ready, (command, say, config)).run(lambda: say(f"warm: {ready} guests ready at {path}"))
    finally:
        host.close()


def _path() -> str:
    """Where the socket is to be, in a directory that is this user's alone."""
    address = ffi.new("struct sockaddr_un *")
    if not lib.warm_address(address):
        raise UsageError("warm: XDG_RUNTIME_DIR is too long for a socket in it")
    path = os.fsdecode(ffi.string(address.sun_path))
    directory = os.path.dirname(path)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise HostError(f"warm: {directory}", error.errno or 0) from None
    status = os.lstat(directory)
    if status.st_uid != os.geteuid() or status.st_mode & 0o170022 != 0o040000:
        raise UsageError(f"warm: {directory}: not a directory that only you may write to")
    return path


def _rehearse(command: Command, times: int) -> int:
    """Boots a guest that ends at once, so that all that takes is loaded and used before.

    Returns:
        The exit status; if it is not 0, the reason has been told.
    """
    code = bytes.fromhex("31c0 e6f4 f4 ebfd")  # xor eax, eax; out 0xf4, al; hlt; jmp $ - 1
    fd = os.memfd_create("rehearsal", os.MFD_CLOEXEC)
    try:
        os.write(fd, tiny_image(code))
        status = 0
        for _ in range(times):
            status = status or command(["boot", f"/proc/self/fd/{fd}"], {})
    finally:
        os.close(fd)
    return status


class _Nursery:
    """The children that wait, and their parent.

    Each child writes to a pipe, as a signed 32-bit number, minus its pid when it is
    ready and its pid when it has been taken.
    """

    def __init__(self, host: UnixHost, ready: int, service: Service) -> None:
        self._host = host
        self._wanted = ready
        self._service = service
        self._waiting: set[int] = set()
        self._ready: set[int] = set()
        self._status = 0

    def run(self, begin: Callable[[], None]) -> int:
        """Keeps as many children as wanted until a signal comes; returns the exit status.

        Args:
            begin: called once they are ready for the first time.
        """
        told, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signals = lib.signal_fd([*_SIGNALS], len(_SIGNALS))
        self._inherited = (told, signals)
        self._begin: Callable[[], None] | None = begin
        loop = EventLoop()
        loop.add(told, lambda: self._told(told))
        loop.add(signals, lambda: self._signalled(signals, loop))
        self._fill()
        loop.run()
        self._told(told)
        for pid in self._waiting:
            os.kill(pid, signal.SIGKILL)
        return self._status

    def _fill(self) -> None:
        while len(self._waiting) < self._wanted:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                _Child(self._host, self._tell, self._inherited, self._service, parent).run()
            self._waiting.add(pid)

    def _told(self, fd: int) -> None:
        try:
            data = os.read(fd, 4096)
        except BlockingIOError:
            return
        numbers = [int.from_bytes(data[i : i + 4], "little", signed=True) for i in range(0, len(data), 4)]
        self._ready |= {-number for number in numbers if number < 0}
        if self._begin and len(self._ready) >= self._wanted:
            self._begin()
            self._begin = None
        self._lose({number for number in numbers if number > 0})

    def _lose(self, pids: set[int]) -> None:
        """Those have been taken or have died: there must be others."""
        self._ready -= pids
        self._waiting -= pids
        if not self._status and len(self._waiting) < self._wanted:
            time.sleep(_PAUSE_SECONDS)
            self._fill()

    def _signalled(self, fd: int, loop: EventLoop) -> None:
        number = int.from_bytes(os.read(fd, 128)[:4], "little")
        if number in _ENDING:
            self._status = 128 + number
            loop.stop()
            return
        ended = set()
        try:
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                ended.add(pid)
        except ChildProcessError:
            pass
        self._lose(ended)


class _Child:
    """A process that waits for one client. It never returns to its parent's code."""

    def __init__(self, host: UnixHost, tell: int, inherited: tuple[int, ...], service: Service, parent: int) -> None:
        self._host = host
        self._tell = tell
        self._inherited = inherited
        self._command, self._say, self._config = service
        self._parent = parent

    def run(self) -> None:
        """Waits, serves and ends."""
        status = 125
        try:
            lib.warm_die_with(self._parent)
            os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for fd in self._inherited:
                os.close(fd)
            lib.warm_populate()
            lib.warm_know_myself()
            _rehearse(self._command, 2)
            prepare_any()
            self._keep_loaded()
            self._tell_parent(-os.getpid())
            status = self._serve()
        except PyvmmError:
            pass
        finally:
            os._exit(status)

    def _keep_loaded(self) -> None:
        """Makes the machine of the command, if there is one and its image is there now."""
        self._ready: ReadyMachine | None = None
        if self._config:
            try:
                self._ready = ReadyMachine(self._config, self._say)
            except PyvmmError:  # who asks for it is told
                pass

    def _tell_parent(self, number: int) -> None:
        os.write(self._tell, number.to_bytes(4, "little", signed=True))

    def _serve(self) -> int:
        words_count, started = ffi.new("uint32_t *"), ffi.new("uint64_t *")
        client = lib.warm_accept(self._host.fd)
        strings = lib.warm_serve(client, words_count, started)
        self._tell_parent(os.getpid())
        if not strings:
            return 125
        lib.warm_die_with(0)
        words = []
        for _ in range(words_count[0]):
            word = ffi.string(strings)
            words.append(os.fsdecode(word))
            strings += len(word) + 1
        marks = {"process start": started[0], "interpreter ready": time.monotonic_ns()}

        def ended(status: int) -> None:
            lib.warm_reply(client, lib.WARM_ENDED, status)

        status = self._command(words, marks, ended, self._ready.take if self._ready else lambda _: None)
        ended(status)  # of a mistake; a guest's has been told
        return status
