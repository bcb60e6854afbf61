"""What `pyvmm boot --sandbox` allows a guest's process, by its other options."""

from __future__ import annotations

from pyvmm.errors import PyvmmError, UsageError
from pyvmm.host.sandbox.confine import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.control.entry import Entry


#: What reads the image, starts programs or makes files once the guest has run.
_NOT_YET = ("--crash", "--watchdog", "--trace")


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
    for name in _NOT_YET:
        if name in options or repeated.get(name):
            raise UsageError(f"--sandbox={mode} does not go with {name} yet")
    timing = options.get("--timing")
    writes = bool(timing) or "--console" in options or "--pcap" in options
    sandbox.allow(
        allowed_ports(repeated["--allow"]), "--vsock-uds" in options, freeze="--freeze" in options,
        timing=timing is not None, gdb="--gdb" in options, writes=writes,
        publish=any(port.endswith("*") for port in repeated["-p"]),
    )  # fmt: skip
    late = ["pyvmm.command.timing"] if timing is not None else []
    if (timing or "").endswith(".json") or options.get("--log-format") == "json":
        late.append("json")
    sandbox.first.append(lambda: _load(late))
    return sandbox


def allow_entry(sandbox: Sandbox, entry: Entry) -> None:
    """Lets a guest keep its entry in the registry."""
    entry.stays = not sandbox.list_in(entry.registry)
    sandbox.listed_as(entry.directory)


def registry_for(sandbox: Sandbox) -> int:
    """A descriptor of the registry, in which the guest will be listed by itself; -1 if it cannot be."""
    if sandbox.registry >= 0 or sandbox.has_started:
        sandbox.stays = sandbox.registry >= 0 and sandbox.list_in(sandbox.registry)
        return sandbox.registry
    from pyvmm.control.place import open_folder

    try:
        registry = open_folder(make=True)
    except (OSError, PyvmmError):  # it runs all the same
        return -1
    sandbox.stays = sandbox.list_in(registry)
    return registry if sandbox.stays else -1


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
