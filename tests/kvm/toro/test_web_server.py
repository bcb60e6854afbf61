"""StaticWebServer: files over virtio-fs, connections over vsock."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from random import Random

import pytest
from conftest import Programs
from fusedev import FuseDirectory
from guests import PYVMM, wait_until

from pyvmm.api import share, vsock
from pyvmm.config import MachineConfig
from pyvmm.host.virtiofsd import PROGRAMS
from pyvmm.machine import Machine

SOURCE = Path(__file__).parents[3] / "examples/StaticWebServer/StaticWebServer.pas"


@pytest.fixture
def port(programs: Programs, tmp_path: Path) -> Iterator[int]:
    """Of a server of `tmp_path`."""
    if not any(os.access(program, os.X_OK) for program, _ in PROGRAMS):
        pytest.skip("needs virtiofsd (Debian 12: qemu-system-common)")
    (tmp_path / "index.html").write_text("<title>Toro</title>")
    append = "virtiovsocket,virtiofs,FS,noconsole"
    command = [PYVMM, "boot", programs.image(SOURCE), "--mem=512M", "--cpus=2", "--vsock=5", "-p", "0:80"]
    command += [f"--share={tmp_path}:FS:ro", "--append", append]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stderr
        told = server.stderr.readline()
        assert server.stdout.readline() == b"listening\n"
        yield int(re.findall(rb"port (\d+) of", told)[0])
        assert server.poll() is None
        server.kill()


def get(connection: HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def test_many_clients_at_once(port: int) -> None:
    answers = []

    def ask() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        answers.extend(get(connection, path) for path in ["/", "/index.html", "/nothing"] * 50)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 * 150
    assert answers.count((200, b"<title>Toro</title>")) == 8 * 100
    assert answers.count((404, b"404 Not Found\n")) == 8 * 50


def test_a_file_of_100_mib(port: int, tmp_path: Path) -> None:
    data = Random(3).randbytes(100 << 20)
    (tmp_path / "file with spaces").write_bytes(data)
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    status, got = get(connection, "/file%20with%20spaces")
    connection.close()
    assert status == 200
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


@pytest.mark.slow
def test_under_load(port: int) -> None:
    if not shutil.which("wrk"):
        pytest.skip("needs wrk")
    command = ["wrk", "-t1", "-c16", "-d10s", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    assert int(re.findall(r"(\d+) requests in", said)[0]) > 0


@pytest.mark.parametrize("operation", ["lookup", "open", "read"])
def test_a_share_that_fails_is_not_the_client_s_fault(programs: Programs, tmp_path: Path, operation: str) -> None:
    (tmp_path / "index.html").write_text("a page")
    share = FuseDirectory(tmp_path, valid_s=0)
    config = MachineConfig(programs.image(SOURCE), command_line="virtiovsocket,virtiofs,FS")
    with Machine(config, [vsock(5, ["0:80"]), share]) as machine:
        machine.start()
        connection = HTTPConnection("127.0.0.1", machine.ports[80][1], timeout=60)
        assert get(connection, "/") == (200, b"a page")
        share.tamper = lambda name, reply: b"\x10\0\0\0\xfb\xff\xff\xff" + reply[8:16] if name == operation else reply
        assert get(connection, "/") == (503, b"503 Service Unavailable\n")
        share.tamper = lambda name, reply: reply
        assert get(connection, "/") == (200, b"a page")
        connection.close()


def test_a_share_that_is_mounted_anew_is_served_again(programs: Programs, tmp_path: Path) -> None:
    def mount(text: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", site], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr}")
        (site / "index.html").write_text(text)

    site = tmp_path / "site"
    site.mkdir()
    mount("old")
    log: list[str] = []
    config = MachineConfig(programs.image(SOURCE), command_line="virtiovsocket,virtiofs,FS,noconsole")
    try:
        with Machine(config, [vsock(5, ["0:80"]), share(f"{site}:FS", log.append)], log.append) as machine:
            machine.start()
            connection = HTTPConnection("127.0.0.1", machine.ports[80][1], timeout=60)
            assert get(connection, "/") == (200, b"old")
            subprocess.run(["umount", "-l", site], check=True)
            wait_until(lambda: log, "the end of the mount is told")
            mount("new")
            wait_until(lambda: get(connection, "/") == (200, b"new"), "the new mount is served")
            connection.close()
    finally:
        while os.path.ismount(site):
            subprocess.run(["umount", "-l", site], check=True)
    assert log[0] == f"share {site}:FS: its file system is not mounted any more"
    assert log[1].endswith("its file system was mounted anew")
