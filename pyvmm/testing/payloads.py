"""hypothesis strategies for what buffers hold, by type of device: console, vsock, file system, or any other."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hypothesis import strategies as st

from pyvmm.testing import vsockpacket as v
from pyvmm.testing.steps import INDIRECT_MAX, Offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.testing.profile import Profile

#: Sizes at which devices go wrong.
SIZES = st.one_of(
    st.sampled_from([1, 2, 4, 8, 12, 16, 40, 44, 64, 100, 256, 4096, 8192]), st.integers(1, 300), st.integers(1, 9000)
)
BYTES = st.one_of(st.binary(min_size=1, max_size=32), st.binary(min_size=1, max_size=300))
U16 = st.one_of(st.integers(0, 9), st.sampled_from([0x7FFF, 0xFFFF]), st.integers(0, 0xFFFF))
U32 = st.one_of(st.integers(0, 9), st.sampled_from([0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]), st.integers(0, 2**32 - 1))
U64 = st.one_of(st.integers(0, 9), st.sampled_from([2**32 - 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))

_READABLE = st.lists(BYTES, max_size=3).map(tuple)
_WRITABLE = st.lists(SIZES, max_size=3).map(tuple)


@dataclass(frozen=True)
class Payloads:
    """What a type of device is offered.

    Attributes:
        honest: for each queue, chains that its driver would offer; None where it offers none.
        hostile: for any queue, chains whose contents are wrong in ways of this type.
        answered: the queues whose chains come back soon.
    """

    honest: tuple[st.SearchStrategy[Offer] | None, ...]
    hostile: st.SearchStrategy[tuple[tuple[bytes, ...], tuple[int, ...]]]
    answered: tuple[int, ...]


def offers(
    queue: int, readable: st.SearchStrategy[tuple[bytes, ...]], writable: st.SearchStrategy[tuple[int, ...]]
) -> st.SearchStrategy[Offer]:
    """Chains of these buffers, of at least one, directly or in an indirect table."""

    def make(parts: tuple[tuple[bytes, ...], tuple[int, ...], bool]) -> Offer:
        return Offer(queue, *parts[:2], parts[2] and len(parts[0]) + len(parts[1]) <= INDIRECT_MAX)

    return st.tuples(readable, writable, st.booleans()).filter(lambda parts: bool(parts[0] or parts[1])).map(make)


_NONE: st.SearchStrategy[tuple[()]] = st.just(())


def split(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, ...]]:
    """The bytes in one buffer, or cut in two anywhere."""

    def cut(parts: tuple[bytes, int]) -> tuple[bytes, ...]:
        whole, at = parts
        return tuple(part for part in (whole[:at], whole[at:]) if part)

    return st.tuples(data, st.one_of(st.just(0), st.integers(1, 64))).map(cut)


# ---- vsock (section 5.10) ---------------------------------------------------------------


def vsock_packets(cid: int, port: int, honest: bool) -> st.SearchStrategy[bytes]:
    """A packet: with the right addresses and one of few ports, so that connections come about.

    Args:
        cid: the guest's.
        port: where the host listens, and the guest, too.
        honest: one that a driver may send.
    """
    ports = st.sampled_from([1024, 1025, port])
    ops = [v.OP_REQUEST, v.OP_REQUEST, v.OP_RW, v.OP_RESPONSE, v.OP_SHUTDOWN, v.OP_RST, v.OP_CREDIT_UPDATE]
    data = st.binary(max_size=64)
    requests = st.builds(
        lambda source, op, payload, credit, flags: _packet(cid, source, port, op, payload, credit, flags),
        ports,
        st.sampled_from(ops),
        data,
        st.sampled_from([0, 1, 4096, 1 << 16]),
        st.sampled_from([0, 1, 2, 3]),
    )
    if honest:
        return requests
    fields = {
        "src_cid": st.one_of(st.just(cid), U64),
        "dst_cid": st.one_of(st.just(v.HOST_CID), U64),
        "src_port": st.one_of(ports, U32),
        "dst_port": st.one_of(st.just(port), U32),
        "length": U32,
        "kind": st.one_of(st.just(v.TYPE_STREAM), U16),
        "op": U16,
        "flags": U32,
        "buf_alloc": U32,
        "fwd_cnt": U32,
    }
    wild = st.builds(lambda header, data: v.Header(**header).encode() + data, st.fixed_dictionaries(fields), data)
    return st.one_of(requests, wild, BYTES)


def _packet(cid: int, source: int, port: int, op: int, data: bytes, credit: int, flags: int) -> bytes:
    data = data if op == v.OP_RW else b""
    flags = flags if op == v.OP_SHUTDOWN else 0
    fields = {"src_cid": cid, "dst_cid": v.HOST_CID, "src_port": source, "dst_port": port, "kind": v.TYPE_STREAM}
    return v.Header(**fields, op=op, length=len(data), flags=flags, buf_alloc=credit).encode() + data


# ---- file systems (section 5.11; linux/fuse.h) --------------------------------------------

_INIT, _FORGET, _BATCH_FORGET = 26, 2, 42
_NAMES = st.sampled_from([b"a\0", b"b\0", b"file\0", b".\0", b"..\0", b"\0", b"a/b\0", b"x" * 255 + b"\0", b"no end"])
#: By opcode, the body of a request that only looks.
_LOOKS: dict[int, st.SearchStrategy[bytes]] = {
    1: st.sampled_from([b"a\0", b"file\0"]),
    3: st.just(bytes(16)),
    17: st.just(b""),
    27: st.just(bytes(8)),
    34: st.just(bytes(8)),
}


def fuse_request(opcode: int, body: bytes, node: int = 1, length: int | None = None, unique: int = 7) -> bytes:
    """A request with its header; `length` is what that says, by default the truth."""
    size = 40 + len(body) if length is None else length
    return struct.pack("<IIQQ4I", size, opcode, unique, node, 0, 0, 0, 0) + body


FUSE_INIT = fuse_request(_INIT, struct.pack("<4I", 7, 31, 1 << 20, 0), 0)


def fuse_requests(honest: bool) -> st.SearchStrategy[bytes]:
    """A request of a session: `honest` ones only look at a file system."""
    looks = st.one_of([st.builds(fuse_request, st.just(opcode), body) for opcode, body in _LOOKS.items()])
    if honest:
        return looks
    numbers = st.lists(U64, max_size=8).map(lambda values: struct.pack(f"<{len(values)}Q", *values))
    bodies = st.one_of(st.binary(max_size=64), numbers, st.builds(bytes.__add__, numbers, _NAMES))
    nodes = st.one_of(st.just(1), U64)
    lengths = st.one_of(st.none(), st.none(), U32)
    wild = st.builds(fuse_request, st.integers(0, 60), bodies, nodes, lengths)
    return st.one_of(st.just(FUSE_INIT), looks, wild, wild, BYTES)


# ---- by type ------------------------------------------------------------------------------


def _console(profile: Profile) -> Payloads:
    receive = offers(0, _NONE, st.lists(SIZES, min_size=1, max_size=3).map(tuple))
    transmit = offers(1, split(BYTES), _NONE)
    return Payloads((receive, transmit), st.tuples(_READABLE, _WRITABLE), (1,))


def _vsock(profile: Profile) -> Payloads:
    cid, port = int.from_bytes(profile.config[:8], "little"), 80
    receive = offers(0, _NONE, st.sampled_from([(4096,), (44, 4096), (64,)]))
    transmit = offers(1, split(vsock_packets(cid, port, True)), _NONE)
    event = offers(2, _NONE, st.just((4,)))
    hostile = st.tuples(split(vsock_packets(cid, port, False)), _WRITABLE)
    return Payloads((receive, transmit, event), hostile, (1,))


def _fs(profile: Profile) -> Payloads:
    request = offers(1, split(fuse_requests(True)), st.just((4096,)))
    hostile = st.tuples(split(fuse_requests(False)), st.one_of(_WRITABLE, st.just((4096,))))
    return Payloads((None, request), hostile, (1,))


def _any(profile: Profile) -> Payloads:
    """Nothing is known of the device, so whatever chain a queue gets is right, and may come back later."""
    chains = tuple(offers(queue, _READABLE, _WRITABLE) for queue in range(len(profile.sizes)))
    answered = tuple(range(len(profile.sizes))) if profile.answers else ()
    packets, requests = vsock_packets(3, 80, False), fuse_requests(False)
    hostile = st.tuples(st.one_of(_READABLE, split(packets), split(requests)), _WRITABLE)
    return Payloads(chains, hostile, answered)


_OF_TYPE = {3: _console, 19: _vsock, 26: _fs}


def payloads(profile: Profile) -> Payloads:
    """What a device is offered, by its type."""
    return _OF_TYPE.get(profile.device_id, _any)(profile)
