"""The reset line of an i8042 keyboard controller, which is all a microvm has of one."""

from __future__ import annotations

from pyvmm.layout import I8042_COMMAND_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PULSE_RESET = 0xFE  # pulse output port bit 0, low-active: the CPU's reset pin


class I8042:
    """The device. Its status says that both buffers are empty.

    Args:
        reset: called when the guest pulls the reset line.
    """

    base, ports = I8042_COMMAND_PORT, 1

    def __init__(self, reset: Callable[[], None]) -> None:
        self._reset = reset

    def read(self, offset: int, size: int) -> int:
        """Zero: no key, ready for a command."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Obeys the reset command and ignores the others."""
        if value == _PULSE_RESET:
            self._reset()
