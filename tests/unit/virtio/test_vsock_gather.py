"""Packets of one stream that the device finds one after the other: they go to the socket at once, in their order."""

from __future__ import annotations

import socket
import struct

import pytest
from vsockguest import TX, Guest

from pyvmm._kvm import lib
from pyvmm.testing.vsockpacket import OP_REQUEST, OP_RESPONSE, OP_RW, OP_SHUTDOWN

ONE, OTHER = (1000, 80), (1001, 80)
DATA_SEGS_IN = 152  # of struct tcp_info


def connect(guest: Guest, key: tuple[int, int]) -> socket.socket:
    guest.send(OP_REQUEST, key)
    guest.expect(OP_RESPONSE)
    return guest.accept()


def receive(sock: socket.socket, size: int) -> bytes:
    """So much, or all until the end."""
    data = b""
    while len(data) < size and (part := sock.recv(size - len(data))):
        data += part
    return data


def segments(sock: socket.socket) -> int:
    """With data that have come."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("I", info, DATA_SEGS_IN)[0])


def test_they_go_at_once(guest: Guest) -> None:
    far = connect(guest, ONE)
    parts = [bytes([number]) * 100 for number in range(10)]
    for part in parts:
        guest.send(OP_RW, ONE, part, notify=part == parts[-1])
    assert receive(far, 1000) == b"".join(parts)
    assert segments(far) == 1
    assert len(guest.queues[TX].take()) == 10


def test_more_than_go_at_once_arrive_in_order(guest: Guest) -> None:
    """And buffers of each as there may be."""
    far = connect(guest, ONE)
    count = 3 * lib.VSOCK_GATHERED + 1
    parts = [bytes([number]) * (number + 1) for number in range(count)]
    for part in parts:
        guest.send(OP_RW, ONE, part, notify=part == parts[-1])
    assert receive(far, sum(map(len, parts))) == b"".join(parts)
    assert len(guest.queues[TX].take()) == count


def test_nothing_is_overtaken(guest: Guest) -> None:
    """By what goes to another stream, by the end, or by what is not understood."""
    far, other = connect(guest, ONE), connect(guest, OTHER)
    guest.send(OP_RW, ONE, b"a", notify=False)
    guest.send(OP_RW, OTHER, b"A", notify=False)
    guest.send(OP_RW, ONE, b"b", notify=False)
    guest.send(OP_RW, ONE, b"c", notify=False)
    guest.send_raw([b"short"], notify=False)
    guest.send(OP_RW, ONE, b"", notify=False)
    guest.send(OP_RW, ONE, b"d", notify=False)
    guest.send(OP_SHUTDOWN, ONE, flags=2, notify=False)
    guest.send(OP_RW, OTHER, b"B")
    assert receive(far, 4) == b"abcd"
    assert far.recv(1) == b""
    assert receive(other, 2) == b"AB"
    assert len(guest.queues[TX].take()) == 9


def test_together_they_have_no_more_credit_than_one_by_one(guest: Guest) -> None:
    """The connection of a guest that exceeds it is reset; what came before is dropped, and all comes back."""
    far = connect(guest, ONE)
    part = bytes(60_000)
    for _ in range(lib.VSOCK_BUFFER_MAX // len(part) + 1):
        guest.send(OP_RW, ONE, part, notify=False)
    guest.send(OP_RW, ONE, b"too much")
    with pytest.raises(ConnectionResetError):
        receive(far, 1 << 20)
    assert guest.streams() == 0
    guest.queues[TX].take()
    assert not guest.queues[TX].chains
