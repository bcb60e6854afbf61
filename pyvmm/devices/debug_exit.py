"""isa-debug-exit: a write ends the guest with that status (QEMU's hw/misc/debugexit.c).

QEMU's own status is `value << 1 | 1`; pyvmm's is the value.
"""

from __future__ import annotations

from pyvmm.layout import DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class DebugExit:
    """The device.

    Args:
        end: called with the guest's status, 0 to 255.
    """

    base, ports = DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS

    def __init__(self, end: Callable[[int], None]) -> None:
        self._end = end

    def read(self, offset: int, size: int) -> int:
        """All ones: the port is write-only."""
        return -1

    def write(self, offset: int, size: int, value: int) -> None:
        """Ends the guest."""
        self._end(value & 0xFF)
