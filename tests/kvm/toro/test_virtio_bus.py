"""Packets from core to core."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from guests import Result
from test_kernel import assert_all_ok


@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
def test_packets_between_all_cores(toro: Callable[..., Result], cpus: int) -> None:
    assert_all_ok(toro("Bus", "--cpus", str(cpus)), 6 if cpus == 1 else 7)
