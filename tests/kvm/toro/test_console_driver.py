"""Toro's virtio-console driver with the VMM's device, end to end."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from guests import PYVMM, Result
from programs import Programs

MUCH = bytes(ord("a") + i % 26 for i in range(300000))
RING = rb"\[\d+-\d+-\d+ \d+:\d+:\d+\] CPU0 Thread#0x[0-9A-F]+ ring 42\n"


@contextmanager
def running(image: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A guest that has started."""
    command = [PYVMM, "boot", image, *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest:
        try:
            assert guest.stdout
            assert guest.stdout.readline() == b"ready\n"
            yield guest
        finally:
            guest.kill()


def read_all(read: Callable[[int], bytes], end: bytes) -> bytes:
    """What comes until it ends with a match of `end`."""
    data = b""
    while not re.search(end + rb"\Z", data):
        part = read(1 << 16)
        assert part, data[-100:]
        data += part
    return data


@pytest.mark.parametrize("cpus", ["1", "2", "4"])
def test_a_client_of_the_socket_talks_to_the_guest(programs: Programs, tmp_path: Path, cpus: str) -> None:
    path = tmp_path / "s"
    image = programs.image("ConsoleEcho")
    with (
        running(image, "--cpus", cpus, "--console", f"virtio=unix:{path}") as guest,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(path))
        for i in range(50):
            line = b"%d " % i + b"x" * (5 * i) + b"\n"
            client.sendall(line)
            assert read_all(client.recv, b"\n") == line.upper()
        client.sendall(b"much\nend\n")
        assert re.fullmatch(MUCH + RING + b"goodbye\n", read_all(client.recv, b"goodbye\n"))
        assert guest.wait(30) == 0
        assert guest.stdout
        assert guest.stdout.read() == b"50 lines\n"
    assert not path.exists()


def test_a_program_opens_the_terminal(programs: Programs) -> None:
    with running(programs.image("ConsoleEcho"), "--console", "virtio=pty") as guest:
        assert guest.stderr
        name = guest.stderr.readline().decode().removeprefix("pyvmm: virtio-console is ").rstrip()
        fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
        os.write(fd, b"Hello\nmuch\n")
        assert re.fullmatch(b"HELLO\n" + MUCH + RING, read_all(lambda size: os.read(fd, size), RING))
        os.write(fd, b"end\n")
        assert guest.wait(30) == 0
        os.close(fd)


def test_a_client_that_has_gone_stops_nobody(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running(programs.image("ConsoleEcho"), "--console", f"virtio=unix:{path}") as guest:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"much\nend\n")
        assert guest.wait(30) == 0


def test_a_client_that_does_not_read_stops_the_guest_alone(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        running(programs.image("ConsoleEcho"), "--console", f"virtio=unix:{path}") as guest,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(path))
        client.sendall(b"much\n" * 10)
        assert client.recv(1000, socket.MSG_WAITALL) == MUCH[:1000]
        guest.terminate()
        assert guest.wait(30) == 143


def test_the_debug_ring_goes_to_a_file(programs: Programs, toro: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(bytes(10000))
    result = toro("Dump", "--console", f"virtio=file:{path}")
    assert (result.status, result.stdout) == (0, b"")
    assert re.fullmatch(RING, path.read_bytes())


def test_without_the_device_the_ring_goes_to_the_console(toro: Callable[..., Result]) -> None:
    result = toro("Dump")
    assert result.status == 0
    assert re.fullmatch(RING, result.stdout)
