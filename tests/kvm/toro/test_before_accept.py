"""Clients that send as soon as they are connected, of a guest that takes nothing until its application accepts."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from guests import PYVMM
from programs import Programs


@pytest.fixture
def guest(programs: Programs, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """The guest, and where its port 80 is: a TCP port, and a unix socket."""
    path = str(tmp_path / "v.sock")
    command = [PYVMM, "boot", programs.image("BeforeAccept"), "--vsock", "5", "-p", "0:80", "--vsock-uds", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        found = re.search(r"port (\d+) of 127.0.0.1 is port 80", process.stderr.readline())
        assert found
        yield process, int(found[1]), path
        process.kill()


def ask(port: int, question: bytes) -> bytes:
    """All that comes back until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(question)
        return b"".join(iter(lambda: client.recv(4096), b""))


def end(guest: tuple[subprocess.Popen[str], int, str]) -> int:
    """Ends the guest; returns how many times it has refused data."""
    process, port, _ = guest
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"quit")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    return int(out.split()[0])


def test_clients_in_sequence(guest: tuple[subprocess.Popen[str], int, str]) -> None:
    questions = [b"question %d" % i for i in range(40)]
    assert [ask(guest[1], question) for question in questions] == questions
    assert end(guest) > 0


def test_eight_clients_at_once(guest: tuple[subprocess.Popen[str], int, str]) -> None:
    questions = [b"question %d" % i for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda question: ask(guest[1], question), questions)) == questions
    assert end(guest) > 0


def test_a_client_of_the_unix_socket(guest: tuple[subprocess.Popen[str], int, str]) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(guest[2])
        client.sendall(b"CONNECT 80\nquestion")
        client.shutdown(socket.SHUT_WR)
        told = b"".join(iter(lambda: client.recv(4096), b""))
    assert re.fullmatch(rb"OK \d+\nquestion", told)
    end(guest)
