"""A virtio device of the VMM and a driver in the guest, end to end."""

from __future__ import annotations

import pytest
from programs import Programs
from virtiodev import Echo

from pyvmm.config import MachineConfig
from pyvmm.machine import Machine


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_guest_talks_to_a_device(programs: Programs, capfd: pytest.CaptureFixture[str], cpus: int) -> None:
    echo = Echo()
    config = MachineConfig(programs.image("VirtioEcho"), cpus=cpus, command_line="first,second")
    with Machine(config, [echo], console=(0, 1)) as machine:
        assert machine.run() == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:-1] == [line for line in lines if line.startswith("ok ")]
    assert len(lines) == 8
    assert lines[-1] == "first,second virtio_mmio.device=512@0xfeb00000:5"
    assert (echo.served, echo.calls) == (100, ["activate"])
