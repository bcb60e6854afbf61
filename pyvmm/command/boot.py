"""`pyvmm boot`: from its options to the end of the guest."""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond

from pyvmm.command.options import DEVICES, number, only_operand, parse
from pyvmm.errors import ConfigError, GuestError, PyvmmError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyvmm.boot.file import File
    from pyvmm.command.operate import Operation
    from pyvmm.command.signals import Signals
    from pyvmm.config import MachineConfig
    from pyvmm.crash.recorder import Recorder
    from pyvmm.eventloop import Loop
    from pyvmm.gdb.server import GdbServer
    from pyvmm.host.sandbox.confine import Sandbox
    from pyvmm.machine import Machine
    from pyvmm.state.cache import Entry
    from pyvmm.trace.recorder import Recorder as Tracer
    from pyvmm.virtio.device import Device

    Log = Callable[[str], None]


_STDIN, _STDOUT = 0, 1
_GUEST_LINES_MAX = 100
_LISTED_AFTER_NS = 100_000_000  # as in entry.c
#: As `operate.OPTIONS`, which is not loaded for all others.
_OPERATED = ("--name", "--detach", "--metrics", "--ready-fd", "--json-events", "--net")
_ANY = "::"  # IPv4 as well
_WATCHDOG_MAX = 86400
_NOT_FROZEN = ("--mem", "--cpus", "--append", "--boot", "--initrd")


def boot(
    words: list[str],
    say: Log,
    marks: dict[str, int],
    ended: Callable[[int], object],
    thawed: int,
    cache: tuple[str, str, bytes],
    listed: tuple[str, int, int],
) -> int:
    """Boots a guest, and runs it to its end.

    Args:
        words: what follows the command.
        say: writes a line to stderr.
        marks, ended, thawed, cache, listed: see `cli.main`.

    Returns:
        The guest's exit status.

    Raises:
        PyvmmError: it cannot be booted, or cannot go on.
    """
    operands, options, repeated = parse("boot", words)
    image = only_operand("boot", operands)
    if "--log-format" in options:
        _set_log_format(options["--log-format"])
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
    from pyvmm.command.confined import allow_entry, sandbox_of

    sandbox = sandbox_of(options, repeated)
    log = limited(say, _GUEST_LINES_MAX)
    operations: list[Operation] = []
    if listed[0] or b"NOTIFY_SOCKET" in os.environ or any(name in options for name in _OPERATED):
        from pyvmm.command.operate import Operation

        operations.append(Operation(image, options, say, listed))
    try:
        if sandbox and operations:
            allow_entry(sandbox, operations[0].entry)
        return _boot(image, config, options, repeated, say, log, marks, ended, thawed, cache, operations, sandbox)
    except PyvmmError:
        if sandbox:
            sandbox.fails()
        raise
    finally:
        for operation in operations:
            operation.close()


def _boot(
    image: str, config: MachineConfig, options: dict[str, str], repeated: dict[str, list[str]], say: Log, log: Log,
    marks: dict[str, int], ended: Callable[[int], object], thawed: int, cache: tuple[str, str, bytes],
    operations: list[Operation], sandbox: Sandbox | None,
) -> int:  # fmt: skip
    timing = options.get("--timing")
    if "--cgroup" in options:
        from pyvmm.host.cgroup import join

        join(options["--cgroup"])
    address = "127.0.0.1"
    if "--net" in options or "--netns" in options:
        from pyvmm.command.net import enter

        address = _ANY  # of the guest's own
        network = enter(options, operations[0].name if operations else "")
        for operation in operations:
            operation.network = network
    devices: Sequence[Device] = ()
    for option in DEVICES:
        if option[0] in options or repeated.get(option[0]):
            from pyvmm.command.devices import open_devices

            devices = open_devices(config, options, repeated, say, log, address)
            break

    from pyvmm._kvm import ffi
    from pyvmm.command.confined import image_of, open_for_later
    from pyvmm.command.signals import Signals
    from pyvmm.machine import Machine, now_ns
    from pyvmm.state.cache import Entry

    marks["imports done"] = now_ns()
    native = ffi.cast("struct machine *", thawed) if thawed else None
    files = [path for path in (image, options.get("--initrd")) if path]
    entry = Entry(*cache, files) if cache[0] and "--no-cache" not in options else None
    detached = operations[0].console if operations else None
    streams = (detached.input, detached.output) if detached else (_STDIN, _STDOUT)
    with Machine(config, devices, log, streams, native, entry.take if entry else _ignore) as machine:
        frozen = _freeze_later(machine, options["--freeze"], say) if "--freeze" in options else ""
        debugger = _gdb(machine, options["--gdb"], image, say) if "--gdb" in options else None
        open_image = (lambda: image_of(sandbox, image)) if sandbox else None
        recorder = None
        if "--crash" in options or "--watchdog" in options:
            recorder = _recorder(machine, image, options, say, open_image)
        if "-v" in options:
            how = "from a State that was there" if machine.is_thawed else "composed of its image"
            say(f"{image}: {how}; {machine.memory.size >> 20} MiB, {machine.cpus} vCPUs")
            for guest_port, (address, port) in machine.ports.items():
                say(f"port {port} of {address} leads to port {guest_port} of the guest")
        for operation in operations:
            operation.describe(machine)
        if sandbox:
            if entry:
                sandbox.first.append(entry.store)
            sandbox.first.append(lambda: open_for_later(sandbox, image, bool(operations)))
        with Signals(machine) as signals:
            tracer = None
            try:
                if repeated["--trace"]:
                    tracer = _tracer(machine, repeated["--trace"], say)
                status = machine.run(
                    lambda loop: _running(
                        machine, signals, loop, entry, debugger, recorder, image, operations, sandbox
                    ),
                    sandbox,
                )
                if recorder:
                    recorder.ended(status)
                for operation in operations:
                    operation.ended(status, machine.ending)
            except GuestError as error:
                recorder = recorder or _recorder(machine, image, {}, say, open_image)
                recorder.failed(error)
                for operation in operations:
                    operation.ended(error.status, "crash")
                return error.status
            except PyvmmError as error:
                if detached:  # its log ends before this error is told
                    say(str(error))
                for operation in operations:
                    operation.ended(error.status, "crash")
                raise
            finally:
                if recorder:
                    recorder.close()
                if tracer:
                    tracer.finish()
                if debugger:
                    debugger.close()
                if timing is not None:
                    from pyvmm.command.timing import Timeline

                    Timeline(machine, marks).report(timing, sandbox.report if sandbox else -1)
            machine.release()
            if sandbox:
                sandbox.close()
            if frozen and not machine.was_frozen:
                say(f"the guest has ended before it was frozen; {frozen} was not written")
        if "-v" in options:
            exits = sum(machine.measures.exits().values())
            say(f"the guest has ended with status {status}, after {exits} exits, by {machine.ending}")
        ended(status)
    return status


