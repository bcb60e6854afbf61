"""GDB on a guest, from outside: its first instruction, breakpoints, steps, watchpoints, Ctrl-C, detach and kill."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from gdbs import Client, gdb, waiting
from guests import PYVMM
from programs import Programs

from pyvmm.gdb.packets import packet
from pyvmm.gdb.server import SCRIPT
from pyvmm.toolchain.build import build

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not shutil.which("gdb") or not shutil.which("ppcx64"), reason="needs gdb and fp-compiler"
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with debug information."""
    path = tmp_path_factory.mktemp("watched") / "Watched.elf"
    build(str(HERE / "Watched.pas"), str(path), debug=True)
    return path


def test_from_the_first_instruction_to_the_end(image: Path) -> None:
    with waiting(image) as (guest, place):
        said = gdb(
            image, place,
            "p $pc == (unsigned long) &toro_start || $cs == 8", "p/x $cr0 & 1", "info line", "break Increase",
            "continue", "backtrace", "print AMOUNT", "finish", "print TOTAL", "stepi", "monitor regs",
            "monitor mmu &TOTAL", "monitor virtio", "monitor what", "x/4xb 0", "delete", "continue",
        )  # fmt: skip
        assert guest.stdout
        assert guest.stdout.read() == "total 2\n"
        assert guest.wait(60) == 0
    assert "Breakpoint 1, Increase (Amount=1)" in said
    assert "in $main ()" in said
    assert re.findall(r"^\$\d+ = (.*)$", said, re.M) == ["1", "0x1", "1", "2"]
    assert "vCPU 0: running, ring 3" in said
    assert "no devices" in said
    assert "regs            registers of each vCPU" in said
    assert "Cannot access memory at address 0x0" in said
    assert "exited normally" in said
    assert not Path(place).parent.exists()


@pytest.mark.parametrize("cpus", [2, 4])
def test_vcpus_are_threads(image: Path, cpus: int) -> None:
    with waiting(image, "--cpus", str(cpus)) as (guest, place):
        said = gdb(
            image, place, "break Increase", *["continue"] * cpus, "info threads", "thread 1", "backtrace 1", "delete",
            "continue",
        )  # fmt: skip
        assert guest.stdout
        assert guest.stdout.read() == f"total {cpus * (cpus + 1)}\n"
        assert guest.wait(60) == 0
    assert re.findall(r"Breakpoint 1, Increase \(Amount=(\d)\)", said) == [str(cpu + 1) for cpu in range(cpus)]
    assert len(re.findall(r"^[* ] +\d+ +Thread \d+ \(vCPU \d+ (?:running|halted)\)", said, re.M)) == cpus


def test_threads_of_toro(image: Path) -> None:
    with waiting(image, "--cpus", "2") as (guest, place):
        said = gdb(image, place, f"source {SCRIPT}", "break Increase if AMOUNT=2", "continue", "toro-threads", "kill")
        assert guest.wait(60) == 143
    threads = [part.splitlines() for part in re.split(r"^(?=thread \d)", said, flags=re.M)[1:]]
    assert [lines[0] for lines in threads] == [
        "thread 0: running, core 0",
        "thread 0: blocked, core 1",
        "thread 1: running, core 1",
    ]
    assert any(" in $main at " in line for line in threads[0])
    assert any(" in Block at " in line for line in threads[1])
    assert re.fullmatch(r"  #0 0x\w+ in Increase at \S+Watched.pas:20", threads[2][1])
    assert " in Count at " in threads[2][2]


def test_watchpoints(image: Path) -> None:
    with waiting(image, "--cpus", "2") as (guest, place):
        said = gdb(
            image, place, "break Increase", "continue", "delete", "watch TOTAL", "continue", "continue", "delete",
            "set var TOTAL := 40", "continue",
        )  # fmt: skip
        assert guest.stdout
        assert guest.stdout.read() == "total 40\n"
        assert guest.wait(60) == 0
    assert re.findall(r"Old value = (\d+)\nNew value = (\d+)", said) == [("0", "2"), ("2", "6")]


