"""The same images on QEMU's microvm machine, by PVH, with KVM and without hardware virtualization."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from guests import MADE, pyvmm, toro_image
from microvm import ACCELERATORS, boot

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TORO = ROOT / "tests/kvm/toro"

pytestmark = [
    pytest.mark.skipif(not MADE and not shutil.which("ppcx64"), reason="needs fp-compiler"),
    pytest.mark.parametrize("accelerator", ACCELERATORS),
]


@pytest.mark.parametrize(
    ("source", "cpus"),
    [
        ("HelloWorld/HelloWorld.pas", 1),
        ("HelloWorld/HelloWorld.pas", 8),
        ("InterCoreComm/InterCoreComm.pas", 3),
        ("Scheduler/Scheduler.pas", 3),
        ("ExceptionHandling/ExceptionHandling.pas", 2),
    ],
)
def test_examples_say_the_same(tmp_path: Path, accelerator: str, source: str, cpus: int) -> None:
    kernel = toro_image(EXAMPLES / source, tmp_path)
    # The machine reserves the last page of its 256 MiB.
    status, console = boot(kernel, accelerator=accelerator, cpus=cpus)
    here = pyvmm("boot", kernel, "--cpus", str(cpus), "--mem", "256M")
    assert status == here.status
    assert console.replace(b"255 MiB", b"256 MiB").endswith(here.stdout)


@pytest.mark.parametrize("machine", ["microvm,acpi=off", "microvm,acpi=on"])
@pytest.mark.parametrize(("program", "checks"), [("Threads", 44), ("Wakeups", 20)])
def test_the_kernel_works_there(tmp_path: Path, accelerator: str, machine: str, program: str, checks: int) -> None:
    """Processors from the MP table or from ACPI, started by INIT and SIPI."""
    image = toro_image(TORO / f"{program}.pas", tmp_path)
    status, console = boot(image, accelerator=accelerator, cpus=4, machine=machine)
    lines = console.decode(errors="replace").splitlines()[-checks:]
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert (status, len(lines)) == (0, checks)


def test_much_memory_and_a_command_line(tmp_path: Path, accelerator: str) -> None:
    """RAM above 4 GiB; parameters; the exit status."""
    kernel = toro_image(TORO / "Faults.pas", tmp_path)
    assert boot(kernel, accelerator=accelerator, cpus=2, memory="5G", append="halt")[0] == 42
    status, console = boot(kernel, accelerator=accelerator, cpus=2, memory="5G", append="nil")
    assert status == 217 % 128  # QEMU's own status has room for seven bits
    assert b"writing to 0000000000000008: nil pointer" in console


def test_time_is_known(tmp_path: Path, accelerator: str) -> None:
    """From KVM's clock, or from the RTC and the PIT."""
    status, console = boot(toro_image(TORO / "Utilities.pas", tmp_path), accelerator=accelerator)
    lines = console.decode(errors="replace").splitlines()
    time = next(line for line in lines if line.startswith("time "))
    assert status == 0
    assert int(time.split()[1]) >= 2026
