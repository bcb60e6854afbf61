"""pyvmm.devices: the devices that Python serves."""

from __future__ import annotations

import pytest

from pyvmm.devices.debug_exit import DebugExit
from pyvmm.devices.i8042 import I8042
from pyvmm.devices.listen import Listen


@pytest.mark.parametrize(
    ("value", "status"), [(0, 0), (7, 7), (255, 255), (256, 0), (0x1234_5603, 3), (0xFFFF_FFFF, 255)]
)
def test_debug_exit_ends_the_guest_with_the_low_byte(value: int, status: int) -> None:
    ends: list[int] = []
    DebugExit(ends.append).write(0, 4, value)
    assert ends == [status]


def test_debug_exit_reads_as_all_ones_and_does_not_end_the_guest() -> None:
    ends: list[int] = []
    assert DebugExit(ends.append).read(0, 4) & 0xFFFF_FFFF == 0xFFFF_FFFF
    assert not ends


def test_i8042_resets_on_the_pulse_command_alone() -> None:
    resets: list[bool] = []
    device = I8042(lambda: resets.append(True))
    for command in range(256):
        device.write(0, 1, command)
        assert len(resets) == (1 if command >= 0xFE else 0)


def test_i8042_is_always_ready_for_a_command() -> None:
    assert I8042(lambda: None).read(0, 1) == 0


def test_listen_takes_whole_ports_alone() -> None:
    ports: list[int] = []
    device = Listen(ports.append)
    assert device.read(0, 4) & 0xFFFF_FFFF == 0xFFFF_FFFF
    for size, value in ((1, 80), (2, 81), (4, 82), (4, 0xFFFF_FFFF)):
        device.write(0, size, value)
    assert ports == [82, 0xFFFF_FFFF]
