"""Debian's cloud kernel is frozen, and goes on from the file. Runs in the lab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from guests import pyvmm
from linux import KERNEL, Linux, booted, make_initrd, started

pytestmark = pytest.mark.skipif(not KERNEL.exists(), reason="runs in the lab: make test-lab")


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_initrd(tmp_path_factory.mktemp("initrd"))


def echoes(linux: Linux, data: bytes) -> bytes:
    with linux.connect(1234) as sock:
        sock.sendall(data)
        got = b""
        while len(got) < len(data) and (part := sock.recv(65536)):
            got += part
        return got


@pytest.mark.parametrize("cpus", [1, 2])
def test_linux_goes_on_from_a_file(initrd: Path, tmp_path: Path, cpus: int) -> None:
    """A variable of its shell, a process that counts, timers, and a server on vsock."""
    file = tmp_path / "linux.frozen"
    count = "{ (i=0; while :; do i=$((i + 1)); echo $i > /count; sleep 0.1; done) & }"
    devices = ["--vsock", "5"]
    with booted(KERNEL, initrd, "--cpus", str(cpus), "--name", "linux", *devices, ports=(1234,)) as linux:
        linux.run(count)
        linux.run("answer=42")
        assert echoes(linux, b"before") == b"before"
        done = pyvmm("freeze", "linux", "-o", str(file), timeout=300, env=os.environ)
        assert (done.status, done.stderr) == (0, "")
        linux.run("true")  # it goes on
    for _ in range(2):
        with started(file, *devices, ports=(1234,)) as thawed:
            thawed.type("echo the answer is $answer")
            thawed.wait_for("the answer is 42")
            thawed.run("before=$(cat /count); sleep 1; test $(cat /count) -gt $before")
            thawed.run("test -e /proc/1/status && dd if=/dev/urandom of=/random bs=1k count=64 2> /errors")
            assert echoes(thawed, bytes(range(256)) * 100) == bytes(range(256)) * 100
            assert thawed.power_off() == 0
