"""vsock under random traffic: whole streams, and packets that make no sense."""

from __future__ import annotations

import random
import socket
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from vsockguest import Guest

from pyvmm.virtio.vsock_connection import BUFFER_SIZE
from pyvmm.virtio.vsock_packet import OP_CREDIT_UPDATE, OP_REQUEST, OP_RESPONSE, OP_RW


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 300_000))
def test_streams_arrive_whole_both_ways(seed: int, size: int) -> None:
    """Random packet sizes, windows and reading speeds; the digests must be equal."""
    rng = random.Random(seed)
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    guest = Guest(lambda _: near)
    guest.start(4)
    key = 1000, 80
    guest.send(OP_REQUEST, key)
    guest.expect(OP_RESPONSE)
    to_host, to_guest = rng.randbytes(size), rng.randbytes(size)
    sent = forwarded = came = fed = 0
    at_host, at_guest = bytearray(), bytearray()
    while len(at_host) < size or len(at_guest) < size:
        room = BUFFER_SIZE - (sent - forwarded)
        if sent < size and room:
            part = to_host[sent : sent + rng.randrange(1, min(room, 9000) + 1)]
            guest.send(OP_RW, key, part, fwd_cnt=came)
            sent += len(part)
        if fed < size:
            try:
                fed += far.send(to_guest[fed : fed + rng.randrange(1, 20_000)])
            except BlockingIOError:
                pass
        guest.turn()
        for header, payload in guest.packets():
            assert header.op in (OP_RW, OP_CREDIT_UPDATE)
            forwarded = header.fwd_cnt
            at_guest += payload
        if rng.random() < 0.5:
            came = len(at_guest)
            guest.send(OP_CREDIT_UPDATE, key, fwd_cnt=came)
            try:
                at_host += far.recv(rng.randrange(1, 50_000))
            except BlockingIOError:
                pass
    assert sha256(at_host).digest() == sha256(to_host).digest()
    assert sha256(at_guest).digest() == sha256(to_guest).digest()
    guest.device.close()
    guest.loop.close()
    far.close()


@settings(max_examples=60, deadline=None)
@given(
    packets=st.lists(
        st.tuples(
            st.integers(0, 8), st.integers(0, 3), st.integers(0, 3), st.binary(max_size=100), st.integers(0, 2**32 - 1)
        ),
        max_size=60,
    )
)
def test_any_packets_are_survived(packets: list[tuple[int, int, int, bytes, int]]) -> None:
    far: list[socket.socket] = []

    def connect(_: int) -> socket.socket:
        near, other = socket.socketpair()
        near.setblocking(False)
        far.append(other)
        return near

    guest = Guest(connect)
    guest.start()
    for op, source, port, payload, number in packets:
        guest.send(op, (source, port), payload, buf_alloc=number, fwd_cnt=number >> 3, flags=number & 7)
        guest.turn()
        guest.packets()
    guest.device.close()
    assert guest.loop._callbacks == {}
    guest.loop.close()
    for sock in far:
        sock.close()
