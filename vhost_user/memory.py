"""Guest memory as a backend sees it: regions of files, mapped.

An access to a mapping past the end of its file kills the process (SIGBUS). So only files that cannot
shrink are mapped: memfds with F_SEAL_SHRINK (fcntl(2)), such as those of QEMU, Firecracker and pyvmm.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING

from vhost_user.messages import MEMORY_REGIONS_MAX, VhostUserError

if TYPE_CHECKING:
    from vhost_user.messages import Region

_LIMIT = 1 << 64


def _seals(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:  # not a file that can be sealed
        return 0


class Mapping:
    """`size` bytes of a file from `offset` on, mapped as `bytes`.

    Args:
        fd: may be closed afterwards.

    Raises:
        VhostUserError: the file is shorter, or may shrink.
    """

    def __init__(self, fd: int, offset: int, size: int) -> None:
        skipped = offset % mmap.ALLOCATIONGRANULARITY
        # First: other operations could block, if a process of the peer serves the file system.
        if not _seals(fd) & fcntl.F_SEAL_SHRINK:
            raise VhostUserError("memory that may shrink: it must be a memfd with F_SEAL_SHRINK")
        try:
            if not size or os.fstat(fd).st_size < offset + size:
                raise VhostUserError(f"a descriptor of {os.fstat(fd).st_size} bytes: no {size} bytes at {offset}")
            self._map = mmap.mmap(fd, size + skipped, mmap.MAP_SHARED, offset=offset - skipped)
        except (OSError, OverflowError, ValueError) as error:
            raise VhostUserError(f"mapping {size} bytes at {offset}: {error}") from None
        self.bytes = memoryview(self._map)[skipped:]

    def close(self) -> None:
        """Unmaps the memory, at the latest when the last view of it is gone."""
        self.bytes.release()
        try:
            self._map.close()
        except BufferError:  # a view is in use
            pass


class GuestMemory:
    """The mapped regions that the frontend has shared."""

    def __init__(self) -> None:
        self._regions: list[tuple[Region, Mapping]] = []

    def add(self, region: Region, fd: int) -> None:
        """Maps a region; `fd` may be closed afterwards.

        Raises:
            VhostUserError: it overlaps another, or cannot be mapped.
        """
        if len(self._regions) == MEMORY_REGIONS_MAX:
            raise VhostUserError(f"more than {MEMORY_REGIONS_MAX} memory regions")
        if region.address + region.size > _LIMIT or region.user_address + region.size > _LIMIT:
            raise VhostUserError(f"{region} ends behind the last address")
        for other, _ in self._regions:
            if region.address < other.address + other.size and other.address < region.address + region.size:
                raise VhostUserError(f"{region} overlaps {other}")
        self._regions.append((region, Mapping(fd, region.offset, region.size)))

    def remove(self, region: Region) -> None:
        """Unmaps a region.

        Raises:
            VhostUserError: there is no such region.
        """
        for index, (other, mapping) in enumerate(self._regions):
            if (other.address, other.size, other.user_address) == (region.address, region.size, region.user_address):
                mapping.close()
                del self._regions[index]
                return
        raise VhostUserError(f"{region} is not there")

    def view(self, address: int, length: int) -> memoryview:
        """A view of `length` bytes at guest-physical `address`, which the guest may change at any time.

        Raises:
            VhostUserError: not all of it is in one region.
        """
        for region, mapping in self._regions:
            at = address - region.address
            if at >= 0 and at + length <= region.size:
                return mapping.bytes[at : at + length]
        raise VhostUserError(f"no memory at [{address:#x}, {address + length:#x})")

    def user_view(self, address: int, length: int) -> memoryview:
        """The same at a user address, as rings have."""
        for region, mapping in self._regions:
            at = address - region.user_address
            if at >= 0 and at + length <= region.size:
                return mapping.bytes[at : at + length]
        raise VhostUserError(f"no memory at user address [{address:#x}, {address + length:#x})")

    def close(self) -> None:
        """Unmaps all regions."""
        while self._regions:
            self._regions.pop()[1].close()
