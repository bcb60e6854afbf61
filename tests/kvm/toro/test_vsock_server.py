"""Streams from the host through vsock to a guest: complete, many, and ended in every way."""

from __future__ import annotations

import random
import re
import resource
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from guests import MIB, PYVMM
from programs import Programs

ECHO, SINK, SOURCE, FULL, REFUSE = PORTS = range(80, 85)


@dataclass
class Server:
    """A guest that runs, the host's port of each of its own, and its unix socket."""

    process: subprocess.Popen[str]
    ports: dict[int, int]
    path: str

    def connect(self, port: int = ECHO) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[port]), timeout=30)


@contextmanager
def running(image: str, path: str, ports: Sequence[int]) -> Iterator[Server]:
    published = [word for port in ports for word in ("-p", f"0:{port}")]
    command = [PYVMM, "boot", image, "--vsock", "5", "--vsock-uds", path, *published]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        told = [process.stderr.readline() for _ in ports]
        here = [int(re.findall(r"port (\d+) of 127.0.0.1 is port 8", line)[0]) for line in told]
        yield Server(process, dict(zip(ports, here, strict=True)), path)
        process.kill()


@pytest.fixture
def server(programs: Programs, tmp_path: Path) -> Iterator[Server]:
    with running(programs.image("VsockServer"), str(tmp_path / "v.sock"), PORTS) as made:
        yield made


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Lets this process have some thousands."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 8192:
        pytest.skip(f"this process may have {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def receive_all(sock: socket.socket) -> bytes:
    """What comes until the end."""
    data = bytearray()
    while part := sock.recv(1 << 20):
        data += part
    return bytes(data)


def echo(sock: socket.socket, data: bytes) -> bytes:
    """What comes back of `data`, sent while receiving; the sender's half is closed behind it."""

    def send() -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    with sock:
        sender = threading.Thread(target=send)
        sender.start()
        got = receive_all(sock)
        sender.join()
    return got


def unix_client(server: Server, port: int = ECHO) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(server.path)
    sock.sendall(b"CONNECT %d\n" % port)
    line = b""
    while not line.endswith(b"\n"):
        line += sock.recv(1)
    assert re.fullmatch(rb"OK \d+\n", line)
    return sock


@pytest.mark.parametrize("size", [2, 4096, 65491, 65492, 65493, MIB + 1, 64 * MIB])
def test_a_stream_comes_back_whole(server: Server, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert sha256(echo(server.connect(), data)).digest() == sha256(data).digest()


def test_a_unix_client_is_served_alike(server: Server) -> None:
    data = random.Random(1).randbytes(5 * MIB)
    assert echo(unix_client(server), data) == data


def test_a_thousand_connections_in_a_row(server: Server) -> None:
    for i in range(1000):
        assert echo(server.connect(), b"number %d" % i) == b"number %d" % i


def test_two_hundred_connections_at_once(server: Server) -> None:
    socks = [server.connect() for _ in range(200)]
    texts = [random.Random(i).randbytes(1 + i * 100) for i in range(len(socks))]
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(echo, socks, texts)) == texts


def test_thousands_of_connections(server: Server, many_descriptors: None) -> None:
    socks = [server.connect() for _ in range(3000)]
    for i, sock in enumerate(socks):
        sock.sendall(b"number %d" % i)
    for i, sock in enumerate(socks):
        assert sock.recv(100) == b"number %d" % i
        sock.close()


def test_a_client_that_never_reads_stops_nobody_else(server: Server) -> None:
    with server.connect(SOURCE) as lazy:
        lazy.recv(1)
        for i in range(20):
            assert echo(server.connect(), b"%d" % i) == b"%d" % i
    assert echo(server.connect(), b"after") == b"after"


def test_a_guest_that_never_reads_stops_its_client_alone(server: Server) -> None:
    with server.connect(FULL) as stopped:
        stopped.settimeout(1)
        with pytest.raises(TimeoutError):
            stopped.sendall(bytes(64 * MIB))
        assert echo(server.connect(), b"go on") == b"go on"
    assert echo(server.connect(), b"after") == b"after"


def own_memory(server: Server) -> int:
    """Bytes of the VMM without the guest's."""
    smaps = Path(f"/proc/{server.process.pid}/smaps").read_text()
    found = re.findall(r"^(\w+)-(\w+) .* 0 *$[^-]*?^Rss:\s+(\d+) kB", smaps, re.MULTILINE)
    sizes = {(start, end): int(end, 16) - int(start, 16) for start, end, _ in found}
    return sum(int(rss) << 10 for start, end, rss in found if sizes[start, end] != 128 * MIB)


def test_clients_that_never_read_cost_no_more_than_their_share(programs: Programs, tmp_path: Path) -> None:
    """docs/limits.md: 256 KiB for each connection. The guest sends to all of them without end."""
    flood = 83
    with running(programs.image("SocketEcho"), str(tmp_path / "v.sock"), (ECHO, flood)) as server:
        data = random.Random(1).randbytes(4 * MIB)
        assert echo(server.connect(), data) == data
        before = own_memory(server)
        lazy = [server.connect(flood) for _ in range(50)]
        for sock in lazy:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert sock.recv(1)
        for _ in range(5):
            assert echo(server.connect(), data) == data
        assert own_memory(server) - before < len(lazy) * 256 * 1024 + 4 * MIB
        for sock in lazy:
            sock.close()
        assert echo(server.connect(), data) == data


def test_a_guest_s_reset_reaches_the_client(server: Server) -> None:
    with server.connect(REFUSE) as sock:
        sock.sendall(b"please")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_clients_that_reset_do_no_harm(server: Server) -> None:
    for port in PORTS:
        for _ in range(10):
            sock = server.connect(port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            try:
                sock.sendall(bytes(300_000))
            except ConnectionError:
                assert port == REFUSE
            sock.close()
    assert echo(server.connect(), b"still there") == b"still there"


def test_the_unix_socket_goes_with_the_guest(server: Server) -> None:
    assert Path(server.path).is_socket()
    with server.connect() as sock:
        sock.sendall(b"quit")
        assert server.process.wait(30) == 7
    assert not Path(server.path).exists()
