"""The `pyvmm` command: the words a user types, and the messages and status he gets.

The parser is a table and a loop, because argparse takes longer to import than
a guest takes to boot.
"""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond
import sys

from pyvmm.errors import STATUS_INTERRUPTED, STATUS_PYVMM_FAILED, ConfigError, HostError, PyvmmError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.command.signals import Signals
    from pyvmm.config import MachineConfig
    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine
    from pyvmm.virtio.device import Device
    from pyvmm.virtio.vsock import Vsock

USAGE = """\
pyvmm: boots Toro unikernels on KVM

    pyvmm boot IMAGE [OPTION...]      boot an ELF image; its console is stdin and stdout
    pyvmm build SOURCE [OPTION...]    compile a Toro application (Pascal, or MPI in C) to an ELF image
    pyvmm warm [IMAGE] [OPTION...]    stay, and make later `pyvmm boot` of this user start sooner
    pyvmm bench NAME [OPTION...]      measure boot, exits, vsock, fs, kernel or density; --help
                                      behind the name tells its options
    pyvmm --version | --help

Options of boot:
    --mem SIZE        guest memory, 16M to 512G (128M)
    --cpus N          number of vCPUs (1)
    --pin LIST        one host CPU for each vCPU: `0,2-3`, or `auto`
    --append TEXT     the guest's command line
    --boot PROTOCOL   direct, toro-fast, pvh or linux: the first of them that the image
                      offers
    --initrd FILE     an initial RAM disk (pvh, linux)
    --vsock CID       a vsock device; CID is the guest's context id, 3 or more
    -p [ADDR:]HOSTPORT:GUESTPORT
                      a TCP port of the host (of 127.0.0.1; 0 is any) that leads to the
                      guest's vsock port; repeatable
    --allow PORT[=HOST:PORT] | all
                      a port of CID 2 that the guest may connect to, and where it leads
                      (127.0.0.1:PORT); repeatable
    --vsock-uds PATH  a unix socket whose clients write `CONNECT PORT`, as Firecracker's;
                      the guest's connections to port P of CID 2 reach PATH_P
    --vsock-backlog N clients that may wait at each port while the guest starts (1024)
    --console virtio=file:PATH | virtio=unix:PATH | virtio=pty
                      a virtio-console, beside the UART, that leads to a file, to a client
                      of a unix socket, or to a pseudo-terminal whose name is told
    --share DIR:TAG[:ro][:cache=auto|always|none][:restart=no]
                      a directory of the host, as the virtio-fs device TAG, through virtiofsd;
                      repeatable
    --share socket=PATH:TAG
                      the same through a vhost-user backend that listens at PATH
    --timing[=FILE]   how long each step of the start took: a table on stderr, or FILE
                      as .json or .svg

Options of build:
    -o FILE           where the image goes (SOURCE with .elf)
    -d SYMBOL         a symbol that is defined for the compiler; repeatable
    -g                with debug information, for GDB, and not optimized

Options of warm:
    --ready N         how many guests may be asked for at once (2)
    With an IMAGE, and options of boot that are not devices, guests of just that command
    are kept loaded.

Exit status: the guest's own; 124 when a vCPU cannot go on (triple fault and the like),
125 when pyvmm failed or was misused, 130 after Ctrl-C, 143 after SIGTERM or SIGHUP.
"""


class _Arguments:
    """A command line, split by what a command knows.

    Args:
        words: what follows the command.
        valued: options that take a value: `--mem 1G` or `--mem=1G`.
        optional: options that may take one: `--timing` or `--timing=FILE`.
        repeatable: options with a value that may come more than once.
    """

    def __init__(
        self, words: list[str], valued: set[str], optional: set[str], repeatable: frozenset[str] = frozenset()
    ) -> None:
        self.positional: list[str] = []
        self.options: dict[str, str] = {}
        self.repeated: dict[str, list[str]] = {name: [] for name in repeatable}
        rest = iter(words)
        for word in rest:
            name, equals, value = word.partition("=")
            if word == "--":
                self.positional += rest
            elif word[:1] != "-" or word == "-":
                self.positional.append(word)
            elif name in self.options:
                raise UsageError(f"{name}: given twice")
            elif name in optional:
                self.options[name] = value
                if equals and not value:
                    raise UsageError(f"{name}=: needs a value after the =")
            elif name not in valued | repeatable:
                raise UsageError(f"{name}: no such option{_suggestion(name, valued | optional | repeatable)}")
            else:
                following = value if equals else next(rest, None)
                if following is None:
                    raise UsageError(f"{name}: needs a value")
                if name in repeatable:
                    self.repeated[name].append(following)
                else:
                    self.options[name] = following

    def only_positional(self, what: str) -> str:
        """The one positional argument."""
        if not self.positional:
            raise UsageError(f"{what} is missing; try `pyvmm --help`")
        if len(self.positional) > 1:
            raise UsageError(f"{self.positional[1]}: one {what} at a time")
        return self.positional[0]


