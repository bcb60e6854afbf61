"""A machine that was made before anybody asked for it, for who then asks for the same."""

from __future__ import annotations

import posix as os

from pyvmm.boot.file import File
from pyvmm.errors import PyvmmError
from pyvmm.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.config import MachineConfig

    Files = list[tuple[int, ...]]


class ReadyMachine:
    """A machine without devices that has not run.

    Args:
        config: what it is. Its paths are taken relative to the directory of now.
        log: called with a line about a guest that misbehaves.

    Raises:
        PyvmmError: it cannot be.
    """

    def __init__(self, config: MachineConfig, log: Callable[[str], None]) -> None:
        self._files = _files(config)
        self._machine: Machine | None = Machine(config, (), log)

    def take(self, config: MachineConfig) -> Machine | None:
        """The machine, if it is what `config` says and its files are as they were; at most once.

        It is the caller's then. Another one's is closed.
        """
        machine, self._machine = self._machine, None
        if not machine:
            return None
        try:
            same = _values(config) == _values(machine.config) and _files(config) == self._files
        except PyvmmError:  # who makes it anew says why
            same = False
        if not same:
            machine.close()
            return None
        machine.awake()
        return machine


def _values(config: MachineConfig) -> dict[str, object]:
    return {name: value for name, value in vars(config).items() if name not in ("image", "initrd")}


def _files(config: MachineConfig) -> Files:
    """What tells whether a file is the same one, and unchanged."""
    files: Files = []
    for name in (config.image, config.initrd):
        if name:
            file = File(name)
            status = os.stat(file.fd)
            file.close()
            files.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return files
