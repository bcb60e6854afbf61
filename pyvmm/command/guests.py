"""Commands about a guest that runs: `stop`, `pause`, `resume`, `ping`, `wait`, `freeze`; `logs`, also afterwards."""

from __future__ import annotations

import os
import sys

from pyvmm.command.options import number, only_operand, parse
from pyvmm.control.client import RefusedError, session
from pyvmm.control.console import log_path
from pyvmm.control.entry import descriptions
from pyvmm.control.place import check_name
from pyvmm.errors import HostError, UsageError
from pyvmm.state.request import open_file

_TIME = "10"  # seconds
_PATIENCE = 5.0
_KILL_TIME = 10.0  # for a process to end that was told to


def run(command: str, words: list[str]) -> int:
    """Does what the words say; returns the exit status.

    Raises:
        PyvmmError: it cannot.
    """
    operands, options, _ = parse(command, words)
    if command == "ping":
        return _ping(check_name(only_operand(command, operands or _only_guest())))
    name = check_name(only_operand(command, operands))
    if command == "freeze":
        _freeze(name, options)
    elif command == "logs":
        _logs(name)
    elif command == "stop":
        _stop(name, number("--time", options.get("--time", _TIME)))
    elif command == "wait":
        with session(name) as guest:
            return guest.wait_for_end() or 0
    else:
        with session(name) as guest:
            guest.do("stop" if command == "pause" else "cont")
    return 0


def _only_guest() -> list[str]:
    names = [values["name"] for values in descriptions()]
    if len(names) != 1:
        raise UsageError(f"which one of {', '.join(names)}?" if names else "no guest of yours runs")
    return names


def _ping(name: str) -> int:
    with session(name, _PATIENCE) as guest:
        status = guest.do("query-status")["status"]
    if status != "running":
        sys.stderr.write(f"pyvmm: {name}: {status}\n")
    return int(status != "running")


def _freeze(name: str, options: dict[str, str]) -> None:
    path = options.get("-o", f"{name}.frozen")
    if not path.rpartition("/")[2]:
        raise UsageError(f"-o {path}: not a file")
    directory, file = open_file(path)
    try:
        with session(name) as guest:
            guest.do("freeze", {"end": "--end" in options}, [file.fd])
        file.keep(sync=True)
    except OSError as error:
        raise HostError(path, error.errno or 0) from None
    finally:
        file.close()
        os.close(directory)


def _stop(name: str, seconds: int) -> None:
    """Asks the guest, waits, and ends it."""
    with session(name) as guest:
        try:
            if seconds:
                guest.do("system_powerdown")
                if guest.wait_for_end(seconds) is not None:
                    return
        except RefusedError:  # it cannot be asked
            pass
        guest.do("quit")
        guest.wait_for_end(_KILL_TIME)


def _logs(name: str) -> None:
    path, found = log_path(name), False
    for part in (f"{path}.1", path):
        try:
            with open(part, "rb") as file:
                found = True
                while data := file.read(1 << 20):
                    sys.stdout.buffer.write(data)
        except FileNotFoundError:
            continue
        except BrokenPipeError:
            return
        except OSError as error:
            raise HostError(part, error.errno or 0) from None
    sys.stdout.flush()
    if not found:
        raise UsageError(f"{name}: no guest of this name was started with --detach")
