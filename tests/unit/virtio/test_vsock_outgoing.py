"""Connections that the guest makes: addresses that refuse, slow servers, and itself as the server."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from fcntl import ioctl
from pathlib import Path

import pytest
from guests import descriptors_left
from vsockguest import Guest

from pyvmm._kvm import lib
from pyvmm.host.tcp import TcpHost
from pyvmm.testing.vsockpacket import OP_REQUEST, OP_RESPONSE, OP_RST, OP_RW, Header

PORT = 81


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest(unix=str(tmp_path / "v.sock"))
    yield made
    made.close()


@pytest.fixture
def unix_server(tmp_path: Path) -> Iterator[socket.socket]:
    """What the guest reaches at PORT of CID 2, with room for one connection in its backlog."""
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(10)
        made.bind(str(tmp_path / f"v.sock_{PORT}"))
        made.listen(0)
        yield made


def allow(guest: Guest, *addresses: tuple[str, int], port: int = PORT) -> None:
    """Lets the guest connect to a port of CID 2 that has these addresses."""
    for address in addresses:
        ((sockaddr,),) = TcpHost([], [(port, address)], 1).allowed.values()
        lib.vsock_allow(guest.device.native, port, sockaddr, len(sockaddr))


def unused() -> tuple[str, int]:
    """An address at which nobody listens."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        address: tuple[str, int] = made.getsockname()
        return address


def silent(stack: ExitStack) -> tuple[str, int]:
    """An address that answers a request to connect neither way, until `stack` ends: its backlog is full."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    address: tuple[str, int] = listener.getsockname()
    for _ in range(3):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(address)
    return address


def greeted(guest: Guest, key: tuple[int, int], server: socket.socket) -> None:
    """The connection leads to this server."""
    guest.expect(OP_RESPONSE)
    with server.accept()[0] as end:
        end.settimeout(10)
        guest.send(OP_RW, key, b"hello")
        assert end.recv(10) == b"hello"


@pytest.mark.parametrize("port", [PORT, lib.VSOCK_ANY_PORT], ids=["port", "all"])
def test_the_second_address_is_tried_when_the_first_refuses_at_once(guest: Guest, port: int) -> None:
    allow(guest, unused(), unused(), guest.server.getsockname(), port=port)
    guest.start()
    guest.send(OP_REQUEST, (1000, PORT))
    greeted(guest, (1000, PORT), guest.server)


def test_the_second_address_is_tried_when_the_first_refuses_later(guest: Guest) -> None:
    with ExitStack() as stack:
        allow(guest, silent(stack), unused(), guest.server.getsockname())
        guest.start()
        guest.send(OP_REQUEST, (1000, PORT))
        guest.turn(20)
        assert guest.packets() == []
    greeted(guest, (1000, PORT), guest.server)


def test_a_port_all_of_whose_addresses_refuse_is_refused(guest: Guest) -> None:
    with ExitStack() as stack:
        allow(guest, silent(stack), unused())
        guest.start()
        guest.send(OP_REQUEST, (1000, PORT))
        guest.turn(20)
    guest.expect(OP_RST)
    assert guest.streams() == 0


def test_a_guest_that_does_not_wait_for_an_address_ends_the_attempt(guest: Guest) -> None:
    with ExitStack() as stack:
        allow(guest, silent(stack), guest.server.getsockname())
        guest.start()
        guest.send(OP_REQUEST, (1000, PORT))
        guest.send(OP_RST, (1000, PORT))
        assert guest.streams() == 0


def test_a_full_backlog_of_a_unix_socket_is_waited_for(guest: Guest, unix_server: socket.socket) -> None:
    guest.start()
    for i in range(5):
        guest.send(OP_REQUEST, (1000 + i, PORT))
    assert guest.streams() == 5
    answered = [guest.expect(OP_RESPONSE).dst_port]
    while len(answered) < 5:
        unix_server.accept()[0].close()
        answered += [header.dst_port for header in headers(guest, OP_RESPONSE)]
    assert answered == [1000, 1001, 1002, 1003, 1004]
    guest.send(OP_RW, (1004, PORT), b"hello")
    with unix_server.accept()[0] as last:
        assert last.recv(10) == b"hello"


def headers(guest: Guest, op: int) -> list[Header]:
    """Waits for packets with this op, and takes no notice of others."""
    for _ in range(100):
        if found := [header for header, _ in guest.packets() if header.op == op]:
            return found
        guest.turn(100)
    raise AssertionError(f"no packet with op {op}")


def test_a_unix_server_that_ends_while_its_backlog_is_full_refuses(guest: Guest, unix_server: socket.socket) -> None:
    guest.start()
    guest.send(OP_REQUEST, (1000, PORT))
    guest.expect(OP_RESPONSE)
    guest.send(OP_REQUEST, (1001, PORT))
    unix_server.close()
    assert {header.dst_port for header in headers(guest, OP_RST)} <= {1000, 1001}
    guest.turn(20)
    guest.packets()
    assert guest.streams() == 0


def test_a_guest_that_does_not_wait_for_a_backlog_ends_the_attempt(guest: Guest, unix_server: socket.socket) -> None:
    guest.start()
    for port in (1000, 1001):
        guest.send(OP_REQUEST, (port, PORT))
    guest.expect(OP_RESPONSE)
    guest.send(OP_RST, (1001, PORT))
    assert guest.streams() == 1


@pytest.mark.parametrize("kind", ["no file", "nobody listens", "not allowed", "no descriptor"])
def test_why_a_unix_socket_cannot_be_reached(guest: Guest, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"v.sock_{PORT}"
    if kind == "nobody listens":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif kind == "not allowed":
        path.symlink_to(path)  # ELOOP; also root gets it
    guest.start()
    with descriptors_left(0) if kind == "no descriptor" else nullcontext():
        guest.send(OP_REQUEST, (1000, PORT))
    guest.expect(OP_RST)
    if kind != "nobody listens":
        guest.device.noted()
    expected = {
        "no file": [f"the guest may not connect to port {PORT}; allow the port to let it"],
        "nobody listens": [],
        "not allowed": [f"a connection is refused: {os.strerror(errno.ELOOP)}"],
        "no descriptor": [f"a connection is refused: {os.strerror(errno.EMFILE)}"],
    }
    assert guest.log == expected[kind]


def test_a_connection_to_itself_is_refused() -> None:
    """The kernel takes a free port as the source, and here there are only those two that it connects to."""
    words = ["unshare", "--user", "--map-root-user", "--net", sys.executable, __file__]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.stdout, done.stderr) == ("refused\n", "")


def connect_to_itself() -> None:
    """The test above, in a network of its own."""
    with socket.socket() as any_socket:
        ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP (netdevice(7))
    guest = Guest()
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40001")
    allow(guest, ("127.0.0.1", 40000), ("127.0.0.1", 40001))
    guest.start()
    for i in range(50):
        guest.send(OP_REQUEST, (1000 + i, PORT))
        guest.expect(OP_RST)
    assert guest.streams() == 0
    guest.close()
    print("refused")


if __name__ == "__main__":
    connect_to_itself()
