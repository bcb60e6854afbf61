"""What confines `pyvmm boot` changes nothing of what a guest does. (All other tests' guests are confined, too.)"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from guests import PYVMM, Assembler, Result, pyvmm
from programs import Programs

PRINTS = """
    print text, 3
    exit 7
text: .ascii "hi\\n"
"""


@pytest.mark.parametrize("mode", ["off", "on", "require"])
@pytest.mark.parametrize("options", [[], ["--pin", "0"], ["--mem", "6G", "--user=1000-1999:100"]])
def test_output_and_status(assemble: Assembler, mode: str, options: list[str]) -> None:
    assert pyvmm("boot", assemble(PRINTS), f"--sandbox={mode}", *options) == Result(7, b"hi\n", "")


def test_a_report_of_its_start(assemble: Assembler, tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    assert pyvmm("boot", assemble(PRINTS), f"--timing={path}") == Result(7, b"hi\n", "")
    assert json.loads(path.read_text())


@pytest.mark.parametrize("mode", ["off", "on"])
def test_it_is_frozen_and_goes_on(programs: Programs, tmp_path: Path, mode: str) -> None:
    file, again = tmp_path / "idle.frozen", tmp_path / "again.frozen"
    devices = ["--vsock", "5", "-p", "0:80", f"--sandbox={mode}"]
    for image, target in ((programs.image("SocketEcho"), file), (str(file), again)):
        done = pyvmm("boot", image, *devices, "--freeze", str(target))
        assert (done.status, done.stderr.splitlines()[-1]) == (0, f"pyvmm: frozen to {target}")
        assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", ["off", "on"])
def test_connections_end_with_the_guest(programs: Programs, tmp_path: Path, mode: str) -> None:
    uds = tmp_path / "uds"
    devices = ["--vsock", "5", "-p", "0:80", "--vsock-uds", str(uds), f"--sandbox={mode}"]
    with subprocess.Popen([PYVMM, "boot", programs.image("VsockServer"), *devices], stderr=subprocess.PIPE) as guest:
        assert guest.stderr
        port = int(guest.stderr.readline().split()[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(b"quit")
            assert guest.wait(60) == 7
        assert guest.stderr.read() == b""
    assert not uds.exists()


def children(pid: int) -> Iterator[int]:
    """Those of a process, and theirs."""
    try:
        tasks = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return
    for child in map(int, " ".join(tasks).split()):
        yield child
        yield from children(child)


def virtiofsds(pid: int) -> set[int]:
    """Those among a guest's."""
    return {child for child in children(pid) if "virtiofsd" in Path(f"/proc/{child}/comm").read_text()}


@pytest.mark.parametrize("mode", ["off", "on"])
def test_a_virtiofsd_that_is_killed_is_replaced(programs: Programs, tmp_path: Path, mode: str) -> None:
    (tmp_path / "dir").mkdir()
    big = tmp_path / "dir/big"
    big.write_bytes(random.Random(2).randbytes(1 << 20))
    options = ["--append", "loop", "--share", f"{tmp_path}:FS", f"--sandbox={mode}"]
    command = [PYVMM, "boot", programs.image("Trees"), *options]
    lines: list[list[str]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest:
        assert guest.stdout
        assert guest.stderr
        for line in guest.stdout:
            lines.append(line.decode().split())
            if len(lines) in (2, 4):
                first = min(virtiofsds(guest.pid))  # its child goes with it
                os.kill(first, signal.SIGKILL)
        complaints = guest.stderr.read().decode().splitlines()
        assert guest.wait(60) == 0
    assert [line[2:] for line in lines] == [[sha256(big.read_bytes()).hexdigest(), "1", str(1 << 20)]] * 10
    assert complaints == ["pyvmm: fs at 0xfeb00000 stopped: virtiofsd was killed by signal 9"] * 2
