"""The device's side: serves a virtio device written in Python to any frontend.

class Upper(Device):
    features = VERSION_1
    queues = 1

    def serve(self, index, chain):
        return chain.write(chain.read().upper())

with Server("/run/upper.sock") as server:
    server.serve(Upper())
"""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

from vhost_user import eventfd
from vhost_user import messages as m
from vhost_user.channel import Channel
from vhost_user.device import Queue
from vhost_user.inflight import Inflight
from vhost_user.listener import Listener
from vhost_user.memory import GuestMemory
from vhost_user.messages import VhostUserError
from vhost_user.vring import SIZE_MAX, Vring

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from vhost_user.channel import Message
    from vhost_user.device import Device
    from vhost_user.messages import Payload

_ABLE = m.F_MQ | m.F_REPLY_ACK | m.F_INFLIGHT_SHMFD | m.F_RESET_DEVICE | m.F_CONFIGURE_MEM_SLOTS | m.F_STATUS


class Backend:
    """Serves one frontend.

    Args:
        device: the device to serve.
        sock: the connection; owned from now on, even if this fails.
        timeout: seconds that a message of the frontend may take from its first byte on.
    """

    def __init__(self, device: Device, sock: _socket.socket, timeout: float = 5.0) -> None:
        self._device = device
        self._channel = Channel(sock, m.FRONTEND, timeout)
        self._timeout = timeout
        self._memory = GuestMemory()
        self._queues = [Queue() for _ in range(device.queues)]
        self._protocol_features = 0
        self._features: int | None = None
        self._status = 0
        self._inflight = Inflight(device.queues)
        self._requests: Channel | None = None
        self._able = _ABLE | (m.F_CONFIG | m.F_BACKEND_REQ if device.config else 0)
        self._handlers: dict[m.Kind, Callable[[Message], Payload | None]] = {
            m.GET_FEATURES: lambda _: m.U64(self._offered),
            m.SET_FEATURES: self._set_features,
            m.SET_OWNER: lambda _: None,
            m.RESET_OWNER: self._reset,
            m.RESET_DEVICE: self._reset,
            m.GET_PROTOCOL_FEATURES: lambda _: m.U64(self._able),
            m.SET_PROTOCOL_FEATURES: self._set_protocol_features,
            m.GET_QUEUE_NUM: lambda _: m.U64(device.queues),
            m.SET_MEM_TABLE: self._set_memory,
            m.GET_MAX_MEM_SLOTS: lambda _: m.U64(m.MEMORY_REGIONS_MAX),
            m.ADD_MEM_REG: self._add_memory,
            m.REM_MEM_REG: self._remove_memory,
            m.SET_VRING_NUM: self._set_size,
            m.SET_VRING_ADDR: self._set_address,
            m.SET_VRING_BASE: self._set_base,
            m.GET_VRING_BASE: self._stop_ring,
            m.SET_VRING_KICK: lambda message: self._set_fd(message, "kick"),
            m.SET_VRING_CALL: lambda message: self._set_fd(message, "call"),
            m.SET_VRING_ERR: lambda message: self._set_fd(message, "err"),
            m.SET_VRING_ENABLE: self._enable,
            m.GET_CONFIG: self._get_config,
            m.SET_CONFIG: self._set_config,
            m.SET_BACKEND_REQ_FD: self._set_channel,
            m.GET_INFLIGHT_FD: lambda message: self._inflight.make(message.payload(m.Inflight)),
            m.SET_INFLIGHT_FD: self._set_inflight,
            m.SET_STATUS: self._set_status,
            m.GET_STATUS: lambda _: m.U64(self._status),
        }
        self._unfinished: set[int] = set()  # queues with requests left over from the last turn

    def close(self) -> None:
        """Ends the connection and unmaps guest memory. A second call does nothing."""
        for queue in self._queues:
            queue.close()
        self._memory.close()
        self._inflight.close()
        if self._requests:
            self._requests.close()
        self._channel.close()

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the loop -----------------------------------------------------------------

    def run(self) -> None:
        """Serves the frontend until it closes the connection.

        Raises:
            VhostUserError: it broke the protocol, or needs more memory or descriptors than there are.
        """
        try:
            while self._turn():
                pass
            return
        except MemoryError:
            pass  # and its frames release the memory that they hold
        raise VhostUserError("there is not enough memory for what the frontend asks for")

    def _turn(self) -> bool:
        """Waits for events and serves them; returns False if the frontend has closed the connection."""
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        kicks = {}
        for index, queue in enumerate(self._queues):
            kick = queue.fds["kick"]
            if queue.ring and queue.enabled and kick is not None:
                kicks[kick] = index
                poll.register(kick, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(0 if self._unfinished else None)]
        unfinished, self._unfinished = self._unfinished, set()
        # Messages come last: they close descriptors and stop queues.
        for index in unfinished | {kicks[fd] for fd in ready if fd in kicks and eventfd.drain(fd)}:
            self._serve_queue(index)
        return self._channel.fileno() not in ready or self._serve_message()

    def _serve_queue(self, index: int) -> None:
        """Serves at most as many requests as the queue has entries. If the driver breaks the queue, it stops and
        its error is signalled."""
        queue = self._queues[index]
        if not queue.ring or not queue.enabled:
            return
        served = 0
        try:
            while served < queue.size and (chain := queue.ring.pop()):
                queue.ring.push(chain, self._device.serve(index, chain))
                served += 1
        except VhostUserError:
            queue.stop()
            self._signal(queue, "err")
            return
        if served == queue.size:  # a driver may never stop, so others get a turn
            self._unfinished.add(index)
        if served and queue.ring.must_interrupt():
            self._signal(queue, "call")

    def _signal(self, queue: Queue, name: str) -> None:
        try:
            queue.signal(name)
        except OSError as error:
            raise VhostUserError(f"signalling an eventfd: {error.strerror}") from None

    def _serve_message(self) -> bool:
        message = self._channel.receive()
        if not message:
            return False
        with message:
            handler = self._handlers.get(message.kind)
            if not handler:
                raise VhostUserError(f"{message.kind}: not agreed on")
            answer = handler(message)
            if message.kind.reply:
                assert answer
                fds = [self._inflight.fd] if message.kind is m.GET_INFLIGHT_FD else []
                self._channel.reply(message, answer, fds)
            elif self._protocol_features & m.F_REPLY_ACK:
                self._channel.acknowledge(message)
        return True

    # ---- requests -----------------------------------------------------------------

    @property
    def _offered(self) -> int:
        return self._device.features | m.F_PROTOCOL_FEATURES

    def _set_features(self, message: Message) -> None:
        features = message.payload(m.U64).value
        if features & ~self._offered:
            raise VhostUserError(f"SET_FEATURES: {features & ~self._offered:#x} was not offered")
        self._features = features
        if not features & m.F_PROTOCOL_FEATURES:
            for queue in self._queues:
                queue.enabled = True

    def _set_protocol_features(self, message: Message) -> None:
        features = message.payload(m.U64).value
        if features & ~self._able:
            raise VhostUserError(f"SET_PROTOCOL_FEATURES: {features & ~self._able:#x} was not offered")
        self._protocol_features = features

    def _reset(self, message: Message) -> None:
        for queue in self._queues:
            queue.stop()
            queue.enabled = False
        self._status = 0
        self._device.reset()

    def _set_status(self, message: Message) -> None:
        self._status = message.payload(m.U64).value

    def _set_memory(self, message: Message) -> None:
        regions = message.payload(m.MemoryTable).regions
        if len(regions) != len(message.fds):
            raise VhostUserError(f"SET_MEM_TABLE: {len(message.fds)} descriptors for {len(regions)} regions")
        running = [queue for queue in self._queues if queue.ring]
        for queue in running:
            assert queue.ring
            queue.base = queue.ring.next
            queue.ring.close()
            queue.ring = None
        self._memory.close()
        for region, fd in zip(regions, message.fds, strict=True):
            self._memory.add(region, fd)
        for queue in running:
            self._start(self._queues.index(queue))

    def _add_memory(self, message: Message) -> None:
        region = message.payload(m.OneRegion).region
        if not message.fds:
            raise VhostUserError("ADD_MEM_REG: no descriptor")
        self._memory.add(region, message.fds[0])

    def _remove_memory(self, message: Message) -> None:
        self._memory.remove(message.payload(m.OneRegion).region)

    def _queue(self, kind: m.Kind, index: int) -> Queue:
        if index >= len(self._queues):
            raise VhostUserError(f"{kind}: queue {index}, there are {len(self._queues)}")
        return self._queues[index]

    def _stopped(self, kind: m.Kind, index: int) -> Queue:
        queue = self._queue(kind, index)
        if queue.ring:
            raise VhostUserError(f"{kind}: queue {index} runs")
        return queue

    def _set_size(self, message: Message) -> None:
        state = message.payload(m.VringState)
        if not 0 < state.value <= SIZE_MAX or state.value & (state.value - 1):
            raise VhostUserError(f"SET_VRING_NUM: {state.value} entries")
        self._stopped(message.kind, state.index).size = state.value

    def _set_base(self, message: Message) -> None:
        state = message.payload(m.VringState)
        if state.value > 0xFFFF:
            raise VhostUserError(f"SET_VRING_BASE: {state.value}")
        self._stopped(message.kind, state.index).base = state.value

    def _set_address(self, message: Message) -> None:
        address = message.payload(m.VringAddress)
        self._stopped(message.kind, address.index).address = address

    def _set_fd(self, message: Message, name: str) -> None:
        which = message.payload(m.VringFd)
        queue = self._queue(message.kind, which.index)
        if which.without_fd == bool(message.fds):
            raise VhostUserError(f"{message.kind}: {len(message.fds)} descriptors, its flag says otherwise")
        if message.fds and not eventfd.is_eventfd(message.fds[0]):
            raise VhostUserError(f"{message.kind}: the descriptor is no eventfd")
        queue.set_fd(name, message.take_fd())
        if name == "kick":
            if which.without_fd:
                raise VhostUserError("SET_VRING_KICK: polling of queues is not agreed on")
            if not queue.ring:
                self._start(which.index)

    def _start(self, index: int) -> None:
        queue = self._queues[index]
        if self._features is None or not queue.size or not queue.address:
            raise VhostUserError(f"SET_VRING_KICK: queue {index} is not set up")
        address = queue.address
        queue.ring = Vring(
            self._memory,
            queue.size,
            address.descriptors,
            address.available,
            address.used,
            queue.base,
            self._device.request_max,
            self._inflight.log(index, queue.size),
        )
        self._serve_queue(index)

    def _stop_ring(self, message: Message) -> Payload:
        index = message.payload(m.VringState).index
        queue = self._queue(message.kind, index)
        queue.stop()
        return m.VringState(index, queue.base)

    def _enable(self, message: Message) -> None:
        state = message.payload(m.VringState)
        queue = self._queue(message.kind, state.index)
        if state.value > 1:
            raise VhostUserError(f"SET_VRING_ENABLE: {state.value}")
        queue.enabled = bool(state.value)
        self._serve_queue(state.index)

    def _get_config(self, message: Message) -> Payload:
        asked = message.payload(m.Config)
        data = self._device.config[asked.offset : asked.offset + len(asked.data)]
        return m.Config(asked.offset, asked.flags, data.ljust(len(asked.data), b"\0"))

    def _set_config(self, message: Message) -> None:
        config = message.payload(m.Config)
        self._device.set_config(config.offset, config.data)

    def _set_inflight(self, message: Message) -> None:
        inflight = message.payload(m.Inflight)
        if not message.fds:
            raise VhostUserError("SET_INFLIGHT_FD: no descriptor")
        self._inflight.use(message.fds[0], inflight)

    # ---- the backend's own channel --------------------------------------------------

    def _set_channel(self, message: Message) -> None:
        fd = message.take_fd()
        if fd is None:
            raise VhostUserError("SET_BACKEND_REQ_FD: no descriptor")
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            os.close(fd)
            raise VhostUserError(f"SET_BACKEND_REQ_FD: {error.strerror}") from None
        if self._requests:
            self._requests.close()
        self._requests = Channel(sock, {}, self._timeout)

    def config_changed(self) -> None:
        """Notifies the frontend, if it wants that, of a change of the configuration space.

        Raises:
            VhostUserError: the frontend is gone.
        """
        if self._requests:
            self._requests.send(m.CONFIG_CHANGE, m.Empty())


class Server(Listener):
    """Listens at `path` and serves the frontends that connect.

    Raises:
        OSError: the socket cannot be made there.
    """

    def serve(self, device: Device) -> None:
        """Serves the next frontend until it closes the connection.

        Raises:
            VhostUserError: it broke the protocol; `serve` may be called again.
        """
        with Backend(device, self.accept(None)) as backend:
            backend.run()
