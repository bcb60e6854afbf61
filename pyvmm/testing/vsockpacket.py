"""The header of a vsock packet (virtio 1.2, section 5.10.6)."""

from __future__ import annotations

SIZE = 44

TYPE_STREAM = 1

OP_REQUEST, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST = range(1, 8)

SHUTDOWN_RECEIVE, SHUTDOWN_SEND = 1, 2

HOST_CID = 2

_FIELDS = (
    ("src_cid", 8),
    ("dst_cid", 8),
    ("src_port", 4),
    ("dst_port", 4),
    ("length", 4),
    ("kind", 2),
    ("op", 2),
    ("flags", 4),
    ("buf_alloc", 4),
    ("fwd_cnt", 4),
)


class Header:
    """One header.

    Attributes:
        src_cid, dst_cid, src_port, dst_port: from where to where.
        length: bytes of payload that follow.
        kind: TYPE_STREAM, or what the peer says.
        op: OP_*.
        flags: of OP_SHUTDOWN: SHUTDOWN_*.
        buf_alloc: bytes of the sender's receive buffer for this connection.
        fwd_cnt: bytes that the sender has taken out of it, modulo 2^32.
    """

    __slots__ = tuple(name for name, _ in _FIELDS)

    src_cid: int
    dst_cid: int
    src_port: int
    dst_port: int
    length: int
    kind: int
    op: int
    flags: int
    buf_alloc: int
    fwd_cnt: int

    def __init__(self, **fields: int) -> None:
        for name, _ in _FIELDS:
            setattr(self, name, fields.get(name, 0))

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """The header in the first SIZE bytes of `data`."""
        fields, at = {}, 0
        for name, size in _FIELDS:
            fields[name] = int.from_bytes(data[at : at + size], "little")
            at += size
        return cls(**fields)

    def encode(self) -> bytes:
        """SIZE bytes."""
        return b"".join(getattr(self, name).to_bytes(size, "little") for name, size in _FIELDS)
