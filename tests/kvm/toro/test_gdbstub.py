"""Real GDB on a Toro program, through virtio-console: breakpoints, steps, variables, on several cores."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gdbs import Client, gdb
from guests import PYVMM

from pyvmm.toolchain.build import build

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not shutil.which("gdb") or not shutil.which("ppcx64"), reason="needs gdb and fp-compiler"
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with debug information."""
    folder = tmp_path_factory.mktemp("debugged")
    for name in ("Debugged", "DebuggedForever"):
        build(str(HERE / f"{name}.pas"), str(folder / f"{name}.elf"), debug=True)
    return folder


@contextmanager
def waiting(image: Path, socket: Path, cpus: int) -> Iterator[subprocess.Popen[str]]:
    """A guest that waits for GDB."""
    command = [PYVMM, "boot", str(image), "--cpus", str(cpus), "--console", f"virtio=unix:{socket}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "waiting for GDB\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_breakpoints_steps_and_variables(images: Path, tmp_path: Path, cpus: int) -> None:
    image, socket = images / "Debugged.elf", tmp_path / "gdb"
    line = (HERE / "Debugged.pas").read_text().splitlines().index("  Total := Total + Doubled; { the breakpoint }") + 1
    with waiting(image, socket, cpus) as guest:
        said = gdb(
            image,
            str(socket),
            *(f"break Debugged.pas:{line}", "continue", "info threads", "backtrace"),
            *("print AMOUNT", "print DOUBLED", "print TOTAL", "next", "print TOTAL", "next", "print WHERE"),
            *("continue", "print AMOUNT", "print DOUBLED := 100", "delete", "continue"),
        )
        assert guest.stdout
        assert guest.stdout.read() == "total 108\n"  # 2 + 100 + 6
        assert guest.wait(60) == 0
    assert re.search(rf"\* {cpus} +Thread {cpus} +Add \(Amount=1\)", said)
    assert len(re.findall(r"^[* ] \d+ +Thread \d+ ", said, re.M)) == cpus
    assert "in Count (Parameter=0x0)" in said
    assert re.findall(r"^\$\d+ = (.*)$", said, re.M) == ["1", "2", "0", "2", "{X = 2, Y = 7}", "2", "100"]


def test_a_program_is_interrupted_and_its_fault_is_seen(images: Path, tmp_path: Path) -> None:
    image, socket = images / "DebuggedForever.elf", tmp_path / "gdb"
    with waiting(image, socket, 2) as guest:
        assert "(Remote target) detached" in gdb(image, str(socket), "detach").replace("process 1", "(Remote target)")
        assert guest.stdout
        assert guest.stdout.readline() == "running\n"
        said = gdb(image, str(socket), "info threads", "x/1xw 0", "print GO := 1", "continue", "continue")
        assert "Cannot access memory at address 0x0" in said
        assert "received signal SIGSEGV" in said
        assert "DebuggedForever.pas" in said
        # It is not caught: the kernel reports it as it would without GDB.
        assert "writing to 0000000000000000: nil pointer" in guest.stdout.read()
        assert guest.wait(60) == 216


def test_cores_that_were_just_released_stop_again(images: Path, tmp_path: Path) -> None:
    """The last core runs into its breakpoint again and again, before the first has woken up."""
    image, socket = images / "Debugged.elf", tmp_path / "gdb"
    with waiting(image, socket, 2):
        found = re.search(r"^Breakpoint 1 at 0x(\w+)", gdb(image, str(socket), "break Add", "disconnect"), re.M)
        assert found
        client = Client(str(socket))
        assert client.ask(f"Z0,{found[1]},1") == "OK"
        for _ in range(100):
            assert client.ask("c") == "T05thread:2;"
            assert client.ask("qfThreadInfo") == "m1,2"


def test_an_instruction_that_fails_in_a_step_stops_the_program(images: Path, tmp_path: Path) -> None:
    image, socket = images / "DebuggedForever.elf", tmp_path / "gdb"
    with waiting(image, socket, 2) as guest:
        said = gdb(image, str(socket), "print $pc := 0", "stepi", "info threads", "kill")
        assert "received signal SIGSEGV" in said
        assert len(re.findall(r"^[* ] \d+ +Thread \d+ ", said, re.M)) == 2
        assert guest.wait(60) == 0
