"""vsock under random traffic: complete streams, and nonsensical packets."""

from __future__ import annotations

import random
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from vsockguest import Guest

from pyvmm._kvm import lib
from pyvmm.testing.vsockpacket import OP_CREDIT_UPDATE, OP_REQUEST, OP_RESPONSE, OP_RW


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 300_000), event_idx=st.booleans())
def test_streams_arrive_whole_both_ways(seed: int, size: int, event_idx: bool) -> None:
    """Random packet sizes, windows and reading speeds; the digests must be equal."""
    rng = random.Random(seed)
    guest = Guest(event_idx=event_idx)
    guest.start(4)
    key = 1000, 80
    guest.send(OP_REQUEST, key)
    guest.expect(OP_RESPONSE)
    far = guest.accept()
    far.setblocking(False)
    to_host, to_guest = rng.randbytes(size), rng.randbytes(size)
    sent = forwarded = came = fed = 0
    at_host, at_guest = bytearray(), bytearray()
    while len(at_host) < size or len(at_guest) < size:
        room = lib.VSOCK_BUFFER_MAX - (sent - forwarded)
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
    guest.close()
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
    """Ports lead to a server of the host, to nobody, and nowhere."""
    guest = Guest()
    guest.start()
    clients = [guest.client() for _ in range(3)]
    for op, source, port, payload, number in packets:
        key = source, (80, 81, 1 << 30, (1 << 30) + 1)[port]
        guest.send(op, key, payload, buf_alloc=number, fwd_cnt=number >> 3, flags=number & 7)
        guest.packets()
    guest.close()
    assert guest.streams() == 0
    for sock in clients:
        sock.close()