def _suggestion(word: str, known: set[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else "; try `pyvmm --help`"


def _boot(
    words: list[str],
    marks: dict[str, int],
    ended: Callable[[int], object],
    ready: Callable[[MachineConfig], Machine | None],
) -> int:
    arguments = _Arguments(words, _BOOT_VALUED, {"--timing"}, _BOOT_REPEATABLE)
    options = arguments.options
    image = arguments.only_positional("IMAGE")
    timing = options.get("--timing")
    if timing is not None:
        if "process start" not in marks:
            from pyvmm.command.timing import process_start_ns

            marks["process start"] = process_start_ns()
        if timing and not timing.endswith((".json", ".svg")):
            raise UsageError(f"--timing={timing}: the file's name must end in .json or .svg")
    config = _config(image, options)
    log = limited(say, _GUEST_LINES_MAX)
    devices = _devices(config, arguments, log)

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


def _devices(config: MachineConfig, arguments: _Arguments, log: Callable[[str], None]) -> list[Device]:
    """The devices that the options ask for."""
    options, repeated = arguments.options, arguments.repeated
    target = options.get("--console")
    if config.vsock is None:
        for name in _BOOT_VSOCK:
            if repeated.get(name) or name in options:
                raise UsageError(f"{name} needs a vsock device: --vsock CID")
    if target is not None and not target.startswith("virtio="):
        raise UsageError(f"--console {target}: not virtio=file:PATH, virtio=unix:PATH or virtio=pty")
    devices: list[Device] = []
    if target is None and config.vsock is None and not repeated["--share"]:
        return devices
    from pyvmm import api

    try:
        if target is not None:
            devices.append(api.console(target.removeprefix("virtio="), say, log))
        if config.vsock is not None:
            devices.append(_vsock(config.vsock, arguments, log))
        devices += api.shares(repeated["--share"], log)
    except BaseException:
        for device in devices:
            device.close()
        raise
    return devices


def _config(image: str, options: dict[str, str]) -> MachineConfig:
    """What a machine is to be, of the options of `boot`."""
    from pyvmm.config import MachineConfig, parse_size

    memory, cpus = options.get("--mem", "128M"), options.get("--cpus", "1")
    try:
        memory_bytes = parse_size(memory)
    except ValueError:
        raise UsageError(f"--mem {memory}: not a size such as 512M or 2G") from None
    if not (cpus.isascii() and cpus.isdigit() and len(cpus) < 6):
        raise UsageError(f"--cpus {cpus}: not a number")
    return MachineConfig(
        image,
        memory_bytes,
        int(cpus),
        options.get("--pin", ""),
        options.get("--append", ""),
        _parse_cid(options.get("--vsock")),
        options.get("--boot"),
        options.get("--initrd", ""),
    )


def _parse_cid(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(f"--vsock {text}: not a number")
    return int(text)


def _vsock(cid: int, arguments: _Arguments, log: Callable[[str], None]) -> Vsock:
    """The vsock device, which may have a descriptor for each connection."""
    from pyvmm import api
    from pyvmm._kvm import lib

    backlog = arguments.options.get("--vsock-backlog", "1024")
    if not (backlog.isascii() and backlog.isdigit() and len(backlog) < 10):
        raise UsageError(f"--vsock-backlog {backlog}: not a number")
    lib.raise_descriptor_limit(lib.VSOCK_STREAMS + _OTHER_DESCRIPTORS)
    publish, allow = arguments.repeated["-p"], arguments.repeated["--allow"]
    device = api.vsock(cid, publish, allow, arguments.options.get("--vsock-uds"), int(backlog), log)
    for text, (address, port, guest_port) in zip(publish, device.ports, strict=True):
        if f":{text}".rsplit(":", 2)[1] == "0":
            say(f"port {port} of {address} is port {guest_port} of the guest")
    return device


def _build(words: list[str], *_: object) -> int:
    from pyvmm.toolchain.build import build

    arguments = _Arguments(words, {"-o"}, {"-g"}, frozenset({"-d"}))
    options = arguments.options
    if options.get("-g"):
        raise UsageError(f"-g={options['-g']}: -g takes no value")
    build(arguments.only_positional("SOURCE"), options.get("-o"), arguments.repeated["-d"], "-g" in options)
    return 0


def _warm(words: list[str], *_: object) -> int:
    from pyvmm.command.warm import serve

    arguments = _Arguments(words, {"--ready", *_BOOT_VALUED}, set(), _BOOT_REPEATABLE)
    options = arguments.options
    ready = options.pop("--ready", "2")
    if not (ready.isascii() and ready.isdigit() and 1 <= int(ready[:9]) <= _READY_MAX):
        raise UsageError(f"--ready {ready}: not 1 to {_READY_MAX}")
    given = [*options, *(name for name, values in arguments.repeated.items() if values)]
    for name in given:
        if name in _BOOT_DEVICES:
            raise UsageError(f"warm: {name}: a guest with devices is not made beforehand; leave out the IMAGE")
        if not arguments.positional:
            raise UsageError(f"warm: {name} is of no use without an IMAGE")
    config = _config(arguments.only_positional("IMAGE"), options) if arguments.positional else None
    return serve(int(ready), main, say, config)


def _bench(words: list[str], *_: object) -> int:
    from pyvmm.command.bench import bench

    bench(words)
    return STATUS_PYVMM_FAILED


_STDIN, _STDOUT, _STDERR = 0, 1, 2
_SHORTAGES = _ENOMEM, _ENFILE, _EMFILE = 12, 23, 24
_READY_MAX = 64
_GUEST_LINES_MAX = 100
_OTHER_DESCRIPTORS = 1024  # than those of connections
_BOOT_VSOCK = ("-p", "--allow", "--vsock-uds", "--vsock-backlog")
_BOOT_DEVICES = ("--vsock", *_BOOT_VSOCK, "--console", "--share")
_BOOT_VALUED = {
    *("--mem", "--cpus", "--pin", "--append", "--boot", "--initrd"),
    *("--vsock", "--vsock-uds", "--vsock-backlog", "--console"),
}
_BOOT_REPEATABLE = frozenset({"-p", "--allow", "--share"})
#: The option that each parameter of a `ConfigError` is given by.
_OPTIONS = {
    "memory": "--mem ",
    "cpus": "--cpus ",
    "pin": "--pin ",
    "command_line": "--append ",
    "boot": "--boot ",
    "initrd": "--initrd ",
    "vsock": "--vsock ",
    "publish": "-p ",
    "allow": "--allow ",
    "unix": "--vsock-uds ",
    "backlog": "--vsock-backlog ",
    "console": "--console virtio=",
    "share": "--share ",
    "warm:": "warm: ",
}
COMMANDS: dict[str, Callable[..., int]] = {
    "boot": _boot,
    "build": _build,
    "warm": _warm,
    "bench": _bench,
}


def main(
    words: list[str],
    marks: dict[str, int],
    ended: Callable[[int], object] = lambda _: None,
    ready: Callable[[MachineConfig], Machine | None] = lambda _: None,
) -> int:
    """Runs one command.

    Args:
        words: the command line without the program's name.
        marks: what is known of the process's start (see `timing.STEPS`), CLOCK_MONOTONIC in ns.
        ended: called with a guest's exit status as soon as there is nothing left that others may notice.
        ready: returns a machine that has been made beforehand, if there is such a one.

    Returns:
        The exit status.
    """
    try:
        if not words:
            raise UsageError("which command? try `pyvmm --help`")
        if words[0] in ("--help", "-h", "help"):
            return _tell(USAGE)
        if words[0] == "--version":
            from pyvmm import __version__

            return _tell(f"pyvmm {__version__}\n")
        if words[0] not in COMMANDS:
            raise UsageError(f"{words[0]}: no such command{_suggestion(words[0], set(COMMANDS))}")
        asked = words[1:2] if words[0] == "bench" else words[1:]  # a benchmark's options are its own
        if "--help" in asked or "-h" in asked:
            return _tell(USAGE)
        return COMMANDS[words[0]](words[1:], marks, ended, ready)
    except ConfigError as error:
        say(f"{(_OPTIONS[error.parameter] + str(error.value)).rstrip()}: {error.reason}")
        return error.status
    except PyvmmError as error:
        say(str(error))
        return error.status
    except ImportError as error:  # no descriptor or memory left, or an installation that is damaged
        say(str(error))
        return STATUS_PYVMM_FAILED
    except OSError as error:  # in the import system, as a rule
        if error.errno not in _SHORTAGES:
            raise
        say(str(HostError(str(error.filename or words[0]), error.errno)))
        return STATUS_PYVMM_FAILED
    except KeyboardInterrupt:
        return STATUS_INTERRUPTED


def _tell(text: str) -> int:
    """Writes what was asked for to stdout; returns the exit status. Nobody reading it is no error."""
    try:
        _write(_STDOUT, text)
    except BrokenPipeError:
        pass
    except OSError as error:
        raise HostError("stdout", error.errno or 0) from None
    return 0


def say(text: str) -> None:
    """Writes pyvmm's own messages to stderr, prefixed; nobody listening is no error.

    What a file's name may hold besides text neither breaks the line nor reaches
    the terminal.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    try:
        _write(_STDERR, f"pyvmm: {text}\n")
    except OSError:
        pass


def _write(fd: int, text: str) -> None:
    """All of it, whatever Python has of sys.stdout (see `_launch.py`)."""
    rest = text.encode(errors="backslashreplace")
    while rest:
        rest = rest[os.write(fd, rest) :]


def limited(log: Callable[[str], None], lines: int) -> Callable[[str], None]:
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


def run(started: int) -> None:
    """Runs the process's command line and ends the process.

    It does not return to the interpreter, whose own end takes a millisecond.

    Args:
        started: CLOCK_MONOTONIC in ns when the interpreter reached pyvmm.
    """
    status = main(sys.argv[1:], {"interpreter ready": started}, os._exit)
    if sys.stdout:
        try:
            sys.stdout.flush()
        except OSError:
            pass
    os._exit(status)
