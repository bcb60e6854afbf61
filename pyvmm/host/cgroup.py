"""The control groups of this process, by version 2 or 1 (cgroups(7)), and the limits that they set."""

from __future__ import annotations

import os
from pathlib import Path

from pyvmm.errors import ConfigError, HostError

#: The controller's files of version 2 and of version 1, by limit.
_FILES = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "memory in use": ("memory.current", "memory.usage_in_bytes"),
    "processes": ("pids.max", "pids.max"),
}
_UNLIMITED = 1 << 60  # version 1 writes the largest number of pages


class Cgroup:
    """The groups of this process, from its own to the root that it sees.

    Args:
        proc: `/proc/self`.
    """

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        mounts = _mounts((proc / "mounts").read_text())
        self._places: dict[str, list[Path]] = {}  # by controller; version 2's is empty
        for line in (proc / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                if controller in mounts:
                    mount = mounts[controller]
                    inside = mount / path.lstrip("/")
                    self._places[controller] = [
                        place for place in (inside, *inside.parents) if place.is_relative_to(mount)
                    ]

    def _values(self, files: tuple[str, str]) -> list[tuple[Path, str]]:
        """The group and the text of each of these files, the innermost group first."""
        new, old = files
        places = [(place, new) for place in self._places.get("", [])]
        places += [(place, old) for place in self._places.get(old.partition(".")[0], [])]
        found = []
        for place, file in places:
            try:
                found.append((place, (place / file).read_text().strip()))
            except OSError:  # the root has none
                continue
        return found

    def _numbers(self, name: str) -> dict[Path, int]:
        return {place: int(text) for place, text in self._values(_FILES[name]) if text.isdigit()}

    def memory(self) -> int | None:
        """How many bytes the groups still let this process have; None: they set no limit."""
        used = self._numbers("memory in use")
        limits = {place: limit for place, limit in self._numbers("memory").items() if limit < _UNLIMITED}
        return min((max(limit - used.get(place, 0), 0) for place, limit in limits.items()), default=None)

    def processes(self) -> int | None:
        """How many processes and threads there may be; None: any number."""
        return min(self._numbers("processes").values(), default=None)

    def cpus(self) -> float | None:
        """How much CPU time there is, in CPUs; None: all."""
        shares = []
        for place in self._places.get("", []):
            try:
                quota, period = (place / "cpu.max").read_text().split()
            except (OSError, ValueError):
                continue
            if quota != "max":
                shares.append(int(quota) / int(period))
        for place in self._places.get("cpu", []):
            try:
                quota, period = ((place / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            except OSError:
                continue
            if int(quota) > 0:
                shares.append(int(quota) / int(period))
        return min(shares, default=None)


def join(folder: str) -> None:
    """Moves this process, and the memory that it touches from now on, to a control group.

    Args:
        folder: its directory.

    Raises:
        ConfigError: it is no control group.
        HostError: this user may not, or the group takes no process.
    """
    try:
        fd = os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0")  # the process that writes
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            "cgroup", folder, "not a control group's directory; `mkdir` makes one below another"
        ) from None
    except OSError as error:
        hint = "it has to be a leaf, in a part of the tree that is delegated to this user"
        raise HostError(f"--cgroup {folder}", error.errno or 0, hint) from None


def _mounts(text: str) -> dict[str, Path]:
    """Where each controller is mounted; that of version 2 has the empty name."""
    found: dict[str, Path] = {}
    for line in text.splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found[""] = Path(place)
        elif kind == "cgroup":
            found |= dict.fromkeys(options.split(","), Path(place))
    return found
