"""Which walls a host offers."""

from __future__ import annotations

import os

import pytest

from pyvmm._kvm import lib
from pyvmm.host.sandbox.walls import walls


def test_they_are_found_out_by_another_process() -> None:
    before = lib.sandbox_of_process().mode
    found = walls()
    assert found["system call filters"]
    assert found["no new privileges"]
    assert found["Landlock"] == (lib.landlock_abi() > 0)
    assert lib.sandbox_of_process().mode == before == 0
    os.close(os.open("/dev/null", os.O_RDONLY))  # this process is as it was


@pytest.mark.skipif(os.geteuid() != 0, reason="as root")
def test_root_s_guests_can_have_another_user() -> None:
    assert walls()["another user"]
