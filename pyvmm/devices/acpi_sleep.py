"""ACPI's sleep registers, by which a hardware-reduced machine is switched off (ACPI 6.5, section 4.8.3.7)."""

from __future__ import annotations

from pyvmm.layout import ACPI_SLEEP_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SLP_EN = 0x20


class AcpiSleep:
    """Control and status. There is one kind of sleep, and it is the end.

    Args:
        end: called when the guest goes to sleep.
    """

    base, ports = ACPI_SLEEP_PORT, 2

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def read(self, offset: int, size: int) -> int:
        """It has never slept."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """SLP_EN in the control register."""
        if offset == 0 and value & _SLP_EN:
            self._end()
