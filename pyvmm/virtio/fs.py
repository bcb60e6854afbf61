"""virtio-fs (virtio 1.2, section 5.11): a directory of the host, served by another process.

That process, a vhost-user backend such as virtiofsd, reads requests from guest
memory and writes replies to it. It is notified by an eventfd and interrupts by one,
so no code of ours runs for a request.

The guest's node IDs and open files are the backend's, and die with it. So when a
backend dies the device needs a reset. A driver that can do that starts the device
again and gets a new backend.

The backend is not trusted. Each call of a method of the device waits for it up to one
deadline, and signals are served meanwhile.
"""

from __future__ import annotations

from pyvmm._kvm import ffi
from pyvmm.errors import HostError, PyvmmError
from pyvmm.virtio.device import RING_FEATURES, VERSION_1, Device
from vhost_user.channel import Deadline
from vhost_user.frontend import ABLE, Frontend, Memory, Ring
from vhost_user.messages import F_INFLIGHT_SHMFD, Region, VhostUserError

_USED_IDX = 2  # offset in a used ring (section 2.7.8)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Protocol

    from pyvmm.eventloop import Loop
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import SplitQueue

    class Backend(Protocol):
        """What serves the directory (see `pyvmm.host.virtiofsd`).

        Attributes:
            ends_with_connection: it serves one connection only, so a reset stops it and the
                next driver gets a new one.
            restarts: `connect` may be called again after it has died.
        """

        ends_with_connection: bool
        restarts: bool

        def connect(self, deadline: Deadline) -> socket:
            """Starts the backend if need be; returns a connected socket, which the caller closes.

            It may still fail after that: `why` tells.

            Raises:
                HostError: it cannot be started or reached.
            """

        def attach(self, loop: Loop, lost: Callable[[str], None]) -> None:
            """Logs what the backend prints, from `loop`.

            Args:
                lost: called with the reason when what it serves is not what it was.
            """

        def why(self, deadline: Deadline) -> str:
            """Stops the backend; returns why the connection ended, as part of a message."""

        def stop(self) -> None:
            """Ends the backend, until `connect` starts it again. Does nothing if it does not run."""

        def close(self) -> None:
            """Ends the backend for good. A second call does nothing."""

    class Observer(Protocol):
        """Who sees all requests, between the driver and the backend (see `pyvmm.trace.requests`).

        Attributes:
            regions: memory that the backend is to have besides the guest's.
        """

        regions: list[Memory]

        def start(self, loop: Loop, index: int, queue: SplitQueue, base: int, kick: int, call: int) -> Ring | None:
            """The backend is about to serve a queue.

            Args:
                loop: the control thread's.
                index: the queue's number.
                base: where in the available ring the backend begins.
                kick, call: eventfds by which the driver notifies, and is interrupted.

            Returns:
                The queue that it is to serve; None: the driver's.
            """

        def pause(self) -> None:
            """The backend serves no queue for now."""

        def stop(self) -> None:
            """The backend serves no queue any more, and knows nothing of those that it has served."""


_QUEUE_SIZE = 256
_REQUEST_QUEUES_MAX = 8
_TAG_BYTES = 36
_PATIENCE = 5.0  # seconds: the deadline of each call of a method
_ENOTCONN = 107


