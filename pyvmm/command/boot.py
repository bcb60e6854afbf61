"""`pyvmm boot`: from its options to the end of the guest."""

from __future__ import annotations

from pyvmm.command.options import DEVICES, number, only_operand, parse
from pyvmm.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyvmm.command.signals import Signals
    from pyvmm.config import MachineConfig
    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine
    from pyvmm.virtio.device import Device

    Log = Callable[[str], None]

_STDIN, _STDOUT = 0, 1
_GUEST_LINES_MAX = 100


def boot(
    words: list[str],
    say: Log,
    marks: dict[str, int],
    ended: Callable[[int], object],
    ready: Callable[[MachineConfig], Machine | None],
) -> int:
    """Boots a guest, and runs it to its end.

    Args:
        words: what follows the command.
        say: writes a line to stderr.
        marks, ended, ready: see `cli.main`.

    Returns:
        The guest's exit status.

    Raises:
        PyvmmError: it cannot be booted, or cannot go on.
    """
    operands, options, repeated = parse("boot", words)
    image = only_operand("boot", operands)
    timing = options.get("--timing")
    if timing is not None:
        if "process start" not in marks:
            from pyvmm.command.timing import process_start_ns

            marks["process start"] = process_start_ns()
        if timing and not timing.endswith((".json", ".svg")):
            raise UsageError(f"--timing={timing}: the file's name must end in .json or .svg")
    config = machine_config(image, options)
    log = limited(say, _GUEST_LINES_MAX)
    devices: Sequence[Device] = ()
    for option in DEVICES:
        if option[0] in options or repeated.get(option[0]):
            from pyvmm.command.devices import open_devices

            devices = open_devices(config, options, repeated, say, log)
            break

    from pyvmm.command.signals import Signals
    from pyvmm.machine import Machine, now_ns

    marks["imports done"] = now_ns()
    with (not devices and ready(config)) or Machine(config, devices, log, (_STDIN, _STDOUT)) as machine:
        with Signals(machine) as signals:
            try:
                status = machine.run(lambda loop: _running(signals, loop))
            finally:
                if timing is not None:
                    from pyvmm.command.timing import Timeline

                    Timeline(machine, marks).report(timing)
            machine.release()
        ended(status)
    return status


def _running(signals: Signals, loop: Loop) -> None:
    """What is due once the guest runs."""
    import gc

    gc.freeze()  # what has been made so far stays
    gc.enable()  # the executable starts without
    signals.attach(loop)


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
