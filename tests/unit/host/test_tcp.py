"""Published and allowed ports: their syntax and their effect."""

from __future__ import annotations

import _socket
import os
import socket
from collections.abc import Iterator
from errno import EACCES, EADDRNOTAVAIL

import pytest
from guests import open_fds
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.errors import ConfigError, HostError
from pyvmm.host import tcp
from pyvmm.host.tcp import Publish, TcpHost, parse_allow


@pytest.mark.parametrize(
    ("text", "address", "port", "guest_port"),
    [
        ("4000:80", "127.0.0.1", 4000, 80),
        ("0:80", "127.0.0.1", 0, 80),
        ("0.0.0.0:4000:80", "0.0.0.0", 4000, 80),
        ("[::1]:4000:4294967294", "::1", 4000, 4294967294),
        ("*", "127.0.0.1", 0, None),
        ("0.0.0.0:*", "0.0.0.0", 0, None),
        ("[::]:*", "::", 0, None),
    ],
)
def test_publish(text: str, address: str, port: int, guest_port: int | None) -> None:
    publish = Publish(text)
    assert (publish.address, publish.port, publish.guest_port) == (address, port, guest_port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80",
        ":",
        ":8080:80",
        "a:80",
        "80:a",
        "65536:80",
        "80:4294967295",
        "-1:80",
        "::1:80:80",
        "[::1:8:8",
        ":*",
        "80:*:80",
    ],
)
def test_publish_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^publish"):
        Publish(text)


@given(st.text(max_size=30))
def test_any_words_are_understood_or_a_usage_error(text: str) -> None:
    for parse in (Publish, parse_allow):
        try:
            parse(text)
        except ConfigError:
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
    with pytest.raises(ConfigError, match=r"^allow"):
        parse_allow(text)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A server of the host."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_published_ports_are_listened_on() -> None:
    host = TcpHost([Publish("0:80"), Publish("[::1]:0:81")], [], 16)
    assert [(address, guest_port) for address, _, guest_port in host.ports] == [("127.0.0.1", 80), ("::1", 81)]
    assert [guest_port for _, guest_port in host.listeners] == [80, 81]
    for address, port, _ in host.ports:
        socket.create_connection((address, port)).close()
    host.close()


def test_a_published_port_is_nobody_else_s() -> None:
    host = TcpHost([Publish("0:80")], [], 16)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="Address already in use"):
            other.bind(host.ports[0][:2])
    host.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("80=127.0.0.1:8080", "0200 1f90 7f000001" + 8 * "00"),
        ("80=[::1]:8080", "0a00 1f90 00000000" + 15 * "00" + "01 00000000"),
        ("all", "0200 0000 7f000001" + 8 * "00"),
    ],
)
def test_allowed_ports_lead_to_addresses(text: str, address: str) -> None:
    """`struct sockaddr_in` and `sockaddr_in6` of ip(7) and ipv6(7)."""
    host = TcpHost([], [parse_allow(text)], 16)
    assert list(host.allowed.values()) == [[bytes.fromhex(address)]]


def test_all_addresses_of_a_host_are_tried_in_turns_of_their_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305, section 4."""
    v6 = [(socket.AF_INET6, 1, 6, "", (f"::{i}", 80, 0, 0)) for i in range(1, 4)]
    v4 = [(socket.AF_INET, 1, 6, "", (f"127.0.0.{i}", 80)) for i in range(1, 3)]
    monkeypatch.setattr("_socket.getaddrinfo", lambda *_: v6 + v4)
    (addresses,) = TcpHost([], [parse_allow("80=some.host:80")], 16).allowed.values()
    assert [(address[0], max(address[4:24])) for address in addresses] == [
        (socket.AF_INET6, 1),
        (socket.AF_INET, 127),
        (socket.AF_INET6, 2),
        (socket.AF_INET, 127),
        (socket.AF_INET6, 3),
    ]


def test_a_port_of_the_guest_is_published_once_at_each_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    host = TcpHost([Publish("*"), Publish("[::1]:*")], [], 16)
    assert host.publishes_all
    assert not host.ports
    assert len(host.publish(port)) == 2
    assert host.publish(port) == []
    assert host.ports == [("127.0.0.1", port, port), ("::1", port, port)]
    socket.create_connection(("127.0.0.1", port)).close()
    host.close()


def test_a_guest_cannot_have_any_number_of_ports_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyvmm.host.tcp.PORTS_MAX", 1)
    host = TcpHost([Publish("0:80"), Publish("*")], [], 16)
    before = open_fds()
    with pytest.raises(HostError, match=r"publishing port 81: .*; 1 ports are published already"):
        host.publish(81)
    assert open_fds() == before
    host.close()


def test_a_port_in_use_says_so_and_leaves_nothing_open(server: socket.socket) -> None:
    before = open_fds()
    port = server.getsockname()[1]
    with pytest.raises(HostError, match=f"publishing port {port} of 127.0.0.1: Address already in use; another"):
        TcpHost([Publish("0:80"), Publish(f"{port}:80")], [], 16)
    assert open_fds() == before


@pytest.mark.parametrize(
    "host", ["no.such.host.invalid", "a..b", "999.1.1.1", "é.invalid", "\udcff", "a\0b", 300 * "x"]
)
def test_an_unknown_host_says_so(host: str) -> None:
    before = open_fds()
    with pytest.raises(ConfigError, match=r"^allow .*: (?!Unknown|None)[a-zA-Z' ]+$"):
        TcpHost([Publish("0:80")], [parse_allow(f"80={host}:80")], 16)
    with pytest.raises(ConfigError, match=r"^publish .*: (?!Unknown|None)[a-zA-Z' ]+$"):
        TcpHost([Publish("0:80"), Publish(f"{host}:0:80")], [], 16)
    assert open_fds() == before


def test_a_host_s_name_may_be_published_at() -> None:
    host = TcpHost([Publish("localhost:0:80")], [], 16)
    socket.create_connection(("127.0.0.1", host.ports[0][1])).close()
    host.close()


def test_close_twice() -> None:
    host = TcpHost([Publish("0:80")], [], 16)
    fd = host.listeners[0][0]
    host.close()
    host.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize(
    ("errno", "hint"),
    [
        (EACCES, "low ports need a right of their own; choose one from 1024 on, such as 8080"),
        (EADDRNOTAVAIL, "no interface of this host has that address"),
    ],
)
def test_a_port_that_may_not_be_bound_has_a_hint(monkeypatch: pytest.MonkeyPatch, errno: int, hint: str) -> None:
    class Refusing(_socket.socket):
        def bind(self, _: object) -> None:
            raise OSError(errno, "")

    monkeypatch.setattr(tcp._socket, "socket", Refusing)
    with pytest.raises(HostError, match=hint):
        tcp.TcpHost([tcp.Publish("80:80")], [], 1)