class VirtioFs(Device):
    """The device.

    Args:
        where: the device's name in messages.
        tag: the name that the guest mounts, at most 36 bytes (section 5.11.4).
        backend: what serves the directory; closed with the device.
        log: called with a line when the backend fails while no driver uses it.

    Attributes:
        tag: as given.
        observer: who sees all requests; None.

    Raises:
        PyvmmError: the backend cannot be started.
    """

    name = "fs"
    device_id = 26
    own_thread = True
    shares_memory = True
    forgets = True
    answers = True

    def __init__(self, where: str, tag: bytes, backend: Backend, log: Callable[[str], None]) -> None:
        self._where, self.tag = where, tag
        self._backend = backend
        self._log = log
        self._loop: Loop | None = None
        self._transport: Transport | None = None
        self._bases: dict[int, int] = {}
        self._used: dict[int, int] = {}
        self._answered = 0
        self.observer: Observer | None = None
        self._frontend: Frontend | None = None
        self._sock: socket | None = backend.connect(self._deadline())

    def prepare(self, cpus: int) -> None:
        """Waits for the backend, which has been starting since the device was made.

        Raises:
            PyvmmError: it has failed, or does not speak vhost-user.
        """
        frontend = self._connect(self._deadline())
        self.features = frontend.features & RING_FEATURES
        requests = max(1, min(cpus, _REQUEST_QUEUES_MAX, (frontend.queues or 2) - 1))
        self.queue_sizes = (_QUEUE_SIZE,) * (1 + requests)
        self.config = self.tag.ljust(_TAG_BYTES, b"\0") + requests.to_bytes(4, "little")

    def _deadline(self) -> Deadline:
        return Deadline(_PATIENCE, self._loop.wait if self._loop else None)

    def _connect(self, deadline: Deadline) -> Frontend:
        sock, self._sock = self._sock or self._backend.connect(deadline), None
        try:
            frontend = Frontend(sock, able=ABLE & ~F_INFLIGHT_SHMFD, deadline=deadline)
        except VhostUserError as error:
            raise self._failure(error, deadline) from None
        if not frontend.features & VERSION_1:
            frontend.close()
            raise HostError(f"{self._where}: the backend does not know virtio 1", 95)
        self._frontend = frontend
        if self._loop:
            self._loop.add(frontend.fileno(), self._ended)
        return frontend

    def _failure(self, error: VhostUserError, deadline: Deadline) -> PyvmmError:
        return PyvmmError(f"{self._where}: {self._backend.why(deadline)} ({error})")

    def _fail(self, error: VhostUserError, deadline: Deadline) -> None:
        """Gives the backend up: it did not do what it was asked to."""
        self._disconnect()
        if self._transport:
            self._transport.needs_reset(str(self._failure(error, deadline)))

    def attach(self, loop: Loop) -> None:
        """Watches for the backend's death from `loop`."""
        self._loop = loop
        self._backend.attach(loop, self._lost)
        if self._frontend:
            loop.add(self._frontend.fileno(), self._ended)

    def _ended(self) -> None:
        """Gives the backend up: it closed the connection, or sent something unasked."""
        self._disconnect()
        reason = self._backend.why(self._deadline())
        if self._transport:
            self._transport.needs_reset(reason)
        else:
            self._log(f"{self._where}: {reason}")

    def _lost(self, reason: str) -> None:
        """Gives the backend up, for another one that serves what is there now."""
        self._disconnect()
        self._backend.stop()
        if self._transport:
            self._transport.needs_reset(reason)
        else:
            self._log(f"{self._where}: {reason}")

    def _disconnect(self) -> None:
        if self._frontend:
            if self._loop:
                self._loop.remove(self._frontend.fileno())
            self._frontend.close()
            self._frontend = None
        if self.observer:
            self.observer.stop()

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """Hands the queues to the backend. A failure breaks the device."""
        self._transport, self._queues = transport, queues
        transport.use_elsewhere()
        deadline = self._deadline()
        try:
            frontend = self._frontend
            if not frontend:
                if not self._backend.restarts:
                    raise HostError(f"{self._where}: the backend", _ENOTCONN)
                frontend = self._connect(deadline)
            if features & ~frontend.features:
                raise PyvmmError(f"{self._where}: the new backend supports fewer features than the old one")
            with frontend.within(deadline):
                frontend.set_features(features)
                frontend.share_memory(_regions(transport) + (self.observer.regions if self.observer else []))
                if self.observer:
                    self.observer.stop()
                self._bases = dict.fromkeys(range(len(queues)), 0)
                self._used = {}
                self._start_rings(frontend)
        except VhostUserError as error:
            self._fail(error, deadline)
        except PyvmmError as error:
            transport.needs_reset(str(error))

    def _start_rings(self, frontend: Frontend) -> None:
        assert self._transport
        for index, queue in enumerate(self._queues):
            native = queue.native
            if native.enabled:
                descriptors, available, used = map(_address, (native.desc_at, native.avail_at, native.used_at))
                kick, call, base = self._transport.kick_fds[index], self._transport.irq_fd, self._bases[index]
                ring = Ring(native.size, descriptors, available, used, kick, call)
                if self.observer and self._loop:
                    ring = self.observer.start(self._loop, index, queue, base, kick, call) or ring
                frontend.start_ring(index, ring, base)

    def _stop_rings(self, frontend: Frontend) -> None:
        for index, queue in enumerate(self._queues):
            if queue.native.enabled:
                self._bases[index] = frontend.stop_ring(index)
        if self.observer:
            self.observer.pause()

    def pause(self) -> None:
        """Takes the queues back."""
        self._change(self._stop_rings)

    def resume(self) -> None:
        """Hands the queues to the backend again; one that was reset starts from index 0."""
        if self._frontend and self._transport:
            for index, queue in enumerate(self._queues):
                if not queue.native.enabled:
                    self._bases[index] = 0
        self._change(self._start_rings)

    def _change(self, change: Callable[[Frontend], None]) -> None:
        if self._frontend and self._transport:
            deadline = self._deadline()
            try:
                with self._frontend.within(deadline):
                    change(self._frontend)
            except VhostUserError as error:
                self._fail(error, deadline)

    def reset(self) -> None:
        """Takes the queues back for good, or ends the backend with all that it knows of the driver."""
        if self._frontend and not self._backend.ends_with_connection:
            try:
                with self._frontend.within(self._deadline()):
                    self._stop_rings(self._frontend)
            except VhostUserError:
                self._disconnect()
        else:
            self._disconnect()
            self._backend.stop()
        self._transport = None

    def counts(self) -> dict[str, int]:
        """How many requests the backend has answered, by the used rings' indexes.

        These have 16 bits: more than 65535 answers between two calls are not all counted.
        """
        if self._transport:
            for index, queue in enumerate(self._queues):
                if queue.native.enabled:
                    used = int.from_bytes(ffi.buffer(queue.native.used_at + _USED_IDX, 2), "little")
                    self._answered += (used - self._used.get(index, 0)) % (1 << 16)
                    self._used[index] = used
        return {"requests": self._answered}

    def kicked(self, index: int) -> None:
        """Does nothing: the backend is notified itself."""

    def close(self) -> None:
        """Ends the connection and the backend. A second call does nothing."""
        self._disconnect()
        if self._sock:
            self._sock.close()
            self._sock = None
        self._backend.close()


def _regions(transport: Transport) -> list[Memory]:
    """The ranges of guest memory, in the backend's terms. KVM's memory slots play no part."""
    memory = transport.memory
    host = _address(memory.host)
    return [Memory(Region(start, size, host + at, at), memory.fd) for start, size, at in memory.regions]


def _address(pointer: object) -> int:
    return int(ffi.cast("uintptr_t", pointer))
