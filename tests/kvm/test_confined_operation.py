"""What surrounds a confined guest of `pyvmm boot` is as for others: listing, control socket, console, ports."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from guests import PYVMM, Assembler, pyvmm, wait_until

IDLE = """
    print text, 5
    jmp 9f
    .data
text: .ascii "here\\n"
    .text
"""
#: Prints for ever.
PRINTS = """
1:  print text, 64
    jmp 1b
    .data
text: .fill 63, 1, 0x78
    .byte 10
    .text
"""
#: Computes until it is listed.
COMPUTES = """
    rdtsc
    shl rdx, 32
    lea rbx, [rax + rdx + 0x60000000]
1:  rdtsc
    shl rdx, 32
    add rax, rdx
    cmp rax, rbx
    jb 1b
"""
#: Takes an exception without a handler then.
CRASHES = f"""
    call late
    .type late, @function
late:
    {COMPUTES}
    ud2
    .size late, . - late
"""
ENTERED = pytest.mark.parametrize("cached", [False, True], ids=["composed", "cached"])


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))


@contextmanager
def confined(image: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A guest that is listed."""
    words = [PYVMM, "boot", image, "--sandbox=require", *options]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as guest:
        try:
            wait_until(lambda: len(guests()) == 1 or guest.poll() is not None, "the guest is listed")
            yield guest
        finally:
            guest.kill()


def guests() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(pyvmm("ps", "--json").stdout)
    return listed


def status_of(pid: int) -> dict[str, list[str]]:
    """/proc/PID/status: the main thread's."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: values.split() for name, _, values in (line.partition(":") for line in lines)}


@ENTERED
def test_a_guest_is_listed_and_obeys(assemble: Assembler, tmp_path: Path, cached: bool) -> None:
    image = assemble(IDLE)
    if cached:
        with confined(image):
            pass
    with confined(image) as guest:
        (listed,) = guests()
        name = listed["name"]
        for command, state in (("pause", "paused"), ("resume", "running")):
            assert pyvmm(command, name).status == 0
            assert guests()[0]["state"] == state
        frozen = tmp_path / "frozen"
        assert pyvmm("freeze", name, "-o", str(frozen)).status == 0
        assert frozen.stat().st_size > 0
        assert pyvmm("stop", name, "--time", "0").status == 0
        assert guest.wait(60) == 143
        assert guest.stderr
        assert guest.stderr.read() == b""
    assert not [*(tmp_path / "XDG_RUNTIME_DIR/pyvmm").iterdir()]


def test_a_client_that_speaks_no_json_is_told(
    assemble: Assembler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "XDG_RUNTIME_DIR")  # a socket's path is short
    with confined(assemble(IDLE)) as guest, socket.socket(socket.AF_UNIX) as client:
        client.connect(f"pyvmm/{guests()[0]['name']}/control")
        with client.makefile("rw") as lines:
            assert "QMP" in json.loads(lines.readline())
            for nonsense in ('{"execute": }', "{]", '{"execute": "\\u12"}', "x"):
                lines.write(nonsense + "\n")
                lines.flush()
                assert "JSON parse error" in json.loads(lines.readline())["error"]["desc"]
        assert guest.poll() is None


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_being_listed_takes_no_more_of_the_interpreter(assemble: Assembler, tmp_path: Path) -> None:
    """Its main phase begins by a look for `os.py` (pyvmm/command/launch.py), and takes 10 ms from the guest."""
    log = tmp_path / "strace"
    words = ["strace", "-f", "-o", str(log), "-e", "trace=%file", PYVMM, "boot", assemble(IDLE), "--vsock", "5"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as traced:
        wait_until(guests, "the guest is listed")
        assert pyvmm("stop", guests()[0]["name"]).status == 0
        traced.wait(60)
    assert "_cffi_backend" in log.read_text()
    assert "/os.py" not in log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's guests run as others")
@ENTERED
def test_root_s_guest_runs_as_nobody(assemble: Assembler, cached: bool) -> None:
    image = assemble(IDLE)
    if cached:
        with confined(image):
            pass
    with confined(image) as guest:
        status = status_of(guest.pid)
        assert status["Uid"] == ["65534", "65534", "65534", "0"]  # the last is of files
        assert status["Gid"] == ["65534"] * 4
        assert status["Groups"] == []
        assert (status["CapPrm"], status["CapEff"]) == (["0" * 16], ["0" * 16])
        assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])


def test_a_log_that_is_full_is_replaced(assemble: Assembler, tmp_path: Path) -> None:
    done = pyvmm("boot", assemble(PRINTS), "--detach", "--name", "one", "--sandbox=require")
    assert (done.status, done.stdout, done.stderr) == (0, b"one\n", "")
    log = tmp_path / "XDG_STATE_HOME/pyvmm/one.log"
    wait_until(lambda: log.with_name("one.log.1").exists() and log.exists(), "the log is replaced")
    assert pyvmm("stop", "one", "--time", "0").status == 0
    assert log.with_name("one.log.1").stat().st_size > 1 << 19


def test_metrics_are_counted(assemble: Assembler, tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    with confined(assemble(IDLE), "--metrics", f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        text = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert b"pyvmm_memory_touched_bytes" in text
        assert b"pyvmm_steal_seconds_total" in text


@ENTERED
def test_a_crash_is_explained(assemble: Assembler, tmp_path: Path, cached: bool) -> None:
    """By an image that was opened before, and modules that were loaded before; and so it is with files."""
    image, where = assemble(CRASHES), tmp_path / "crash"
    options = [] if cached else ["--crash", str(where)]
    if cached:
        with confined(image):
            pass
    with confined(image, *options) as guest:
        assert guest.wait(60) == 124
        assert guest.stderr
        assert "late+" in guest.stderr.read().decode()
    assert cached or {path.name for path in where.iterdir()} == {"core", "report.json", "report.txt"}


@ENTERED
def test_its_times_are_told(assemble: Assembler, tmp_path: Path, cached: bool) -> None:
    image, file = assemble(f"{COMPUTES}\n exit 3"), tmp_path / "times.json"
    for _ in range(2 if cached else 1):
        done = pyvmm("boot", image, "--sandbox=require", f"--timing={file}")
        assert (done.status, done.stderr) == (3, "")
        assert json.loads(file.read_text())["steps"]


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of version 2."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"), "/")
    made = next((Path(place + own, f"pyvmm-{os.getpid()}") for _, place, kind, *_ in mounts if kind == "cgroup2"), None)
    if not made or not os.access(made.parent, os.W_OK):
        pytest.skip("needs control groups of version 2, and a part of them that is this user's")
    made.mkdir()
    try:
        yield made
    finally:
        wait_until(lambda: "populated 0" in (made / "cgroup.events").read_text(), "the group's processes have ended")
        made.rmdir()


def test_a_guest_runs_in_its_control_group(assemble: Assembler, tmp_path: Path, group: Path) -> None:
    (tmp_path / "files").mkdir()
    with confined(assemble(IDLE), "--cgroup", str(group), "--share", f"{tmp_path}/files:files") as guest:
        members = {int(line) for line in (group / "cgroup.procs").read_text().splitlines()}
        assert guest.pid in members
        assert {Path(f"/proc/{pid}/comm").read_text() for pid in members} >= {"pyvmm\n", "virtiofsd\n"}