def _set_log_format(name: str) -> None:
    from pyvmm.command import cli

    if name not in ("text", "json"):
        raise UsageError(f"--log-format {name}: not text or json")
    cli.log_format = name


def _ignore(_: object) -> None:
    """The State of a guest that is not to be cached, or what need not be said."""


def _freeze_later(machine: Machine, target: str, say: Log) -> str:
    """Has the guest frozen when it is idle; returns the file's path."""
    path = target.removesuffix(":continue")
    if not path.rpartition("/")[2]:
        raise UsageError(f"--freeze {target}: not a file")
    machine.freeze_when_idle(path, path == target, lambda: say(f"frozen to {path}"))
    return path


def _gdb(machine: Machine, target: str, image: str, say: Log) -> GdbServer:
    from pyvmm.gdb.server import SCRIPT, GdbServer

    server = GdbServer(machine, target, say)
    if server.waits:
        script = f" -x {SCRIPT}" if machine.is_toro else ""
        say(f"the guest waits for GDB: gdb{script} -ex 'target remote {server.place}' {image}")
    return server


def _recorder(
    machine: Machine, image: str, options: dict[str, str], say: Log, open_image: Callable[[], File | None] | None
) -> Recorder:
    from pyvmm.crash.recorder import Recorder

    seconds = number("--watchdog", options["--watchdog"]) if "--watchdog" in options else 0
    if "--watchdog" in options and not 1 <= seconds <= _WATCHDOG_MAX:
        raise UsageError(f"--watchdog {options['--watchdog']}: not 1 to {_WATCHDOG_MAX} seconds")
    if options.get("--crash") == "":
        raise UsageError("--crash: needs a directory")
    return Recorder(machine, image, options.get("--crash", ""), seconds, say, open_image)


def _tracer(machine: Machine, wanted: list[str], say: Log) -> Tracer:
    from pyvmm.trace.recorder import Recorder

    return Recorder(machine, wanted, say)


def _running(
    machine: Machine, signals: Signals, loop: Loop, entry: Entry | None, debugger: GdbServer | None,
    recorder: Recorder | None, image: str, operations: list[Operation], sandbox: Sandbox | None,
) -> None:  # fmt: skip
    """What is due once the guest runs."""
    import gc

    gc.freeze()  # what has been made so far stays
    gc.enable()  # the executable starts without
    signals.attach(loop)
    if debugger:
        debugger.attach(loop)
    if recorder:
        recorder.attach(loop)
    if operations:
        operations[0].attach(loop, machine)
    if sandbox.stays if sandbox else not operations:
        _list_later(machine, loop, image, operations, sandbox)
    if entry:
        entry.store()


def _list_later(machine: Machine, loop: Loop, image: str, operations: list[Operation], sandbox: Sandbox | None) -> None:
    """Has a guest that runs for a while listed in the registry, and its main thread give up what only the start needs.

    Most guests end before that would be worth it.
    """
    from pyvmm._kvm import lib

    timer: int = lib.timer_fd(_LISTED_AFTER_NS)
    if timer < 0:
        if sandbox:
            sandbox.settle()
        return

    def settle() -> None:
        loop.remove(timer)
        os.close(timer)
        if not operations:
            _enlist(machine, loop, image, operations, sandbox)
        if sandbox:
            sandbox.settle()

    loop.add(timer, settle)


def _enlist(machine: Machine, loop: Loop, image: str, operations: list[Operation], sandbox: Sandbox | None) -> None:
    try:
        from pyvmm.command.operate import Operation

        operations.append(Operation(image, {}, _ignore, registry=sandbox.registry if sandbox else -1))
        operations[0].describe(machine)
        operations[0].attach(loop, machine)
        if sandbox:
            sandbox.listed_as(operations[0].entry.directory)
    except (ImportError, OSError, PyvmmError):  # it runs all the same
        while operations:
            operations.pop().close()


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
