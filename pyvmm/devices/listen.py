"""The port at which a direct-booted guest tells where it listens (docs/boot-protocol.md)."""

from __future__ import annotations

from pyvmm.layout import LISTEN_PORT, LISTEN_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_WHOLE = 4


class Listen:
    """The device.

    Args:
        listens: called with each vsock port that the guest names.
    """

    base, ports = LISTEN_PORT, LISTEN_PORTS

    def __init__(self, listens: Callable[[int], None]) -> None:
        self._listens = listens

    def read(self, offset: int, size: int) -> int:
        """All ones: there is nothing to read."""
        return -1

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes a port of 32 bits, and ignores parts of one."""
        if size == _WHOLE:
            self._listens(value)
