"""What `pyvmm boot --sandbox` allows a guest's process, by its other options."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import lib
from pyvmm.boot.file import File
from pyvmm.host.sandbox.confine import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.control.entry import Entry


def sandbox_of(options: dict[str, str], repeated: dict[str, list[str]]) -> Sandbox | None:
    """What confines the guest's process; None if nothing is to.

    Args:
        options, repeated: of `boot`.

    Raises:
        ConfigError: a value of `--sandbox` or `--user` is malformed.
    """
    sandbox = Sandbox(options.get("--sandbox"), options.get("--user"))
    if not sandbox.is_on:
        return None
    timing = options.get("--timing")
    sandbox.allow(
        allowed_ports(repeated["--allow"]),
        "--vsock-uds" in options,
        freeze="--freeze" in options or "--crash" in options,
        timing=timing is not None or "--watchdog" in options,
        gdb="--gdb" in options,
        writes=bool(timing or repeated["--trace"]) or "--console" in options or "--pcap" in options,
        publish=any(port.endswith("*") for port in repeated["-p"]),
    )
    late = ["pyvmm.command.timing"] if timing is not None else []
    if (timing or "").endswith(".json") or options.get("--log-format") == "json":
        late.append("json")
    sandbox.first.append(lambda: _load(late))
    if timing and sandbox.report < 0:
        sandbox.first.append(lambda: _open_report(sandbox, timing))
    return sandbox


def allow_entry(sandbox: Sandbox, entry: Entry) -> None:
    """Lets a guest keep its entry in the registry."""
    entry.stays = not sandbox.list_in(entry.registry)
    sandbox.listed_as(entry.directory)


def open_for_later(sandbox: Sandbox, image: str, is_listed: bool) -> None:
    """Opens what a confined process cannot: the image, for a crash report, and the registry.

    Args:
        sandbox: has what C has opened.
        image: its path.
        is_listed: the guest has its entry in the registry already.
    """
    if sandbox.image < 0 and not sandbox.has_started:
        try:
            sandbox.image = os.open(image, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:  # gone since it was read
            pass
    if is_listed:
        sandbox.stays = sandbox.is_limited
        return
    if sandbox.registry < 0 and not sandbox.has_started:
        sandbox.registry = lib.registry_open(True)  # it runs all the same if it cannot be
    sandbox.stays = sandbox.registry >= 0 and sandbox.list_in(sandbox.registry)


def image_of(sandbox: Sandbox, path: str) -> File | None:
    """The image, which becomes the caller's; None if it could not be opened."""
    fd, sandbox.image = sandbox.image, -1
    return File(path, fd) if fd >= 0 else None


def _open_report(sandbox: Sandbox, path: str) -> None:
    from pyvmm.command.timing import open_report

    sandbox.report = open_report(path)


def _load(names: list[str]) -> None:
    """Imports what no file can be read for later."""
    for name in names:
        __import__(name)


def allowed_ports(allowed: list[str]) -> list[int] | None:
    """The TCP ports of all targets of --allow; None: any."""
    if not allowed:
        return []
    from pyvmm.host.tcp import parse_allow

    ports = [target[1] for _, target in map(parse_allow, allowed)]
    return None if 0 in ports else ports
