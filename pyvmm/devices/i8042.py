"""The reset line of an i8042 keyboard controller, the only part of it that a microvm has."""

from __future__ import annotations

from pyvmm.layout import I8042_COMMAND_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PULSE_RESET = 0xFE  # pulse output port bit 0, low-active: the CPU's reset pin


class I8042:
    """The device. Its status register shows both buffers as empty.

    Args:
        reset: called when the guest pulls the reset line.
    """

    base, ports = I8042_COMMAND_PORT, 1

    def __init__(self, reset: Callable[[], None]) -> None:
        self._reset = reset

    def read(self, offset: int, size: int) -> int:
        """Zero: both buffers are empty."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Executes the reset command and ignores all others."""
        if value == _PULSE_RESET:
            self._reset()
