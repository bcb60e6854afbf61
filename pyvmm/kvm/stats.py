"""KVM's binary statistics (Documentation/virt/kvm/api.rst, section 4.133)."""

from __future__ import annotations

import posix as os

from pyvmm.kvm.ioctl import ioctl, read_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DESCRIPTOR_SIZE = 16


def _descriptors(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, number of values, and offset of the first one, of each statistic."""

    def u32(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "little")

    name_size, count, descriptors, values = u32(4), u32(8), u32(16), u32(20)
    for i in range(count):
        at = descriptors + i * (_DESCRIPTOR_SIZE + name_size)
        name = data[at + _DESCRIPTOR_SIZE :][:name_size].split(b"\0")[0].decode()
        yield name, int.from_bytes(data[at + 6 : at + 8], "little"), values + u32(at + 8)


def scalars(data: bytes) -> dict[str, int]:
    """Statistics that have a single value, by name; histograms are left out.

    Args:
        data: the whole contents of a statistics file: a header, a descriptor with
            the name for each statistic, and the values.
    """
    return {name: int.from_bytes(data[at : at + 8], "little") for name, count, at in _descriptors(data) if count == 1}


def place_of(data: bytes, wanted: str) -> int | None:
    """Where a statistics file (see `scalars`) has a value; None: it has no such one."""
    return next((at for name, _, at in _descriptors(data) if name == wanted), None)


class Counters:
    """The statistics of a VM and its vCPUs, open: reading them disturbs nobody.

    Args:
        vm_fd, vcpu_fds: descriptors of the VM and the vCPUs, none of which may be in KVM_RUN now.

    Raises:
        KvmError: KVM has none.
    """

    def __init__(self, vm_fd: int, vcpu_fds: Sequence[int]) -> None:
        self._fds: list[int] = []
        try:
            for fd in (vm_fd, *vcpu_fds):
                self._fds.append(ioctl("KVM_GET_STATS_FD", fd))
        except BaseException:
            self.close()
            raise

    @property
    def vcpu_fds(self) -> list[int]:
        """The descriptors of each vCPU's."""
        return self._fds[1:]

    def vm(self) -> dict[str, int]:
        """Those of the VM, by name."""
        return read_stats(self._fds[0])

    def vcpus(self) -> list[dict[str, int]]:
        """Those of each vCPU, by name."""
        return [read_stats(fd) for fd in self.vcpu_fds]

    def close(self) -> None:
        """Closes them. A second call does nothing."""
        while self._fds:
            os.close(self._fds.pop())
