"""The messages of vhost-user, as bytes and as values.

A message is a header of 12 bytes (request, flags, size of the rest; 32 bits
each, in the host's byte order, little-endian here), a payload, and descriptors
that accompany it (SCM_RIGHTS). Names are those of the specification.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Self


class VhostUserError(Exception):
    """The peer broke the protocol, is gone, or took too long. The message says which."""


HEADER = Struct("<3I")
VERSION, VERSION_MASK = 1, 3
REPLY, NEED_REPLY = 1 << 2, 1 << 3

PAYLOAD_MAX = 4096  # bytes; GET_CONFIG has the longest
MEMORY_REGIONS_MAX = 8
FDS_MAX = 8

#: The device feature bit that announces protocol features. It is used between the two
#: sides and never passed to a guest.
F_PROTOCOL_FEATURES = 1 << 30

# Protocol features.
F_MQ = 1 << 0
F_RARP = 1 << 2
F_REPLY_ACK = 1 << 3
F_MTU = 1 << 4
F_BACKEND_REQ = 1 << 5
F_CONFIG = 1 << 9
F_BACKEND_SEND_FD = 1 << 10
F_HOST_NOTIFIER = 1 << 11
F_INFLIGHT_SHMFD = 1 << 12
F_RESET_DEVICE = 1 << 13
F_CONFIGURE_MEM_SLOTS = 1 << 15
F_STATUS = 1 << 16


class Payload:
    """Base class of payloads: fields of fixed size, in the order of `fields`."""

    fields: ClassVar[tuple[str, ...]] = ()
    layout: ClassVar[Struct] = Struct("")

    def __init__(self, *values: object) -> None:
        for name, value in zip(self.fields, values, strict=True):
            setattr(self, name, value)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._values() == self._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({values})"

    def encode(self) -> bytes:
        """As bytes."""
        return self.layout.pack(*self._values())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decodes all of `data`.

        Raises:
            VhostUserError: it has the wrong length.
        """
        if len(data) != cls.layout.size:
            raise VhostUserError(f"{len(data)} bytes of payload, not {cls.layout.size}")
        return cls(*cls.layout.unpack(data))


class Empty(Payload):
    """Nothing."""


class U64(Payload):
    """A number."""

    fields = ("value",)
    layout = Struct("<Q")
    value: int


class VringState(Payload):
    """A number for one queue."""

    fields = ("index", "value")
    layout = Struct("<2I")
    index: int
    value: int


class VringAddress(Payload):
    """Where a queue's rings are, as user addresses (see `Region`)."""

    fields = ("index", "flags", "descriptors", "used", "available", "log")
    layout = Struct("<2I4Q")
    index: int
    flags: int
    descriptors: int
    used: int
    available: int
    log: int


class VringFd(Payload):
    """The queue that a descriptor is for; with `without_fd` there is none."""

    fields = ("index", "without_fd")
    layout = Struct("<Q")
    index: int
    without_fd: bool

    def encode(self) -> bytes:
        """As bytes."""
        return self.layout.pack(self.index | self.without_fd << 8)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From all of `data`."""
        value = U64.decode(data).value
        if value >> 9:
            raise VhostUserError(f"reserved bits are set: {value:#x}")
        return cls(value & 0xFF, bool(value >> 8))


class Region(Payload):
    """Guest memory: `size` bytes at guest-physical `address`, at `offset` in a file, and at
    `user_address` in the frontend, whose addresses rings have."""

    fields = ("address", "size", "user_address", "offset")
    layout = Struct("<4Q")
    address: int
    size: int
    user_address: int
    offset: int


class MemoryTable(Payload):
    """All guest memory, with one descriptor per region."""

    fields = ("regions",)
    layout = Struct("<2I")
    regions: tuple[Region, ...]

    def encode(self) -> bytes:
        """As bytes."""
        return self.layout.pack(len(self.regions), 0) + b"".join(region.encode() for region in self.regions)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From all of `data`."""
        count = cls.layout.unpack_from(data)[0] if len(data) >= cls.layout.size else 0
        if not 1 <= count <= MEMORY_REGIONS_MAX:
            raise VhostUserError(f"{count} memory regions, not 1 to {MEMORY_REGIONS_MAX}")
        size = Region.layout.size
        if len(data) != cls.layout.size + count * size:
            raise VhostUserError(f"{len(data)} bytes of payload for {count} memory regions")
        starts = range(cls.layout.size, len(data), size)
        return cls(tuple(Region.decode(data[at : at + size]) for at in starts))


