"""A virtual machine monitor's side: shares guest memory with a backend and hands it queues."""

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

#: The protocol features that a frontend supports. F_BACKEND_REQ is negotiated only with
#: `serve`, F_STATUS only if `able` includes it.
ABLE = m.F_MQ | m.F_REPLY_ACK | m.F_CONFIG | m.F_INFLIGHT_SHMFD | m.F_RESET_DEVICE


def connect(path: str, timeout: float = TIMEOUT) -> _socket.socket:
    """Connects to the backend that listens at `path`.

    Raises:
        OSError: none does, or it takes longer than `timeout` seconds.
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
    """A region of guest memory, and the descriptor that contains it.

    Args:
        region: addresses, size and offset.
        fd: stays the caller's.
    """

    def __init__(self, region: Region, fd: int) -> None:
        self.region, self.fd = region, fd


class Ring:
    """A queue as the driver has set it up.

    Args:
        size: number of entries.
        descriptors, available, used: user addresses of its parts.
        kick, call, err: eventfds of notifications, interrupts and errors, or None; they stay the
            caller's.
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

    The constructor negotiates protocol features. Then call `set_features`, `share_memory`, and
    `start_ring` for each queue.

    Args:
        sock: connected; owned from now on, even if this fails.
        timeout: seconds that the backend has for all that one call of a method asks of it.
        able: protocol features to use if the backend has them.
        serve: answers requests of the backend: gets kind, payload and descriptors (which are closed
            afterwards), and returns 0 or an errno. F_BACKEND_REQ is negotiated only with it.
        deadline: bounds the negotiation here, as in `within`.

    Attributes:
        features: virtio features that the backend offers.
        protocol_features: those that both sides use.
        queues: how many queues the backend can serve; None if it does not say.

    Raises:
        VhostUserError: the peer does not speak the protocol, or not in time.
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
        """Bounds all methods called in a `with` block by one deadline.

        Args:
            deadline: `timeout` seconds from now if None. In a nested block the outer deadline holds.
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
        # The next backend at the same place may support less.
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
        """The connection's descriptor, which becomes readable when the backend is gone."""
        return self._channel.fileno()

    @property
    def requests_fd(self) -> int | None:
        """A descriptor that is readable when `serve_request` has something to do; None without F_BACKEND_REQ."""
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

    # ---- requests -----------------------------------------------------------------

    def _exchange(self, kind: Kind, payload: Payload, flags: int = 0, fds: Sequence[int] = ()) -> Message:
        """Sends a request and returns its reply."""
        deadline = self._deadline or Deadline(self._timeout)
        self._channel.send(kind, payload, flags, fds, deadline)
        return self._channel.receive_reply(kind, deadline)

    def _ask(self, kind: Kind, payload: Payload, expected: type[P]) -> P:
        with self._exchange(kind, payload) as reply:
            return reply.payload(expected)

    def _tell(self, kind: Kind, payload: Payload, fds: Sequence[int] = ()) -> None:
        """Sends a request without a reply of its own; with F_REPLY_ACK, waits until it is done."""
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
        """Reads bytes of the backend's configuration space (F_CONFIG).

        Raises:
            VhostUserError: it has no such bytes, or no configuration space.
        """
        self._need(m.F_CONFIG, m.GET_CONFIG)
        config = self._ask(m.GET_CONFIG, m.Config(offset, 0, bytes(size)), m.Config)
        if config.offset != offset or len(config.data) != size:
            raise VhostUserError(f"GET_CONFIG: {len(config.data)} bytes at {config.offset}, not {size} at {offset}")
        return config.data

    def set_config(self, offset: int, data: bytes) -> None:
        """Writes bytes to the backend's configuration space (F_CONFIG)."""
        self._need(m.F_CONFIG, m.SET_CONFIG)
        self._tell(m.SET_CONFIG, m.Config(offset, 0, data))

    def reset_device(self) -> None:
        """Resets the device and its rings (F_RESET_DEVICE)."""
        self._need(m.F_RESET_DEVICE, m.RESET_DEVICE)
        self._tell(m.RESET_DEVICE, m.Empty())
        self._rings.clear()

    def set_status(self, status: int) -> None:
        """Passes on the driver's Status register (F_STATUS)."""
        self._need(m.F_STATUS, m.SET_STATUS)
        self._tell(m.SET_STATUS, m.U64(status))

    def get_status(self) -> int:
        """The Status register as the backend has it (F_STATUS)."""
        self._need(m.F_STATUS, m.GET_STATUS)
        return self._ask(m.GET_STATUS, m.Empty(), m.U64).value

    def serve_request(self) -> bool:
        """Serves one request of the backend; returns False if it has closed its channel.

        Raises:
            VhostUserError: it broke the protocol.
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

    # ---- set-up -------------------------------------------------------------------

    def set_features(self, features: int) -> None:
        """Sets the features that the guest has accepted.

        Raises:
            VhostUserError: the backend refuses them, is gone, or does not answer in time.
        """
        self._accepted = features
        if self._has_protocol_features:
            features |= m.F_PROTOCOL_FEATURES
        self._tell(m.SET_FEATURES, m.U64(features))

    def share_memory(self, memory: list[Memory]) -> None:
        """Shares all guest memory with the backend.

        Raises:
            VhostUserError: as for `set_features`.
        """
        self._memory = memory
        table = m.MemoryTable(tuple(each.region for each in memory))
        self._tell(m.SET_MEM_TABLE, table, [each.fd for each in memory])

    def share_inflight(self, queues: int, queue_size: int) -> None:
        """Gets from the backend the memory in which it records requests in progress, for the next backend.

        Does nothing if the backend does not support that (F_INFLIGHT_SHMFD).
        """
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
        """Makes the backend serve a queue, from entry `base` of the available ring on."""
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
        """Takes a queue back once the backend has finished the requests it has taken; returns the next `base`."""
        self._rings.pop(index, None)
        state = self._ask(m.GET_VRING_BASE, m.VringState(index, 0), m.VringState)
        if state.index != index or state.value > 0xFFFF:
            raise VhostUserError(f"GET_VRING_BASE: {state} for queue {index}")
        return state.value

    # ---- a backend that comes back ------------------------------------------------

    @property
    def resumable(self) -> bool:
        """Whether another backend can continue the requests that this one has taken."""
        return self._inflight is not None

    def reconnect(self, sock: _socket.socket, bases: dict[int, int]) -> None:
        """Continues with another backend, set up as the last one was.

        Requests that the last one had taken and not returned are served again if `resumable`;
        otherwise the caller must fail them.

        Args:
            sock: the new connection; owned from now on, even if this fails.
            bases: the used index of each ring, from guest memory.

        Raises:
            VhostUserError: the new backend fails or supports less; the connection is closed.
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
    """A context in which a frontend has a deadline, unless an outer one has set it."""

    def __init__(self, frontend: Frontend, deadline: Deadline) -> None:
        self._frontend, self._deadline = frontend, deadline

    def __enter__(self) -> None:
        self._outer = self._frontend._deadline
        self._frontend._deadline = self._outer or self._deadline

    def __exit__(self, *_: object) -> None:
        self._frontend._deadline = self._outer


def _socketpair() -> tuple[_socket.socket, _socket.socket]:
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
