"""What the classes of `pyvmm.kvm` have in common: descriptors, ioctls and their failures."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError, KvmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from pyvmm._kvm import CData, Machine

API_VERSION = 12
ENXIO, EINVAL, EMFILE = 6, 22, 24  # without the module `errno`, which makes 130 names
_HINTED = ("KVM_CREATE", "KVM_SET_USER_MEMORY_REGION")
TOO_OLD = "this kernel's KVM is too old for pyvmm"


def ioctl(name: str, fd: int, argument: CData | int = 0) -> int:
    request = getattr(lib, name)
    result = lib.ioctl_int(fd, request, argument) if isinstance(argument, int) else lib.ioctl_ptr(fd, request, argument)
    if result < 0:
        raise failure(name, ffi.errno)
    return result


def failure(name: str, errno: int, opening: bool = False) -> KvmError:
    """A `KvmError` with a hint, where there is one for it.

    After EMFILE there is none, and once the guest runs: the module with the hints could not be loaded.
    """
    if errno == EMFILE or not (opening or name.startswith(_HINTED)):
        return KvmError(name, errno)
    from pyvmm.kvm.hints import of_ioctl, of_open

    return KvmError(name, errno, (of_open if opening else of_ioctl)(name, errno))


def why_not_thawed(machine: Machine) -> HostError:
    """Why `lib.machine_thaw` has failed."""
    name, errno = ffi.string(machine.failed).decode(), machine.error
    if name == "/dev/kvm":
        return failure(name, errno, opening=True)
    if name.startswith("KVM_CAP"):
        return KvmError(name, errno, TOO_OLD)
    where = name if machine.failed_cpu < 0 else f"{name} of vCPU {machine.failed_cpu}"
    if name.startswith("KVM"):
        return KvmError(where, errno, failure(name, errno).hint)
    return HostError(where, errno)


class Descriptor:
    """An owned file descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the descriptor. A second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def stats_of(fd: int) -> dict[str, int]:
    stats_fd = ioctl("KVM_GET_STATS_FD", fd)
    try:
        return read_stats(stats_fd)
    finally:
        os.close(stats_fd)


def read_stats(stats_fd: int) -> dict[str, int]:
    """The statistics that a descriptor of KVM_GET_STATS_FD has now. It never blocks, as an ioctl of a vCPU does."""
    from pyvmm.kvm.stats import scalars

    return scalars(os.pread(stats_fd, 1 << 20, 0))
