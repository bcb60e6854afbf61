"""Toro's sockets and the host's TCP, end to end: everything that a server encounters."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from guests import PYVMM, Result
from programs import Programs

ECHO, SUM, SEND, FLOOD, DEAF, QUIT, SLOW, PROXY, NOBODY, FULL = range(80, 90)
MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a RST


@dataclass
class Server:
    """A guest that runs SocketEcho, and the host's ports that lead to its."""

    process: subprocess.Popen[bytes]
    ports: dict[int, int] = field(default_factory=dict)

    def connect(self, port: int = ECHO) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.ports[port]))
        sock.settimeout(60)
        return sock


def read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while part := sock.recv(1 << 18):
        data += part
    return bytes(data)


def send_in_background(sock: socket.socket, data: bytes) -> threading.Thread:
    def send() -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def exchange(server: Server, data: bytes, port: int = ECHO) -> bytes:
    """Sends `data`, ends sending, and returns all that comes back."""
    with server.connect(port) as sock:
        sender = send_in_background(sock, data)
        got = read_all(sock)
        sender.join()
    return got


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module", params=[1, 2, 4, 8])
def server(programs: Programs, request: pytest.FixtureRequest) -> Iterator[Server]:
    listener = socket.create_server(("127.0.0.1", 0))  # what PROXY connects to: an echo
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            sock, _ = listener.accept()
            with sock:
                while data := sock.recv(1 << 16):
                    sock.sendall(data)

    host = threading.Thread(target=serve)
    host.start()
    publish = [word for port in range(ECHO, FULL + 1) for word in ("-p", f"0:{port}")]
    command = [PYVMM, "boot", programs.image("SocketEcho"), "--cpus", str(request.param), "--vsock", "5", *publish]
    command += ["--allow", f"90=127.0.0.1:{listener.getsockname()[1]}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        made = Server(process)
        for port in range(ECHO, FULL + 1):
            found = re.search(rb"port (\d+) of 127.0.0.1 is port (\d+)", process.stderr.readline())
            assert found
            made.ports[int(found[2])] = int(found[1])
            assert int(found[2]) == port
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        try:
            yield made
            assert process.poll() is None, "the guest has ended"
        finally:
            process.kill()
            drain.join()
            stop.set()
            socket.create_connection(listener.getsockname()).close()
            host.join()
            listener.close()


@pytest.mark.parametrize("size", [2, 100, 4000, 4001, 16340, 65536, MIB + 1, 64 * MIB])
def test_everything_comes_back(server: Server, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert digest(exchange(server, data)) == digest(data)


def test_byte_by_byte(server: Server) -> None:
    data = random.Random(86).randbytes(20_000)
    assert exchange(server, data, SLOW) == data


def test_many_connections_in_a_row(server: Server) -> None:
    for i in range(1000):
        with server.connect() as sock:
            sock.sendall(b"number %d" % i)
            assert sock.recv(100) == b"number %d" % i


def test_the_last_of_much_data_comes_back_too(server: Server) -> None:
    """The connection stays open and silent: no later packet wakes who waits for the last one."""
    data = random.Random(80).randbytes(MIB)
    for _ in range(200):
        with server.connect() as sock:
            sender = threading.Thread(target=sock.sendall, args=(data,))
            sender.start()
            left = len(data)
            while left:
                part = sock.recv(left)
                assert part
                left -= len(part)
            sender.join()


def test_many_connections_at_once(server: Server) -> None:
    socks = [server.connect() for _ in range(200)]
    for i, sock in enumerate(socks):
        sock.sendall(b"client %d" % i)
    assert [sock.recv(100) for sock in socks] == [b"client %d" % i for i in range(200)]
    for sock in socks:
        sock.close()


def test_much_data_on_several_connections(server: Server) -> None:
    data = [random.Random(i).randbytes(2 * MIB + i) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda text: exchange(server, text), data))
    assert [digest(each) for each in got] == [digest(each) for each in data]


def test_the_client_ends_sending_and_still_receives(server: Server) -> None:
    data = random.Random(81).randbytes(3 * MIB)
    assert exchange(server, data, SUM) == b"%d %d" % (len(data), sum(data))


@pytest.mark.parametrize("count", [1, 5000, 16 * MIB + 3])
def test_the_guest_ends_sending(server: Server, count: int) -> None:
    with server.connect(SEND) as sock:
        sock.sendall(count.to_bytes(8, "little"))
        assert digest(read_all(sock)) == digest((bytes(range(251)) * (count // 251 + 1))[:count])


def test_a_client_that_does_not_read_stops_only_its_own_connection(server: Server) -> None:
    with server.connect(FLOOD) as deaf:
        deaf.sendall(b"x")
        assert exchange(server, b"others go on") == b"others go on"
        first = deaf.recv(1000)  # nothing sent meanwhile is lost
        assert first == (bytes(range(251)) * 4)[: len(first)]


def test_a_guest_that_does_not_read_stops_only_its_client(server: Server) -> None:
    with server.connect(DEAF) as sock:
        sock.setblocking(False)
        sent = 0
        try:
            while sent < 64 * MIB:
                sent += sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
        assert exchange(server, b"others go on") == b"others go on"
        assert sent < 64 * MIB


def test_clients_that_vanish_do_no_harm(server: Server) -> None:
    for port in (ECHO, SUM, SEND, FLOOD, DEAF, PROXY):
        for _ in range(10):
            sock = server.connect(port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.sendall(b"x" * 10_000)
            sock.close()
    assert exchange(server, b"still there") == b"still there"


@pytest.mark.parametrize("port", [NOBODY, FULL], ids=["nobody listens", "backlog full"])
def test_a_refused_client_is_reset(server: Server, port: int) -> None:
    with pytest.raises(ConnectionResetError), server.connect(port) as sock:
        sock.recv(1)


def test_the_guest_connects_to_the_host(server: Server) -> None:
    data = random.Random(87).randbytes(2 * MIB)
    assert digest(exchange(server, data, PROXY)) == digest(data)


def test_a_client_can_end_the_guest(programs: Programs) -> None:
    command = [PYVMM, "boot", programs.image("SocketEcho"), "--vsock", "5", "-p", f"0:{QUIT}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        found = re.search(rb"port (\d+) of", process.stderr.readline())
        assert found
        # It connects before the guest is up, and waits.
        with socket.create_connection(("127.0.0.1", int(found[1]))) as sock:
            sock.sendall(b"\x2a")
            assert process.wait(60) == 42


def test_a_guest_without_the_device_has_no_sockets(toro: Callable[..., object], programs: Programs) -> None:
    result = subprocess.run([PYVMM, "boot", programs.image("NoNetwork")], capture_output=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, b"no socket\n")


def test_windows_grow_as_far_as_there_is_memory_for_all(toro: Callable[..., Result]) -> None:
    told = toro("Promises").stdout.splitlines()
    assert len(told) == 9
    assert all(line.startswith(b"ok ") for line in told)


def test_clients_that_the_guest_does_not_read_leave_room_for_others(programs: Programs) -> None:
    """The memory for every window is there; windows are smaller when there are many."""
    command = [PYVMM, "boot", programs.image("SocketEcho"), "--vsock", "5", "--mem", "48M"]
    command += ["-p", f"0:{DEAF}", "-p", f"0:{ECHO}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest, ExitStack() as stack:
        stack.callback(guest.kill)
        assert guest.stderr
        texts = [guest.stderr.readline().decode() for _ in range(2)]
        server = Server(guest, {port: int(text.split()[2]) for port, text in zip((DEAF, ECHO), texts, strict=True)})
        assert guest.stdout
        assert guest.stdout.readline() == b"ready\n"
        greedy = []
        for i in range(300):
            client = stack.enter_context(server.connect(DEAF))
            client.setblocking(False)
            client.send(bytes(300_000))
            greedy.append(client)
            if i % 50 == 49:
                assert exchange(server, bytes(100_000)) == bytes(100_000)
        for client in greedy:
            with pytest.raises(BlockingIOError):
                client.recv(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
        assert exchange(server, bytes(1_000_000)) == bytes(1_000_000)
