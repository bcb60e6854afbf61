"""`pyvmm boot`: from its options to the end of the guest."""

from __future__ import annotations

from pyvmm.command.options import DEVICES, number, only_operand, parse
from pyvmm.errors import ConfigError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from pyvmm.command.signals import Signals
    from pyvmm.config import MachineConfig
    from pyvmm.control.server import Control
    from pyvmm.eventloop import Loop
    from pyvmm.gdb.server import GdbServer
    from pyvmm.machine import Machine
    from pyvmm.state.cache import Entry
    from pyvmm.state.state import State
    from pyvmm.virtio.device import Device

    Log = Callable[[str], None]

    class Server(Protocol):
        """Serves other processes while the guest runs."""

        def attach(self, loop: Loop) -> None: ...
        def close(self) -> None: ...


_STDIN, _STDOUT = 0, 1
_GUEST_LINES_MAX = 100
_NOT_FROZEN = ("--mem", "--cpus", "--append", "--boot", "--initrd")


def boot(
    words: list[str],
    say: Log,
    marks: dict[str, int],
    ended: Callable[[int], object],
    thawed: int,
    cache: tuple[str, str, bytes],
) -> int:
    """Boots a guest, and runs it to its end.

    Args:
        words: what follows the command.
        say: writes a line to stderr.
        marks, ended, thawed, cache: see `cli.main`.

    Returns:
        The guest's exit status.

    Raises:
        PyvmmError: it cannot be booted, or cannot go on.
    """
    operands, options, repeated = parse("boot", words)
    image = only_operand("boot", operands)
    timing = options.get("--timing")
    if timing is not None:
        from pyvmm._kvm import lib

        marks["process start"] = lib.process_start_ns()
        if timing and not timing.endswith((".json", ".svg")):
            raise UsageError(f"--timing={timing}: the file's name must end in .json or .svg")
    from pyvmm.boot.file import is_frozen

    if is_frozen(image):
        for name in _NOT_FROZEN:
            if name in options:
                raise UsageError(f"{name}: {image} is a frozen guest, which has what it was booted with")
    config = machine_config(image, options)
    log = limited(say, _GUEST_LINES_MAX)
    devices: Sequence[Device] = ()
    for option in DEVICES:
        if option[0] in options or repeated.get(option[0]):
            from pyvmm.command.devices import open_devices

            devices = open_devices(config, options, repeated, say, log)
            break

    from pyvmm._kvm import ffi
    from pyvmm.command.signals import Signals
    from pyvmm.machine import Machine, now_ns
    from pyvmm.state.cache import Entry

    marks["imports done"] = now_ns()
    native = ffi.cast("struct machine *", thawed) if thawed else None
    files = [path for path in (image, options.get("--initrd")) if path]
    entry = Entry(*cache, files) if cache[0] and "--no-cache" not in options else None
    with Machine(config, devices, log, (_STDIN, _STDOUT), native, entry.take if entry else _ignore) as machine:
        frozen = _freeze_later(machine, options["--freeze"], say) if "--freeze" in options else ""
        servers: list[Server] = []
        if "--name" in options:
            servers.append(_control(machine, options["--name"]))
        if "--gdb" in options:
            servers.append(_gdb(machine, options["--gdb"], image, say))
        with Signals(machine) as signals:
            try:
                status = machine.run(lambda loop: _running(signals, loop, entry, servers))
            finally:
                for server in servers:
                    server.close()
                if timing is not None:
                    from pyvmm.command.timing import Timeline

                    Timeline(machine, marks).report(timing)
            machine.release()
            if frozen and not machine.was_frozen:
                say(f"the guest has ended before it was frozen; {frozen} was not written")
        ended(status)
    return status


def _ignore(state: State) -> None:
    """The State of a guest that is not to be cached."""


def _freeze_later(machine: Machine, target: str, say: Log) -> str:
    """Has the guest frozen when it is idle; returns the file's path."""
    path = target.removesuffix(":continue")
    if not path.rpartition("/")[2]:
        raise UsageError(f"--freeze {target}: not a file")
    machine.freeze_when_idle(path, path == target, lambda: say(f"frozen to {path}"))
    return path


def _control(machine: Machine, name: str) -> Control:
    from pyvmm.control.server import Control

    return Control(machine, name)


def _gdb(machine: Machine, target: str, image: str, say: Log) -> GdbServer:
    from pyvmm.gdb.server import SCRIPT, GdbServer

    server = GdbServer(machine, target, say)
    if server.waits:
        script = f" -x {SCRIPT}" if machine.is_toro else ""
        say(f"the guest waits for GDB: gdb{script} -ex 'target remote {server.place}' {image}")
    return server


def _running(signals: Signals, loop: Loop, entry: Entry | None, servers: Sequence[Server]) -> None:
    """What is due once the guest runs."""
    import gc

    gc.freeze()  # what has been made so far stays
    gc.enable()  # the executable starts without
    signals.attach(loop)
    for server in servers:
        server.attach(loop)
    if entry:
        entry.store()


def machine_config(image: str, options: dict[str, str]) -> MachineConfig:
    """The machine that the options of `boot` describe.

    Raises:
        UsageError, ConfigError: there is no such machine.
    """
    from pyvmm.config import MachineConfig, parse_size

    memory, cpus, cid = options.get("--mem", "128M"), options.get("--cpus", "1"), options.get("--vsock")
    try:
        memory_bytes = parse_size(memory)
    except ValueError:
        raise UsageError(f"--mem {memory}: not a size such as 512M or 2G") from None
    try:
        return MachineConfig(
            image,
            memory_bytes,
            number("--cpus", cpus),
            options.get("--pin", ""),
            options.get("--append", ""),
            None if cid is None else number("--vsock", cid),
            options.get("--boot"),
            options.get("--initrd", ""),
        )
    except ConfigError as error:
        if error.parameter == "memory":  # as it was typed
            error.value = memory
        raise


def limited(log: Log, lines: int) -> Log:
    """A `log` that a guest cannot flood: it ends after so many lines, and says so."""
    left = lines

    def write(text: str) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            log(text)
        elif left == -1:
            log(f"those were {lines} lines about this guest; there will be no more")

    return write
