"""TCP clients of the host and a guest behind vsock, through the command."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from guests import PYVMM, pyvmm
from programs import Programs


@dataclass
class Server:
    """A guest that runs, and the host's ports that lead to it."""

    process: subprocess.Popen[str]
    echo: int
    silent: int  # the guest does not listen there

    def connect(self, port: int | None = None) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.echo if port is None else port))
        sock.settimeout(30)
        return sock


@pytest.fixture
def server(programs: Programs) -> Iterator[Server]:
    command = [PYVMM, "boot", programs.image("VsockEcho"), "--vsock", "5", "-p", "0:80", "-p", "0:81"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        ports = [int(re.findall(r"port (\d+) of 127.0.0.1 is port 8", process.stderr.readline())[0]) for _ in range(2)]
        yield Server(process, *ports)
        process.kill()


def echo(server: Server, data: bytes) -> bytes:
    """What comes back of `data`, sent and received at once."""
    with server.connect() as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        got = bytearray()
        while len(got) < len(data):
            got += sock.recv(1 << 16)
        sender.join()
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    return bytes(got)


def test_a_conversation_is_captured(programs: Programs, tmp_path: Path) -> None:
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed")
    capture = tmp_path / "capture.pcapng"
    command = [PYVMM, "boot", programs.image("VsockEcho"), "--vsock", "5", "-p", "0:80", "--pcap", str(capture)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        port = int(re.findall(r"port (\d+) of 127.0.0.1 is port 80", process.stderr.readline())[0])
        assert echo(Server(process, port, 0), b"seen by everybody") == b"seen by everybody"
        process.terminate()
        assert process.wait(60) == 143
    fields = [word for name in ("src_cid", "dst_cid", "op") for word in ("-e", f"vsock.virtio.{name}")]
    done = subprocess.run(
        ["tshark", "-r", capture, "-T", "fields", *fields, "-e", "vsock.payload"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines[:2]] == [["2", "5", "1"], ["5", "2", "2"]]
    data = {(line[0], bytes.fromhex(line[3])) for line in lines if line[3]}
    assert data == {("2", b"seen by everybody"), ("5", b"seen by everybody")}


@pytest.mark.parametrize("size", [1, 2, 4095, 4096, 4097, 65536, 1 << 20])
def test_everything_comes_back(server: Server, size: int) -> None:
    data = b"x" + random.Random(size).randbytes(size - 1)
    assert echo(server, data) == data


def test_clients_that_came_before_the_guest_was_ready_are_served(server: Server) -> None:
    """No wait for the guest's `ready` line."""
    assert echo(server, b"early") == b"early"


def test_many_connections_one_after_another(server: Server) -> None:
    for i in range(200):
        assert echo(server, b"number %d" % i) == b"number %d" % i


def test_many_connections_at_once(server: Server) -> None:
    with ThreadPoolExecutor(20) as pool:
        texts = [b"client %d" % i for i in range(60)]
        assert list(pool.map(lambda text: echo(server, text), texts)) == texts


def test_a_port_that_nobody_listens_on_resets_the_client(server: Server) -> None:
    assert echo(server, b"it listens") == b"it listens"
    with pytest.raises(ConnectionResetError), server.connect(server.silent) as sock:
        sock.recv(1)
    assert echo(server, b"the others go on") == b"the others go on"


def test_clients_that_vanish_do_no_harm(server: Server) -> None:
    for _ in range(20):
        sock = server.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(b"x" * 10_000)
        sock.close()
    assert echo(server, b"still there") == b"still there"


def test_a_client_can_end_the_guest(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"quit")
        assert server.process.wait(30) == 7


def test_a_port_in_use_is_one_line(programs: Programs, server: Server) -> None:
    image = programs.image("VsockEcho")
    result = pyvmm("boot", image, "--vsock", "5", "-p", f"{server.echo}:80")
    assert result.status == 125
    message = f"publishing port {server.echo} of 127.0.0.1: Address already in use; another program listens there"
    assert result.stderr == f"pyvmm: {message}; choose another, or 0 for any\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", "4000:80"], "-p needs a vsock device: --vsock CID"),
        (["--allow", "80"], "--allow needs a vsock device: --vsock CID"),
        (["--vsock", "2"], "--vsock 2: a guest's context id is 3 to 4294967294"),
        (["--vsock", "4294967295"], "--vsock 4294967295: a guest's context id is 3 to 4294967294"),
        (["--vsock", "five"], "--vsock five: not a number"),
        (["--vsock", "5", "--vsock", "6"], "--vsock: given twice"),
        (["--vsock", "5", "-p", "80"], "-p 80: not [ADDR:]HOSTPORT:GUESTPORT, such as 4000:80, or [ADDR:]*"),
        (["--vsock", "5", "-p", "::1:80:80"], "-p ::1:80:80: an IPv6 address is written in brackets: [::1]:4000:80"),
        (["--vsock-uds", "v.sock"], "--vsock-uds needs a vsock device: --vsock CID"),
        (["--vsock-backlog", "1"], "--vsock-backlog needs a vsock device: --vsock CID"),
        (["--vsock", "5", "--vsock-backlog", "0"], "--vsock-backlog 0: not 1 to 4096"),
        (["--vsock", "5", "--vsock-backlog", "many"], "--vsock-backlog many: not a number"),
        (["--vsock", "5", "--vsock-uds", "a", "--vsock-uds", "b"], "--vsock-uds: given twice"),
        (
            ["--vsock", "5", "--vsock-uds", "/"],
            "--vsock-uds /: another kind of file is there; remove it, or choose another path",
        ),
        (["--vsock", "5", "-p", "4000:80", "-p", "127.0.0.1:4000:81"], "-p 127.0.0.1:4000:81: given twice"),
        (["--vsock", "5", "--allow", "80", "--allow", "80=localhost:1"], "--allow 80=localhost:1: given twice"),
        (["--vsock", "5", "--allow", "all", "--allow", "80", "--allow", "all"], "--allow all: given twice"),
        (["--vsock", "5", "--allow", "x"], "--allow x: not PORT, PORT=HOST:PORT or `all`"),
    ],
)
def test_mistakes_are_one_line(options: list[str], message: str) -> None:
    result = pyvmm("boot", "guest.elf", *options)
    assert (result.status, result.stderr) == (125, f"pyvmm: {message}\n")
