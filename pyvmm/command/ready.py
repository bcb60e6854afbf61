"""What can be made of a machine before anybody has asked for it."""

from __future__ import annotations

import posix as os

from pyvmm import kvm
from pyvmm._kvm import ffi, lib
from pyvmm.boot.cpuid import Cpuid
from pyvmm.boot.file import File
from pyvmm.errors import PyvmmError
from pyvmm.layout import KIB, MIB
from pyvmm.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.config import MachineConfig

    Files = list[tuple[int, ...]]


#: Where images are, as a rule.
_STDIN, _STDOUT = 0, 1
_IMAGE_START, _IMAGE_SIZE = 1 * MIB, 512 * KIB


def prepare_any() -> None:
    """Makes for the next direct-booted machine what all of them have, and more than `_early.c` makes of itself.

    vCPU 0 gets the CPUID of a machine that has no other, and the memory that an
    image will be in is there already. Where that cannot be nothing is made.
    """
    early = ffi.new("struct early *")
    if lib.early_make(early):
        if lib.ioctl_ptr(early.vcpu_fd, lib.KVM_SET_CPUID2, Cpuid(1).native(0)) == 0:
            early.cpus = 1
        lib.madvise(early.host + _IMAGE_START, _IMAGE_SIZE, lib.MADV_POPULATE_WRITE)
        kvm.prepared = early


class ReadyMachine:
    """A machine without devices that has not run, for who then asks for the same.

    Args:
        config: what it is. Its paths are taken relative to the directory of now.
        log: called with a line about a guest that misbehaves.

    Raises:
        PyvmmError: it cannot be.
    """

    def __init__(self, config: MachineConfig, log: Callable[[str], None]) -> None:
        self._files = _files(config)
        self._machine: Machine | None = Machine(config, (), log, (_STDIN, _STDOUT))

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
