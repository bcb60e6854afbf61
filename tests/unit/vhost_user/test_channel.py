"""A socket with messages: everything that a hostile peer can send."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from guests import open_fds
from hypothesis import given
from hypothesis import strategies as st

from vhost_user import messages as m
from vhost_user.channel import Channel


@contextmanager
def pair(timeout: float = 0.05) -> Iterator[tuple[socket.socket, Channel]]:
    """The peer's socket, and a channel; all descriptors are closed at the end."""
    before = open_fds()
    peer, sock = socket.socketpair()
    channel = Channel(sock, m.FRONTEND, timeout)
    with peer:
        yield peer, channel
    channel.close()
    assert open_fds() == before


def header(number: int, size: int = 0, flags: int = m.VERSION) -> bytes:
    return m.HEADER.pack(number, flags, size)


def test_a_message_arrives_with_its_descriptors() -> None:
    with pair() as (peer, channel):
        sender = Channel(peer, {}, 1)
        null = os.open("/dev/null", os.O_RDONLY)
        sender.send(m.SET_VRING_KICK, m.VringFd(1, False), m.NEED_REPLY, [null])
        with channel.receive() as message:  # type: ignore[union-attr]
            assert message.kind is m.SET_VRING_KICK
            assert message.payload(m.VringFd) == m.VringFd(1, False)
            fd = message.take_fd()
            assert fd is not None
            assert os.fstat(fd).st_rdev == os.fstat(null).st_rdev
            assert not os.get_inheritable(fd)
            channel.acknowledge(message)
        os.close(fd)
        os.close(null)
        assert peer.recv(100) == header(12, 8, m.VERSION | m.REPLY) + bytes(8)


def test_the_end_is_no_message() -> None:
    with pair() as (peer, channel):
        peer.shutdown(socket.SHUT_WR)
        assert channel.receive() is None


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "a request: not within 0.05 s"),
        (header(1)[:5], "a request: not within 0.05 s"),
        (header(2, 8) + bytes(7), "SET_FEATURES's payload: not within 0.05 s"),
        (header(1, flags=2), "message 1: flags 0x2"),
        (header(1, flags=0x81), "message 1: flags 0x81"),
        (header(99), "message 99: there is no such request"),
        (header(0), "message 0: there is no such request"),
        (header(1, flags=m.VERSION | m.REPLY), "GET_FEATURES: an unexpected reply"),
        (header(2, 1 << 31), "more than 4096"),
    ],
)
def test_what_is_no_request_is_an_error(data: bytes, complaint: str) -> None:
    with pair() as (peer, channel):
        peer.sendall(data)
        with pytest.raises(m.VhostUserError, match=complaint):
            channel.receive()


@pytest.mark.parametrize("sent", [header(1)[:5], header(2, 8) + b"123", header(2, 8)])
def test_an_end_within_a_message_is_an_error(sent: bytes) -> None:
    with pair() as (peer, channel):
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(m.VhostUserError, match="the connection ended within it"):
            channel.receive()


@pytest.mark.parametrize(
    ("data", "count", "complaint"),
    [
        (header(1), 1, "GET_FEATURES: 1 descriptors, at most 0"),
        (header(12, 8) + bytes(8), 2, "SET_VRING_KICK: 2 descriptors, at most 1"),
        (header(5, 8) + bytes(8), 100, "more than 8 descriptors"),
        (header(99), 3, "there is no such request"),
        (header(12, 8) + bytes(3), 1, "not within"),
    ],
)
def test_descriptors_of_a_bad_message_are_closed(data: bytes, count: int, complaint: str) -> None:
    with pair() as (peer, channel):
        socket.send_fds(peer, [data], [0] * count)
        with pytest.raises(m.VhostUserError, match=complaint):
            channel.receive()


def test_descriptors_behind_the_header_are_closed() -> None:
    with pair() as (peer, channel):
        peer.sendall(header(2, 8))
        socket.send_fds(peer, [bytes(8)], [0, 0])
        with channel.receive() as message:  # type: ignore[union-attr]
            assert not message.fds


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "the reply to GET_FEATURES: not within"),
        (header(1, 8) + bytes(8), "in place of the reply to GET_FEATURES"),
        (header(3, 8, m.VERSION | m.REPLY) + bytes(8), "in place of the reply to GET_FEATURES"),
        (header(1, 4, m.VERSION | m.REPLY) + bytes(4), "GET_FEATURES: 4 bytes of payload, not 8"),
    ],
)
def test_what_is_no_reply_is_an_error(data: bytes, complaint: str) -> None:
    with pair() as (peer, channel):
        peer.sendall(data)
        with pytest.raises(m.VhostUserError, match=complaint):
            channel.receive_reply(m.GET_FEATURES).payload(m.U64)


def test_a_reply_with_descriptors_closes_them() -> None:
    with pair() as (peer, channel):
        socket.send_fds(peer, [header(1, 8, m.VERSION | m.REPLY) + bytes(8)], [0])
        with pytest.raises(m.VhostUserError, match="1 descriptors, at most 0"):
            channel.receive_reply(m.GET_FEATURES)


def test_a_peer_that_takes_nothing_is_an_error() -> None:
    with pair() as (_, channel):
        channel._sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            channel._sock.sendall(bytes(1 << 24))
        with pytest.raises(m.VhostUserError, match="GET_FEATURES: not within"):
            channel.send(m.GET_FEATURES, m.Empty())


def test_a_peer_that_is_gone_is_an_error() -> None:
    with pair() as (peer, channel):
        peer.close()
        with pytest.raises(m.VhostUserError, match="GET_FEATURES: Broken pipe"):
            channel.send(m.GET_FEATURES, m.Empty())
        with pytest.raises(m.VhostUserError, match="the peer is gone"):
            channel.receive_reply(m.GET_FEATURES)


@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 10)), max_size=4))
def test_any_bytes_are_messages_or_errors(parts: list[tuple[bytes, int]]) -> None:
    with pair(timeout=0.001) as (peer, channel):
        for data, count in parts:
            if data:
                socket.send_fds(peer, [data], [0] * count)
        peer.shutdown(socket.SHUT_WR)
        with suppress(m.VhostUserError):
            while message := channel.receive():
                with message:
                    message.payload(message.kind.payload)
