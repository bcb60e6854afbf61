"""The `pyvmm` command: dispatch, messages and exit status."""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond
import sys

from pyvmm.command.boot import boot
from pyvmm.command.options import COMMANDS, suggestion
from pyvmm.errors import (
    STATUS_INTERRUPTED,
    STATUS_PYVMM_FAILED,
    ConfigError,
    HostError,
    PyvmmError,
    UsageError,
    not_imported,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_STDOUT, _STDERR = 1, 2
log_format = "text"  # of messages, or "json"
_SHORTAGES = _ENOMEM, _ENFILE, _EMFILE = 12, 23, 24
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
    "capture": "--pcap ",
    "console": "--console virtio=",
    "share": "--share ",
    "name": "--name ",
    "gdb": "--gdb ",
    "image": "-t ",
    "metrics": "--metrics ",
    "net": "net ",
    "netns": "--netns ",
    "subnet": "--subnet ",
    "ready_fd": "--ready-fd ",
    "json_events": "--json-events ",
    "sandbox": "--sandbox=",
    "user": "--user ",
    "cgroup": "--cgroup ",
}


def main(
    words: list[str],
    marks: dict[str, int],
    ended: Callable[[int], object] = lambda _: None,
    thawed: int = 0,
    cache: tuple[str, str, bytes] = ("", "", b""),
    listed: tuple[str, int, int] = ("", -1, -1),
) -> int:
    """Runs one command.

    Args:
        words: the command line without the program's name.
        marks: what is known of the process's start (see `timing.STEPS`), CLOCK_MONOTONIC in ns.
        ended: called with a guest's exit status once every externally visible effect is done.
        thawed: address of the `struct machine` of a guest that runs already, or 0.
        cache: directory, name and key of the boot cache's entry for this command line; an empty
            directory if there is none.
        listed: name, directory and listening socket of the guest's entry in the registry, if it has
            one already; an empty name if not.

    Returns:
        The exit status.
    """
    try:
        if not words:
            raise UsageError("which command? try `pyvmm --help`")
        if words[0] in ("--help", "-h", "help"):
            from pyvmm.command.help import overview

            return _tell(overview())
        if words[0] == "--version":
            from pyvmm import __version__

            return _tell(f"pyvmm {__version__}\n")
        if words[0] not in COMMANDS:
            raise UsageError(f"{words[0]}: no such command{suggestion(words[0], COMMANDS, '--help')}")
        asked = words[1:2] if words[0] in ("bench", "cc") else words[1:]  # what follows is not ours
        if "--help" in asked or "-h" in asked:
            from pyvmm.command.help import help_of

            return _tell(help_of(words[0]))
        return _run(words[0], words[1:], marks, ended, thawed, cache, listed)
    except ConfigError as error:
        say(f"{(_OPTIONS[error.parameter] + str(error.value)).rstrip()}: {error.reason}")
        return error.status
    except PyvmmError as error:
        say(str(error))
        return error.status
    except ImportError as error:
        say(str(not_imported(error)))
        return STATUS_PYVMM_FAILED
    except OSError as error:  # in the import system, as a rule
        if error.errno not in _SHORTAGES:
            raise
        say(str(HostError(str(error.filename or words[0]), error.errno)))
        return STATUS_PYVMM_FAILED
    except KeyboardInterrupt:
        return STATUS_INTERRUPTED


def _run(
    command: str,
    words: list[str],
    marks: dict[str, int],
    ended: Callable[[int], object],
    thawed: int,
    cache: tuple[str, str, bytes],
    listed: tuple[str, int, int],
) -> int:
    if command == "boot":
        return boot(words, say, marks, ended, thawed, cache, listed)
    if command == "build":
        from pyvmm.command.build import build

        return build(words)
    if command == "cc":
        from pyvmm.toolchain.cc import cc

        cc(words)
        return 0
    if command in ("ps", "inspect"):
        from pyvmm.command import ps

        return _tell(ps.ps(words) if command == "ps" else ps.inspect(words))
    if command == "net":
        from pyvmm.command.net import net

        return _tell(net(words))
    if command == "attach":
        from pyvmm.command.attach import attach

        return attach(words)
    if command in ("freeze", "logs", "pause", "ping", "resume", "stop", "wait"):
        from pyvmm.command import guests

        return guests.run(command, words)
    if command == "cache":
        from pyvmm.command.cache import cache as command_cache

        return _tell(command_cache(words))
    if command == "crash":
        from pyvmm.command.crash import crash

        return _tell(crash(words))
    if command == "doctor":
        from pyvmm.command.doctor import doctor

        text, status = doctor(words)
        return _tell(text) or status
    if command == "image":
        from pyvmm.command.image import image

        return image(words)
    if command == "oci":
        from pyvmm.command.oci import oci

        return oci(words)
    if command == "fuzz":
        from pyvmm.command.fuzz import fuzz

        return fuzz(words)
    from pyvmm.command.bench import bench

    return bench(words)


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

    A message that cannot be written within a second is dropped: stderr may be the pipe
    whose reader does not read. What a file's name may hold besides text neither breaks the
    line nor reaches the terminal.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    line = f"pyvmm: {text}"
    if log_format == "json":
        import json
        from time import time

        line = json.dumps({"time": round(time(), 6), "pid": os.getpid(), "message": text})
    try:
        if _is_writable(_STDERR):
            _write(_STDERR, f"{line}\n")
    except OSError:
        pass


def _is_writable(fd: int) -> bool:
    """Waits for it, for a second at most. Only a guest's run may block, and by then `select` is loaded."""
    select = sys.modules.get("select")
    if not select:
        return True
    state = select.poll()
    state.register(fd, select.POLLOUT)
    return bool(state.poll(1000))


def _write(fd: int, text: str) -> None:
    """All of it, whatever Python has of sys.stdout (see `launch.py`)."""
    rest = text.encode(errors="backslashreplace")
    while rest:
        rest = rest[os.write(fd, rest) :]


def run(
    started: int, thawed: int = 0, cache: tuple[str, str, bytes] = ("", "", b""),
    listed: tuple[str, int, int] = ("", -1, -1),
) -> None:  # fmt: skip
    """Runs the process's command line and ends the process.

    It does not return to the interpreter, whose own end takes a millisecond.

    Args:
        started: CLOCK_MONOTONIC in ns when the interpreter reached pyvmm.
        thawed, cache, listed: see `main`.
    """
    status = main(sys.argv[1:], {"interpreter ready": started}, os._exit, thawed, cache, listed)
    if sys.stdout:
        try:
            sys.stdout.flush()
        except OSError:
            pass
    os._exit(status)
