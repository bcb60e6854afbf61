"""The same images on QEMU's microvm machine, by PVH and without hardware virtualization."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from guests import pyvmm

from pyvmm.build import build

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TORO = ROOT / "tests/kvm/toro"

QEMU = "qemu-system-x86_64"
_MACHINE = "-accel tcg,thread=multi -cpu max -nodefaults -no-user-config -display none -no-reboot -serial stdio".split()
_DEBUG_EXIT = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]


@pytest.fixture(scope="module", autouse=True)
def _needs_qemu() -> None:
    if not shutil.which(QEMU) or not shutil.which("ppcx64"):
        pytest.skip("needs qemu-system-x86 and fp-compiler")


def image(source: Path, folder: Path) -> str:
    return str(build(str(source), str(folder / f"{source.stem}.elf")))


def qemu(kernel: str, cpus: int, memory: str, machine: str = "microvm,acpi=off", append: str = "") -> tuple[int, bytes]:
    """Boots an image; its exit status and console."""
    command = [QEMU, *_MACHINE, *_DEBUG_EXIT, "-M", machine, "-m", memory, "-smp", str(cpus), "-kernel", kernel]
    result = subprocess.run(
        [*command, "-append", append], stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False
    )
    assert result.returncode % 2, result.stderr.decode()  # isa-debug-exit: twice the status, plus one
    # What firmware says ends with its last escape sequence.
    return result.returncode // 2, result.stdout


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
def test_examples_say_the_same(tmp_path: Path, source: str, cpus: int) -> None:
    kernel = image(EXAMPLES / source, tmp_path)
    # The machine keeps the last page of what 256 MiB it is given.
    status, console = qemu(kernel, cpus, "256")
    here = pyvmm("boot", kernel, "--cpus", str(cpus), "--mem", "256M")
    assert status == here.status
    assert console.replace(b"255 MiB", b"256 MiB").endswith(here.stdout)


@pytest.mark.parametrize("machine", ["microvm,acpi=off", "microvm,acpi=on"])
@pytest.mark.parametrize(("program", "checks"), [("Threads", 44), ("Wakeups", 20)])
def test_the_kernel_works_there(tmp_path: Path, machine: str, program: str, checks: int) -> None:
    """Processors from the MP table or from ACPI, started by INIT and SIPI."""
    status, console = qemu(image(TORO / f"{program}.pas", tmp_path), 4, "256", machine)
    lines = console.decode(errors="replace").splitlines()[-checks:]
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert (status, len(lines)) == (0, checks)


def test_much_memory_and_a_command_line(tmp_path: Path) -> None:
    """RAM above 4 GiB; parameters; the exit status."""
    kernel = image(TORO / "Faults.pas", tmp_path)
    assert qemu(kernel, 2, "5G", append="halt")[0] == 42
    status, console = qemu(kernel, 2, "5G", append="nil")
    assert status == 120
    assert b"writing to 0000000000000008: nil pointer" in console


def test_time_is_known(tmp_path: Path) -> None:
    """From the RTC and the PIT: no clock of KVM is there."""
    status, console = qemu(image(TORO / "Utilities.pas", tmp_path), 1, "256")
    lines = console.decode(errors="replace").splitlines()
    time = next(line for line in lines if line.startswith("time "))
    assert status == 0
    assert int(time.split()[1]) >= 2026