def test_a_triple_fault_is_seen(image: Path) -> None:
    with waiting(image) as (guest, place):
        broken = ("set $idt_limit := 0", "set $rip := 0")
        said = gdb(image, place, "break Increase", "continue", *broken, "continue", "kill")
        assert guest.wait(60) == 143
    assert "triple fault" in said
    assert "SIGSEGV" in said


def test_ctrl_c_and_detach_while_it_runs(programs: Programs, tmp_path: Path) -> None:
    place = str(tmp_path / "gdb")
    command = [PYVMM, "boot", programs.image("Repeats"), "--gdb", place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guest:
        try:
            assert guest.stdout
            assert guest.stdin
            assert guest.stdout.readline() == "ready\n"  # it runs, and nobody is connected
            for _ in range(3):
                client = Client(place)
                assert client.ask("?").startswith("T05thread:1;")
                client.socket.sendall(packet(b"vCont;c"))
                client.socket.sendall(b"\x03")
                assert client.answer().startswith("T02thread:1;")
                assert client.ask("D") == "OK"
                assert client.socket.recv(1) == b""
            client = Client(place)
            client.socket.sendall(packet(b"vCont;s:1"))
            client.socket.close()  # in the middle of a step
            guest.stdin.write("hello\n")
            guest.stdin.flush()
            assert guest.stdout.readline() == "<hello>\n"
            client = Client(place)
            client.socket.sendall(packet(b"k"))
            assert guest.wait(30) == 143
        finally:
            guest.kill()
    assert not Path(place).exists()


def test_a_guest_is_paused_by_gdb_or_by_others(programs: Programs, tmp_path: Path) -> None:
    place = str(tmp_path / "gdb")

    def does(*words: str) -> tuple[int, str]:
        done = subprocess.run([PYVMM, *words], capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stderr

    command = [PYVMM, "boot", programs.image("Repeats"), "--gdb", place, "--name", "one"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as guest:
        try:
            assert guest.stdout.readline() == "ready\n"
            client = Client(place)
            client.ask("?")
            for words in (["pause", "one"], ["freeze", "one", "-o", str(tmp_path / "frozen")]):
                status, told = does(*words)
                assert status == 125
                assert told.endswith("pausing the guest: Device or resource busy; GDB is connected or awaited\n")
            assert client.ask("D") == "OK"
            assert client.socket.recv(1) == b""
            assert does("pause", "one") == (0, "")
            with socket.socket(socket.AF_UNIX) as turned_away:
                turned_away.connect(place)
                assert turned_away.recv(1) == b""
            assert guest.stderr.readline() == "pyvmm: the guest is paused; resume it before GDB connects\n"
            assert does("resume", "one") == (0, "")
            guest.stdin.write("hello\n")
            guest.stdin.flush()
            assert guest.stdout.readline() == "<hello>\n"
        finally:
            guest.kill()


def test_a_guest_that_waits_for_gdb_waits_whatever_is_asked(programs: Programs, tmp_path: Path) -> None:
    with waiting(Path(programs.image("Repeats")), "--name", "one") as (guest, place):
        for words in (["pause", "one"], ["freeze", "one", "-o", str(tmp_path / "frozen")]):
            done = subprocess.run([PYVMM, *words], capture_output=True, text=True, check=False, timeout=60)
            assert done.stderr.endswith("GDB is connected or awaited\n")
        client = Client(place)
        assert client.ask("?").startswith("T05")
        client.socket.sendall(packet(b"k"))
        assert guest.wait(30) == 143


def test_places_that_cannot_be(image: Path, tmp_path: Path) -> None:
    def failing(target: str) -> str:
        result = subprocess.run([PYVMM, "boot", image, "--gdb", target], capture_output=True, text=True, check=False)
        assert result.returncode in (2, 125)
        assert result.stdout == ""
        return result.stderr

    (tmp_path / "file").write_text("mine")
    assert "Address already in use" in failing(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"
    assert "No such file" in failing(str(tmp_path / "none/gdb"))
    assert "localhost:x: not a path, nor HOST:PORT" in failing("localhost:x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "Address already in use" in failing(f"127.0.0.1:{taken.getsockname()[1]}")
