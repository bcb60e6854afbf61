"""A case of `pyvmm.testing` as a guest of QEMU: it does to QEMU's device what the steps say."""

from __future__ import annotations

from pathlib import Path

import pytest
from microvm import ACCELERATORS, boot

from pyvmm.testing import Expose, Notify, Offer, Start, Step, Wait, guest_image

CONSOLE_ID = 3
START = Start((8, 8))


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize(
    ("steps", "status"),
    [([START, Offer(1, (b"hello",)), Notify(1), Wait()], 0x0F), ([START, Expose(1, 300), Notify(1), Wait()], 0x4F)],
    ids=["honest", "hostile"],
)
def test_a_case_reaches_qemus_device(steps: list[Step], status: int, accelerator: str, tmp_path: Path) -> None:
    (tmp_path / "case.elf").write_bytes(guest_image(steps, CONSOLE_ID, 2))
    options = ["-device", "virtio-serial-device"]
    assert boot(str(tmp_path / "case.elf"), *options, accelerator=accelerator)[0] == status
