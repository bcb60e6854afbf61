"""Published ports and allowed ones: the words for them, and what they do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from guests import descriptors_left, open_fds
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.errors import HostError, UsageError
from pyvmm.eventloop import EventLoop
from pyvmm.host.tcp import Publish, TcpHost, parse_allow


@pytest.mark.parametrize(
    ("text", "address", "port", "guest_port"),
    [
        ("4000:80", "127.0.0.1", 4000, 80),
        ("0:80", "127.0.0.1", 0, 80),
        ("0.0.0.0:4000:80", "0.0.0.0", 4000, 80),
        ("[::1]:4000:4294967294", "::1", 4000, 4294967294),
    ],
)
def test_publish(text: str, address: str, port: int, guest_port: int) -> None:
    publish = Publish(text)
    assert (publish.address, publish.port, publish.guest_port) == (address, port, guest_port)


@pytest.mark.parametrize(
    "text", ["", "80", ":", "a:80", "80:a", "65536:80", "80:4294967295", "-1:80", "::1:80:80", "[::1:8:8"]
)
def test_publish_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"^-p "):
        Publish(text)


@given(st.text(max_size=30))
def test_any_words_are_understood_or_a_usage_error(text: str) -> None:
    for parse in (Publish, parse_allow):
        try:
            parse(text)
        except UsageError:
            pass


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("all", (None, ("127.0.0.1", 0))),
        ("80", (80, ("127.0.0.1", 80))),
        ("80=example.org:8080", (80, ("example.org", 8080))),
        ("70000=[::1]:8080", (70000, ("::1", 8080))),
    ],
)
def test_allow(text: str, meaning: tuple[int | None, tuple[str, int]]) -> None:
    assert parse_allow(text) == meaning


@pytest.mark.parametrize("text", ["", "0", "65536", "80=", "80=:1", "80=host", "80=host:0", "80=host:65536", "any"])
def test_allow_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--allow "):
        parse_allow(text)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A server of the host."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(10)
        yield made


def test_a_published_port_hands_over_its_connections(log: list[str]) -> None:
    host = TcpHost([Publish("0:80")], [], log.append)
    loop = EventLoop()
    came: list[tuple[socket.socket, int]] = []

    def accept(sock: socket.socket, port: int) -> None:
        came.append((sock, port))
        loop.stop()

    host.attach(loop, accept)  # type: ignore[arg-type]
    [(address, port, guest_port)] = host.ports
    assert (address, guest_port) == ("127.0.0.1", 80)
    with socket.create_connection((address, port)):
        loop.run()
        [(sock, wanted)] = came
        assert wanted == 80
        assert sock.getblocking() is False
        sock.close()
    host.close()
    loop.close()


def test_a_connection_for_which_no_descriptor_is_left_is_refused(log: list[str]) -> None:
    host = TcpHost([Publish("0:80")], [], log.append)
    [(address, port, _)] = host.ports
    with socket.create_connection((address, port)) as client:
        client.settimeout(10)
        with descriptors_left(0):
            assert host._accept(host._listeners[0][0]) is None
        assert client.recv(1) == b""
    assert log == ["a connection is refused: Too many open files"]
    host.close()


def test_a_guest_reaches_what_is_allowed(log: list[str], server: socket.socket) -> None:
    port = server.getsockname()[1]
    host = TcpHost([], [parse_allow(f"80=127.0.0.1:{port}")], log.append)
    sock = host.connect(80)
    assert sock is not None
    server.accept()[0].close()
    sock.close()
    assert host.connect(81) is None
    assert log == ["the guest may not connect to port 81; `--allow 81` lets it"]
    host.close()


def test_all_is_the_same_port_of_this_host(log: list[str], server: socket.socket) -> None:
    port = server.getsockname()[1]
    host = TcpHost([], [parse_allow("all")], log.append)
    sock = host.connect(port)
    assert sock is not None
    server.accept()[0].close()
    sock.close()
    assert host.connect(70000) is None
    host.close()


def test_a_port_in_use_says_so_and_leaves_nothing_open(log: list[str], server: socket.socket) -> None:
    before = open_fds()
    port = server.getsockname()[1]
    with pytest.raises(HostError, match=f"-p: port {port} of 127.0.0.1: Address already in use; another program"):
        TcpHost([Publish("0:80"), Publish(f"{port}:80")], [], log.append)
    assert open_fds() == before


def test_an_unknown_host_says_so(log: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^--allow: no\.such\.host\.invalid: "):
        TcpHost([], [parse_allow("80=no.such.host.invalid:80")], log.append)


def test_close_twice(log: list[str]) -> None:
    host = TcpHost([Publish("0:80")], [], log.append)
    fd = host._listeners[0][0].fileno()
    host.close()
    host.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
