"""examples/WebService: an unmodified fcl-web program answers as it does on Linux."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from guests import PYVMM, wait_until
from programs import Programs

from pyvmm.host.virtiofsd import PROGRAMS
from pyvmm.toolchain import library

SOURCE = Path(__file__).parents[3] / "examples/WebService/WebService.pas"

REQUESTS = [
    ("GET", "/date?day=2024-02-29", b""),
    ("GET", "/date?day=2023-12-31", b""),
    ("GET", "/date?day=never", b""),
    ("POST", "/sha1", bytes(range(256)) * 200),
    ("GET", "/count?limit=5000", b""),
    ("PUT", "/files/one", b"1" * 100000),
    ("PUT", "/files/two", b""),
    ("GET", "/files", b""),
    ("GET", "/files/one", b""),
    ("GET", "/files/none", b""),
]


@contextmanager
def service(programs: Programs, folder: Path, mode: str) -> Iterator[int]:
    """The port of the host at which a guest serves."""
    if not any(os.access(program, os.X_OK) for program, _ in PROGRAMS):
        pytest.skip("needs virtiofsd (Debian 12: qemu-system-common)")
    command = [PYVMM, "boot", programs.image(SOURCE), "--cpus=2", "--vsock=5", "-p", "0:80", f"--share={folder}:files"]
    with subprocess.Popen(
        [*command, "--append", f"80 {mode}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as guest:
        assert guest.stdout
        assert guest.stderr
        told = guest.stderr.readline()
        assert guest.stdout.readline() == b"listening on port 80\n"
        yield int(re.findall(rb"port (\d+) of", told)[0])
        assert guest.poll() is None
        guest.kill()


def answers(port: int) -> list[tuple[int, str | None, bytes]]:
    """Status, type and body of each answer."""
    said = []
    for method, path, body in REQUESTS:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, body or None)
        response = connection.getresponse()
        said.append((response.status, response.getheader("Content-Type"), response.read()))
        connection.close()
    return said


@pytest.mark.parametrize("mode", ["", "threaded"])
def test_answers(programs: Programs, tmp_path: Path, mode: str) -> None:
    with service(programs, tmp_path, mode) as port:
        said = answers(port)
    assert [status for status, _, _ in said] == [200, 200, 400, 200, 200, 200, 200, 200, 200, 404]
    assert json.loads(said[0][2])["leap"] is True
    assert json.loads(said[3][2])["sha1"] == hashlib.sha1(REQUESTS[3][2]).hexdigest()
    assert json.loads(said[4][2])["primes"] == 669
    assert json.loads(said[7][2])["files"] == ["one", "two"]
    assert said[8][2] == (tmp_path / "one").read_bytes() == b"1" * 100000


def test_clients_at_the_same_time(programs: Programs, tmp_path: Path) -> None:
    counted = []

    def ask(port: int) -> None:
        for _ in range(20):
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/count?limit=100")
            counted.append(json.loads(connection.getresponse().read())["primes"])
            connection.close()

    with service(programs, tmp_path, "threaded") as port:
        clients = [threading.Thread(target=ask, args=(port,)) for _ in range(6)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert counted == [25] * 120


def test_the_same_source_answers_the_same_on_linux(programs: Programs, tmp_path: Path) -> None:
    if not shutil.which("fpc"):
        pytest.skip("needs fpc, for Linux")
    for name in ("made", "linux", "toro"):
        (tmp_path / name).mkdir()
    fpc = library.SOURCES / subprocess.run(["fpc", "-iV"], capture_output=True, text=True, check=True).stdout.strip()
    paths = [f"-F{kind}{place}" for kind in "ui" for place in library.package_places(fpc)]
    made = tmp_path / "made/WebService"
    command = ["fpc", "-v0e", *paths, f"-FU{made.parent}", f"-o{made}", str(SOURCE)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([made, str(port)], cwd=tmp_path / "linux", stdout=subprocess.DEVNULL) as native:
        wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "the service listens")
        expected = answers(port)
        native.kill()
    with service(programs, tmp_path / "toro", "") as port:
        assert answers(port) == expected
