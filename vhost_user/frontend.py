"""The side of a virtual machine monitor: shares guest memory with a backend and gives it queues."""

from __future__ import annotations

import _socket  # `socket` takes 20 ms to import
import posix as os

from vhost_user import messages as m
from vhost_user.channel import Channel, Deadline
from vhost_user.messages import VhostUserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from vhost_user.channel import Message
    from vhost_user.messages import Kind, Payload, Region

    P = TypeVar("P", bound=Payload)

TIMEOUT = 5.0  # seconds

#: The protocol features that a frontend can do. F_BACKEND_REQ is asked for only where
#: somebody serves it, F_STATUS where somebody sets it.
ABLE = m.F_MQ | m.F_REPLY_ACK | m.F_CONFIG | m.F_INFLIGHT_SHMFD | m.F_RESET_DEVICE


def connect(path: str, timeout: float = TIMEOUT) -> _socket.socket:
    """A connection to the backend that listens at `path`.

    Raises:
        OSError: nobody does, or it takes longer than `timeout` seconds.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


class Memory:
    """A region of guest memory, and the descriptor that it is in.

    Args:
        region: where it is.
        fd: stays the caller's.
    """

    def __init__(self, region: Region, fd: int) -> None:
        self.region, self.fd = region, fd


class Ring:
    """A queue that is set up.

    Args:
        size: its entries.
        descriptors, available, used: user addresses of its parts.
        kick, call, err: eventfds of notifications, interrupts and errors; the caller's.
            None: there is none.
    """

    def __init__(
        self,
        size: int,
        descriptors: int,
        available: int,
        used: int,
        kick: int | None,
        call: int | None,
        err: int | None = None,
    ) -> None:
        self.size, self.descriptors, self.available, self.used = size, descriptors, available, used
        self.kick, self.call, self.err = kick, call, err


class Frontend:
    """A connection to a backend.

    The order is: what features there are is known; `set_features`; `share_memory`;
    `start_ring` for each queue.

    Args:
        sock: is connected; it is the frontend's, also when this fails.
        timeout: seconds that the backend has for all that one call of a method asks of it.
        able: protocol features to use as far as the backend has them.
        serve: answers what the backend asks by itself: gets its kind, payload and descriptors
            (which are closed after it), and returns 0 or an errno. F_BACKEND_REQ is agreed on only with it.
        deadline: as `within`, for the negotiation that is done here.

    Attributes:
        features: what the backend offers a guest.
        protocol_features: what both sides use.
        queues: how many queues the backend can serve; None: it does not say.

    Raises:
        VhostUserError: the peer is no backend.
    """

    def __init__(
        self,
        sock: _socket.socket,
        timeout: float = TIMEOUT,
        able: int = ABLE,
        serve: Callable[[Kind, Payload, list[int]], int] | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._timeout, self._serve = timeout, serve
        self._deadline: Deadline | None = None
        self._able = able | (m.F_BACKEND_REQ if serve else 0)
        self._accepted: int | None = None
        self._memory: list[Memory] = []
        self._rings: dict[int, Ring] = {}
        self._inflight: tuple[m.Inflight, int] | None = None
        self._requests: Channel | None = None
        with self.within(deadline):
            self._open(sock)

    def within(self, deadline: Deadline | None = None) -> _Within:
        """Bounds the methods that are called in a `with` block by one deadline.

        Args:
            deadline: `timeout` seconds from now if None. Within another such block, that one's holds.
        """
        return _Within(self, deadline or Deadline(self._timeout))

    def _open(self, sock: _socket.socket) -> None:
        self._channel = Channel(sock, {}, self._timeout)
        try:
            self._negotiate()
        except BaseException:
            self.close()
            raise

    def _negotiate(self) -> None:
        self.protocol_features = 0
        self.queues: int | None = None
        offered = self._ask(m.GET_FEATURES, m.Empty(), m.U64).value
        self.features: int = offered & ~m.F_PROTOCOL_FEATURES
        self._tell(m.SET_OWNER, m.Empty())
        self._has_protocol_features = bool(offered & m.F_PROTOCOL_FEATURES)
        if not self._has_protocol_features:
            return
        # What one backend could, the next one at the same place need not.
        usable = self._ask(m.GET_PROTOCOL_FEATURES, m.Empty(), m.U64).value & self._able
        self._tell(m.SET_PROTOCOL_FEATURES, m.U64(usable))
        self.protocol_features = usable
        if usable & m.F_MQ:
            self.queues = self._ask(m.GET_QUEUE_NUM, m.Empty(), m.U64).value
        if usable & m.F_BACKEND_REQ:
            self._offer_channel()

    def _offer_channel(self) -> None:
        ours, theirs = _socketpair()
        try:
            self._requests = Channel(ours, m.BACKEND, self._timeout)
            self._tell(m.SET_BACKEND_REQ_FD, m.Empty(), [theirs.fileno()])
        finally:
            theirs.close()

    def fileno(self) -> int:
        """The connection's descriptor; it becomes readable when the backend is gone."""
        return self._channel.fileno()

    @property
    def requests_fd(self) -> int | None:
        """Readable when `serve_request` has something to do; None: there is no such channel."""
        return self._requests.fileno() if self._requests else None

    def close(self) -> None:
        """Ends the connection. A second call does nothing."""
        self._disconnect()
        if self._inflight:
            os.close(self._inflight[1])
            self._inflight = None

    def _disconnect(self) -> None:
        self._channel.close()
        if self._requests:
            self._requests.close()
            self._requests = None

    # ---- asking -------------------------------------------------------------------

    def _exchange(self, kind: Kind, payload: Payload, flags: int = 0, fds: Sequence[int] = ()) -> Message:
        """The reply to a request."""
        deadline = self._deadline or Deadline(self._timeout)
        self._channel.send(kind, payload, flags, fds, deadline)
        return self._channel.receive_reply(kind, deadline)

    def _ask(self, kind: Kind, payload: Payload, expected: type[P]) -> P:
        with self._exchange(kind, payload) as reply:
            return reply.payload(expected)

    def _tell(self, kind: Kind, payload: Payload, fds: Sequence[int] = ()) -> None:
        """Sends a request that has no reply of its own, and waits until it is done where both can."""
        if not self.protocol_features & m.F_REPLY_ACK:
            self._channel.send(kind, payload, 0, fds, self._deadline)
            return
        with self._exchange(kind, payload, m.NEED_REPLY, fds) as reply:
            error = reply.payload(m.U64).value
        if error:
            raise VhostUserError(f"{kind}: the backend refuses ({error})")

    def _need(self, feature: int, what: Kind) -> None:
        if not self.protocol_features & feature:
            raise VhostUserError(f"{what}: the backend cannot")

    def get_config(self, offset: int, size: int) -> bytes:
        """Bytes of the backend's configuration space.

        Raises:
            VhostUserError: it has none there, or keeps none (F_CONFIG).
        """
        self._need(m.F_CONFIG, m.GET_CONFIG)
        config = self._ask(m.GET_CONFIG, m.Config(offset, 0, bytes(size)), m.Config)
        if config.offset != offset or len(config.data) != size:
            raise VhostUserError(f"GET_CONFIG: {len(config.data)} bytes at {config.offset}, not {size} at {offset}")
        return config.data

    def set_config(self, offset: int, data: bytes) -> None:
        """Writes to it."""
        self._need(m.F_CONFIG, m.SET_CONFIG)
        self._tell(m.SET_CONFIG, m.Config(offset, 0, data))

    def reset_device(self) -> None:
        """Back to the start, rings included (F_RESET_DEVICE)."""
        self._need(m.F_RESET_DEVICE, m.RESET_DEVICE)
        self._tell(m.RESET_DEVICE, m.Empty())
        self._rings.clear()

    def set_status(self, status: int) -> None:
        """The driver's Status register (F_STATUS)."""
        self._need(m.F_STATUS, m.SET_STATUS)
        self._tell(m.SET_STATUS, m.U64(status))

    def get_status(self) -> int:
        """What the backend makes of it."""
        self._need(m.F_STATUS, m.GET_STATUS)
        return self._ask(m.GET_STATUS, m.Empty(), m.U64).value

    def serve_request(self) -> bool:
        """Serves one request of the backend; False: it has closed its channel.

        Raises:
            VhostUserError: it broke the protocol there.
        """
        if not self._requests or not self._serve:
            return False
        message = self._requests.receive()
        if not message:
            self._requests.close()
            self._requests = None
            return False
        with message:
            error = self._serve(message.kind, message.payload(message.kind.payload), message.fds)
            self._requests.acknowledge(message, error)
        return True

    # ---- setting up ---------------------------------------------------------------

    def set_features(self, features: int) -> None:
        """What the guest has accepted.

        Raises:
            VhostUserError: as all that tells the backend something.
        """
        self._accepted = features
        if self._has_protocol_features:
            features |= m.F_PROTOCOL_FEATURES
        self._tell(m.SET_FEATURES, m.U64(features))

    def share_memory(self, memory: list[Memory]) -> None:
        """All of the guest's memory."""
        self._memory = memory
        table = m.MemoryTable(tuple(each.region for each in memory))
        self._tell(m.SET_MEM_TABLE, table, [each.fd for each in memory])

    def share_inflight(self, queues: int, queue_size: int) -> None:
        """Where the backend can (F_INFLIGHT_SHMFD), gets from it the memory in which it notes what it has taken,
        which the next backend will find. Does nothing elsewhere."""
        if not self.protocol_features & m.F_INFLIGHT_SHMFD or self._inflight:
            return
        with self.within():
            with self._exchange(m.GET_INFLIGHT_FD, m.Inflight(0, 0, queues, queue_size)) as reply:
                inflight = reply.payload(m.Inflight)
                fd = reply.take_fd()
            if fd is None:
                raise VhostUserError("GET_INFLIGHT_FD: the reply has no descriptor")
            self._inflight = inflight, fd
            self._tell(m.SET_INFLIGHT_FD, inflight, [fd])

    def start_ring(self, index: int, ring: Ring, base: int = 0) -> None:
        """Has the backend serve a queue, from entry `base` of the available ring on."""
        with self.within():
            self._tell(m.SET_VRING_NUM, m.VringState(index, ring.size))
            self._tell(m.SET_VRING_BASE, m.VringState(index, base))
            self._tell(m.SET_VRING_ADDR, m.VringAddress(index, 0, ring.descriptors, ring.used, ring.available, 0))
            self._tell_fd(m.SET_VRING_CALL, index, ring.call)
            if ring.err is not None:
                self._tell_fd(m.SET_VRING_ERR, index, ring.err)
            self._tell_fd(m.SET_VRING_KICK, index, ring.kick)
            if self._has_protocol_features:  # without them a ring is enabled when it starts
                self._tell(m.SET_VRING_ENABLE, m.VringState(index, 1))
        self._rings[index] = ring

    def _tell_fd(self, kind: Kind, index: int, fd: int | None) -> None:
        self._tell(kind, m.VringFd(index, fd is None), [] if fd is None else [fd])

    def stop_ring(self, index: int) -> int:
        """Ends that, once the backend is done with what it has taken. Returns where it would go on."""
        self._rings.pop(index, None)
        state = self._ask(m.GET_VRING_BASE, m.VringState(index, 0), m.VringState)
        if state.index != index or state.value > 0xFFFF:
            raise VhostUserError(f"GET_VRING_BASE: {state} for queue {index}")
        return state.value

    # ---- a backend that comes back ------------------------------------------------

    @property
    def resumable(self) -> bool:
        """Whether another backend can go on with what this one has taken."""
        return self._inflight is not None

    def reconnect(self, sock: _socket.socket, bases: dict[int, int]) -> None:
        """Goes on with another backend, as far as the last one was set up.

        What the last one had taken and not given back is served again where both can
        (`resumable`); otherwise nobody serves it: the caller must fail it.

        Args:
            sock: its connection; it is the frontend's, also when this fails.
            bases: the used index of each ring, from guest memory.

        Raises:
            VhostUserError: it does not go on; the connection is closed.
        """
        self._disconnect()
        rings, self._rings = self._rings, {}
        with self.within():
            self._open(sock)
            try:
                self._restore(rings, bases)
            except BaseException:
                self.close()
                raise

    def _restore(self, rings: dict[int, Ring], bases: dict[int, int]) -> None:
        if (self._accepted or 0) & ~self.features:
            raise VhostUserError(f"the backend has lost features: {(self._accepted or 0) & ~self.features:#x}")
        if self._inflight and not self.protocol_features & m.F_INFLIGHT_SHMFD:
            raise VhostUserError("the backend has lost the feature F_INFLIGHT_SHMFD")
        if self._accepted is not None:
            self.set_features(self._accepted)
        if self._inflight:
            self._tell(m.SET_INFLIGHT_FD, self._inflight[0], [self._inflight[1]])
        if self._memory:
            self.share_memory(self._memory)
        for index, ring in rings.items():
            self.start_ring(index, ring, bases[index])


class _Within:
    """Sets a frontend's deadline while it is entered, unless there is one."""

    def __init__(self, frontend: Frontend, deadline: Deadline) -> None:
        self._frontend, self._deadline = frontend, deadline

    def __enter__(self) -> None:
        self._outer = self._frontend._deadline
        self._frontend._deadline = self._outer or self._deadline

    def __exit__(self, *_: object) -> None:
        self._frontend._deadline = self._outer


def _socketpair() -> tuple[_socket.socket, _socket.socket]:
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
