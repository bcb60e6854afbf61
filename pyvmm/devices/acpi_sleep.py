"""ACPI's sleep registers, which switch a hardware-reduced machine off (ACPI 6.5, section 4.8.3.7)."""

from __future__ import annotations

from pyvmm.layout import ACPI_SLEEP_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SLP_EN = 0x20


class AcpiSleep:
    """Sleep control and status. Any sleep type ends the guest.

    Args:
        end: called when the guest goes to sleep.
    """

    base, ports = ACPI_SLEEP_PORT, 2

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def read(self, offset: int, size: int) -> int:
        """Zero: the machine has not been asleep."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Ends the guest on SLP_EN in the control register."""
        if offset == 0 and value & _SLP_EN:
            self._end()
