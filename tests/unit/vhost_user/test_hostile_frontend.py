"""A frontend that sends anything, with any descriptors: it is served or refused, and its backend ends with it."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from guests import open_fds
from hypothesis import given
from hypothesis import strategies as st
from vhostpeer import BackendThread, Upper

from vhost_user import messages as m
from vhost_user.device import INDIRECT_DESC, VERSION_1
from vhost_user.messages import VhostUserError

RAM, USER, SIZE = 1 << 16, 1 << 40, 8
TABLE, AVAILABLE, USED, BUFFER = 0x1000, 0x2000, 0x3000, 0x4000

small = st.integers(0, 3)
numbers = st.sampled_from([0, 1, 2, SIZE, 0xFFFF, 1 << 16, 1 << 30, (1 << 32) - 1]) | st.integers(0, (1 << 32) - 1)
longs = numbers | st.sampled_from([VERSION_1, VERSION_1 | m.F_PROTOCOL_FEATURES, 1 << 63, (1 << 64) - 1])
regions = st.just(m.Region(0, RAM, USER, 0)) | st.builds(m.Region, longs, longs, longs, longs)
addresses = st.just(m.VringAddress(0, 0, USER + TABLE, USER + USED, USER + AVAILABLE, 0)) | st.builds(
    m.VringAddress, small, small, longs, longs, longs, longs
)
vring_fds = st.builds(m.VringFd, small, st.booleans())

#: Payloads for each kind of request: valid, nearly valid, or invalid.
PAYLOADS: dict[m.Kind, st.SearchStrategy[m.Payload]] = {
    m.SET_FEATURES: st.builds(m.U64, longs),
    m.SET_PROTOCOL_FEATURES: st.builds(m.U64, st.integers(0, 1 << 17)),
    m.SET_MEM_TABLE: st.builds(lambda table: m.MemoryTable(tuple(table)), st.lists(regions, max_size=3)),
    m.ADD_MEM_REG: st.builds(m.OneRegion, regions),
    m.REM_MEM_REG: st.builds(m.OneRegion, regions),
    m.SET_VRING_NUM: st.builds(m.VringState, small, numbers),
    m.SET_VRING_BASE: st.builds(m.VringState, small, numbers),
    m.SET_VRING_ADDR: addresses,
    m.GET_VRING_BASE: st.builds(m.VringState, small, numbers),
    m.SET_VRING_KICK: vring_fds,
    m.SET_VRING_CALL: vring_fds,
    m.SET_VRING_ERR: vring_fds,
    m.SET_VRING_ENABLE: st.builds(m.VringState, small, small),
    m.GET_CONFIG: st.builds(m.Config, numbers, numbers, st.binary(max_size=64)),
    m.SET_CONFIG: st.builds(m.Config, numbers, numbers, st.binary(max_size=64)),
    m.GET_INFLIGHT_FD: st.builds(m.Inflight, longs, longs, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    m.SET_INFLIGHT_FD: st.builds(m.Inflight, longs, longs, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    m.SET_STATUS: st.builds(m.U64, longs),
    **{kind: st.just(m.Empty()) for kind in m.FRONTEND.values() if kind.payload is m.Empty},
}
#: Descriptors to send with it (see `descriptors`).
KINDS = ["sealed", "sealed", "event", "event", "full", "memfd", "pipe", "socket", "zero"]
requests = st.sampled_from(list(PAYLOADS)).flatmap(
    lambda kind: st.tuples(st.just(kind), PAYLOADS[kind], st.lists(st.sampled_from(KINDS), max_size=min(kind.fds, 2)))
)

#: Messages that start queue 0.
SET_UP: list[tuple[m.Kind, m.Payload, list[str]]] = [
    (m.SET_FEATURES, m.U64(VERSION_1 | INDIRECT_DESC | m.F_PROTOCOL_FEATURES), []),
    (m.SET_MEM_TABLE, m.MemoryTable((m.Region(0, RAM, USER, 0),)), ["sealed"]),
    (m.SET_VRING_NUM, m.VringState(0, SIZE), []),
    (m.SET_VRING_ADDR, m.VringAddress(0, 0, USER + TABLE, USER + USED, USER + AVAILABLE, 0), []),
    (m.SET_VRING_CALL, m.VringFd(0, False), ["full"]),
    (m.SET_VRING_KICK, m.VringFd(0, False), ["event"]),
    (m.SET_VRING_ENABLE, m.VringState(0, 1), []),
]

chains = st.lists(
    st.tuples(st.integers(0, RAM) | longs, numbers, st.integers(0, 7), st.integers(0, SIZE)), max_size=SIZE
)


@contextmanager
def descriptors(table: list[tuple[int, int, int, int]], available: list[int]) -> Iterator[dict[str, int]]:
    """One of each kind; memory has a queue with these descriptors and heads."""
    made = {
        "sealed": os.memfd_create("ram", os.MFD_ALLOW_SEALING),
        "memfd": os.memfd_create("ram"),
        "event": os.eventfd(1),
        "full": os.eventfd(0),
        "zero": os.open("/dev/zero", os.O_RDWR),
    }
    made["pipe"], read_end = os.pipe()[::-1]
    sockets = socket.socketpair()
    made["socket"] = sockets[0].fileno()
    os.eventfd_write(made["full"], (1 << 64) - 2)
    for name in ("sealed", "memfd"):
        os.ftruncate(made[name], RAM)
    fcntl.fcntl(made["sealed"], fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    os.pwrite(made["sealed"], b"".join(struct.pack("<QIHH", *each) for each in table), TABLE)
    os.pwrite(made["sealed"], struct.pack(f"<2H{len(available)}H", 0, len(available), *available), AVAILABLE)
    yield made
    sockets[0].close()
    sockets[1].close()
    os.close(read_end)
    for name in made.keys() - {"socket"}:
        os.close(made[name])


@given(
    first=st.integers(0, len(SET_UP)),
    said=st.lists(requests, max_size=12),
    table=chains,
    available=st.lists(st.integers(0, SIZE), max_size=SIZE),
    acknowledged=st.booleans(),
)
def test_anything_a_frontend_says(
    first: int,
    said: list[tuple[m.Kind, m.Payload, list[str]]],
    table: list[tuple[int, int, int, int]],
    available: list[int],
    acknowledged: bool,
) -> None:
    before = open_fds()
    backend = BackendThread(Upper())
    flags = m.VERSION | (m.NEED_REPLY if acknowledged else 0)
    with descriptors(table, available) as made, suppress(BrokenPipeError, ConnectionResetError):
        for kind, payload, names in SET_UP[:first] + said:
            body = payload.encode()
            data = m.HEADER.pack(kind.number, flags, len(body)) + body
            socket.send_fds(backend.sock, [data], [made[name] for name in names])
        backend.sock.shutdown(socket.SHUT_WR)
        while backend.sock.recv(1 << 16):
            pass
    backend.sock.close()
    backend.join()
    assert backend.error is None or isinstance(backend.error, VhostUserError), repr(backend.error)
    backend.error = None
    assert open_fds() == before
