"""`pyvmm fuzz`: what it finds in the broken device of the examples, and what the saved files do."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from guests import MIB, pyvmm
from virtiodev import ECHO_ID, Echo

from pyvmm import Device, Machine, MachineConfig
from pyvmm.testing import Expose, Notify, Offer, Start, Step, Wait, guest_image
from pyvmm.testing.targets import target
from pyvmm.virtio.device import INDIRECT_DESC, VERSION_1

EXAMPLE = Path(__file__).parents[2] / "examples/python/checksum.py"
START = Start((8, 8), VERSION_1 | INDIRECT_DESC)
TARGETS = "console, vsock, fs=…, virtiofsd=…, vhost-user=…, MODULE:CLASS, FILE.py:CLASS"


def boot(image: Path, device: Device, boot: str = "direct") -> tuple[int, list[str]]:
    """The guest's exit status, and pyvmm's messages."""
    log: list[str] = []
    config = MachineConfig(str(image), memory=16 * MIB, boot=boot)
    with Machine(config, [device], log=log.append) as machine:
        machine.start()
        return machine.wait(timeout=60), log


def test_a_broken_device_is_found_and_broken_again_by_what_is_saved(tmp_path: Path) -> None:
    done = pyvmm("fuzz", f"{EXAMPLE}:Checksum", "--time", "20", "--seed", "1", "-o", str(tmp_path))
    assert done.status == 1, done.stderr
    assert b"the device's code has raised" in done.stdout
    assert b"; findings: " in done.stdout
    saved = sorted(tmp_path.glob("finding-*.py"))
    assert saved
    for file in saved:
        assert len(runpy.run_path(str(file))["STEPS"]) <= 5
        again = subprocess.run([sys.executable, str(file)], capture_output=True, text=True)
        assert again.returncode == 1
        assert again.stdout.startswith("the device's code has raised ")
        status, log = boot(file.with_suffix(".elf"), target(f"{EXAMPLE}:Checksum").make())
        assert status == 0x4F  # DEVICE_NEEDS_RESET
        assert "a bug in pyvmm, please report it" in log[0]


@pytest.mark.parametrize("protocol", ["direct", "pvh"])
@pytest.mark.parametrize(
    ("steps", "status", "served"),
    [
        ([START, Offer(0, (b"hello",), (10,)), Notify(0), Wait()], 0x0F, 1),
        ([START, Offer(1, (b"a", b"b"), (1, 1), True), Offer(1, (), (3000,)), Notify(1), Wait()], 0x0F, 2),
        ([START, Expose(0, 99), Notify(0), Wait()], 0x4F, 0),
        ([], 0, 0),
    ],
    ids=["chain", "indirect", "hostile", "nothing"],
)
def test_a_guest_takes_the_steps(steps: list[Step], status: int, served: int, protocol: str, tmp_path: Path) -> None:
    (tmp_path / "case.elf").write_bytes(guest_image(steps, ECHO_ID, 2))
    device = Echo()
    assert boot(tmp_path / "case.elf", device, protocol)[0] == status
    assert device.served == served


def test_a_guest_says_that_there_is_no_such_device(tmp_path: Path) -> None:
    (tmp_path / "case.elf").write_bytes(guest_image([START], ECHO_ID + 1, 2))
    assert boot(tmp_path / "case.elf", Echo())[0] == 255


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "TARGET is missing; try `pyvmm fuzz --help`"),
        (["x"], f"x: no such target; there are {TARGETS}"),
        (["console", "--time", "soon"], "--time soon: not a number of 0 or more"),
        (["console", "--seed", "-1"], "--seed -1: not a number of 0 or more"),
        (["console", "-o", "/dev/null/x"], "/dev/null/x: Not a directory"),
        (["fs=/nowhere"], "fs=/nowhere: No such file or directory"),
        (["vhost-user=/nowhere"], "share socket=/nowhere:any: No such file or directory"),
    ],
)
def test_misuse_is_one_line(words: list[str], message: str) -> None:
    done = pyvmm("fuzz", *words)
    assert done.status == 125
    assert done.stderr.splitlines() == [f"pyvmm: {message}"]


def test_nothing_found_is_status_0(tmp_path: Path) -> None:
    done = pyvmm("fuzz", "console", "--time", "1", "-o", str(tmp_path))
    assert done.status == 0, done
    assert b"; findings: 0\n" in done.stdout
    assert not list(tmp_path.iterdir())
