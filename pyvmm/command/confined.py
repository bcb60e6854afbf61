"""What `pyvmm boot --sandbox` allows a guest's process, by its other options."""

from __future__ import annotations

import posix as os

from pyvmm.errors import UsageError
from pyvmm.host.sandbox.confine import Sandbox

#: What opens files or sockets while the guest runs.
_NOT_YET = ("--name", "--detach", "--metrics", "--ready-fd", "--json-events", "--net", "--netns", "--log-format",
            "--crash", "--watchdog", "--trace")  # fmt: skip


def sandbox_of(options: dict[str, str], repeated: dict[str, list[str]]) -> Sandbox | None:
    """What confines the guest's process; None if nothing is to.

    Args:
        options, repeated: of `boot`.

    Raises:
        ConfigError: a value of `--sandbox` or `--user` is malformed.
        UsageError: an option does not go with it.
    """
    mode = options.get("--sandbox", "off")
    sandbox = Sandbox(mode, options.get("--user"))
    if not sandbox.is_on:
        return None
    given = [name for name in _NOT_YET if name in options or repeated.get(name)]
    if any(port.endswith("*") for port in repeated["-p"]):
        given.append("-p *")
    if b"NOTIFY_SOCKET" in os.environ:
        given.append("notifications of systemd")
    if given:
        raise UsageError(f"--sandbox={mode} does not go with {given[0]} yet")
    timing = options.get("--timing")
    sandbox.allow(
        allowed_ports(repeated["--allow"]), "--vsock-uds" in options, freeze="--freeze" in options,
        timing=timing is not None, gdb="--gdb" in options, writes=bool(timing) or "--console" in options,
    )  # fmt: skip
    if timing is not None:
        _load_timing(timing)
    return sandbox


def allowed_ports(allowed: list[str]) -> list[int] | None:
    """The TCP ports of all targets of --allow; None: any."""
    if not allowed:
        return []
    from pyvmm.host.tcp import parse_allow

    ports = [target[1] for _, target in map(parse_allow, allowed)]
    return None if 0 in ports else ports


def _load_timing(path: str) -> None:
    """No file can be read when the report is due."""
    __import__("pyvmm.command.timing")
    if path.endswith(".json"):
        __import__("json")