class OneRegion(Payload):
    """A region to add or remove."""

    fields = ("region",)
    region: Region

    def encode(self) -> bytes:
        """As bytes."""
        return bytes(8) + self.region.encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From all of `data`."""
        if len(data) != 8 + Region.layout.size:
            raise VhostUserError(f"{len(data)} bytes of payload, not {8 + Region.layout.size}")
        return cls(Region.decode(data[8:]))


class Config(Payload):
    """Bytes of the device's configuration space at `offset`."""

    fields = ("offset", "flags", "data")
    layout = Struct("<3I")
    offset: int
    flags: int
    data: bytes

    def encode(self) -> bytes:
        """As bytes."""
        return self.layout.pack(self.offset, len(self.data), self.flags) + self.data

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From all of `data`."""
        if len(data) < cls.layout.size:
            raise VhostUserError(f"{len(data)} bytes of payload, not {cls.layout.size} or more")
        offset, size, flags = cls.layout.unpack_from(data)
        if size != len(data) - cls.layout.size:
            raise VhostUserError(f"{len(data) - cls.layout.size} bytes of configuration space that says {size}")
        return cls(offset, flags, data[cls.layout.size :])


class Inflight(Payload):
    """Memory in which a backend records requests in progress: `size` bytes at `offset` of a file."""

    fields = ("size", "offset", "queues", "queue_size")
    layout = Struct("<2Q2H4x")  # padded as by a C compiler
    size: int
    offset: int
    queues: int
    queue_size: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decodes all of `data`; some peers leave the padding out."""
        return super().decode(data + bytes(4) if len(data) == cls.layout.size - 4 else data)


class VringArea(Payload):
    """Memory that notifies a queue."""

    fields = ("index", "size", "offset")
    layout = Struct("<3Q")
    index: int
    size: int
    offset: int


class Kind:
    """A kind of request.

    Attributes:
        number: on the wire.
        name: in the specification.
        payload: type of its payload.
        reply: type of its reply's payload. None: it is answered only if NEED_REPLY is set, by a
            U64 that is 0 after success.
        fds: the most descriptors of a request.
        reply_fds: the most descriptors of its reply.
    """

    __slots__ = ("fds", "name", "number", "payload", "reply", "reply_fds")

    def __init__(
        self,
        number: int,
        name: str,
        payload: type[Payload] = Empty,
        reply: type[Payload] | None = None,
        fds: int = 0,
        reply_fds: int = 0,
    ) -> None:
        self.number, self.name, self.payload, self.reply = number, name, payload, reply
        self.fds, self.reply_fds = fds, reply_fds

    def __repr__(self) -> str:
        return self.name


GET_FEATURES = Kind(1, "GET_FEATURES", reply=U64)
SET_FEATURES = Kind(2, "SET_FEATURES", U64)
SET_OWNER = Kind(3, "SET_OWNER")
RESET_OWNER = Kind(4, "RESET_OWNER")
SET_MEM_TABLE = Kind(5, "SET_MEM_TABLE", MemoryTable, fds=FDS_MAX)
SET_VRING_NUM = Kind(8, "SET_VRING_NUM", VringState)
SET_VRING_ADDR = Kind(9, "SET_VRING_ADDR", VringAddress)
SET_VRING_BASE = Kind(10, "SET_VRING_BASE", VringState)
GET_VRING_BASE = Kind(11, "GET_VRING_BASE", VringState, reply=VringState)
SET_VRING_KICK = Kind(12, "SET_VRING_KICK", VringFd, fds=1)
SET_VRING_CALL = Kind(13, "SET_VRING_CALL", VringFd, fds=1)
SET_VRING_ERR = Kind(14, "SET_VRING_ERR", VringFd, fds=1)
GET_PROTOCOL_FEATURES = Kind(15, "GET_PROTOCOL_FEATURES", reply=U64)
SET_PROTOCOL_FEATURES = Kind(16, "SET_PROTOCOL_FEATURES", U64)
GET_QUEUE_NUM = Kind(17, "GET_QUEUE_NUM", reply=U64)
SET_VRING_ENABLE = Kind(18, "SET_VRING_ENABLE", VringState)
SEND_RARP = Kind(19, "SEND_RARP", U64)
NET_SET_MTU = Kind(20, "NET_SET_MTU", U64)
SET_BACKEND_REQ_FD = Kind(21, "SET_BACKEND_REQ_FD", fds=1)
GET_CONFIG = Kind(24, "GET_CONFIG", Config, reply=Config)
SET_CONFIG = Kind(25, "SET_CONFIG", Config)
GET_INFLIGHT_FD = Kind(31, "GET_INFLIGHT_FD", Inflight, reply=Inflight, reply_fds=1)
SET_INFLIGHT_FD = Kind(32, "SET_INFLIGHT_FD", Inflight, fds=1)
RESET_DEVICE = Kind(34, "RESET_DEVICE")
GET_MAX_MEM_SLOTS = Kind(36, "GET_MAX_MEM_SLOTS", reply=U64)
ADD_MEM_REG = Kind(37, "ADD_MEM_REG", OneRegion, fds=1)
REM_MEM_REG = Kind(38, "REM_MEM_REG", OneRegion, fds=1)
SET_STATUS = Kind(39, "SET_STATUS", U64)
GET_STATUS = Kind(40, "GET_STATUS", reply=U64)

#: Requests of a frontend, and of a backend on its own channel, by number.
FRONTEND = {kind.number: kind for kind in list(globals().values()) if isinstance(kind, Kind)}

CONFIG_CHANGE = Kind(2, "BACKEND_CONFIG_CHANGE_MSG")
VRING_HOST_NOTIFIER = Kind(3, "BACKEND_VRING_HOST_NOTIFIER_MSG", VringArea, fds=1)

BACKEND = {kind.number: kind for kind in (CONFIG_CHANGE, VRING_HOST_NOTIFIER)}
