"""virtio-fs (virtio 1.2, section 5.11): a directory of the host, which another process serves.

That process, a vhost-user backend such as virtiofsd, takes requests out of guest
memory and puts replies there. Its notifications come from KVM, and its interrupts
go there: no code of ours runs for a request.

What the guest knows of the directory (node ids, open files) is the backend's, and
gone with it. So when a backend dies, the device needs a reset: a driver that can
do so starts it anew, and finds a new backend.

The backend is not trusted: all that starting, pausing, stopping or giving up the
device has to wait for it is bounded by one deadline, and signals are served meanwhile.
"""

from __future__ import annotations

from pyvmm._kvm import ffi
from pyvmm.errors import HostError, PyvmmError
from pyvmm.virtio.device import RING_FEATURES, VERSION_1, Device
from vhost_user.channel import Deadline
from vhost_user.frontend import ABLE, Frontend, Memory, Ring
from vhost_user.messages import F_INFLIGHT_SHMFD, Region, VhostUserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Protocol

    from pyvmm.eventloop import Loop
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import SplitQueue

    class Backend(Protocol):
        """Who serves the directory.

        Attributes:
            ends_with_connection: a new driver gets a new one.
            restarts: there is another one after it has died.
        """

        ends_with_connection: bool
        restarts: bool

        def connect(self, deadline: Deadline) -> socket:
            """A connection to it."""

        def attach(self, loop: Loop) -> None:
            """The loop for what it says."""

        def why(self, deadline: Deadline) -> str:
            """Why a connection ended."""

        def stop(self) -> None:
            """Ends it, until `connect`."""

        def close(self) -> None:
            """Ends it."""


_QUEUE_SIZE = 256
_REQUEST_QUEUES_MAX = 8
_TAG_BYTES = 36
_PATIENCE = 5.0  # seconds that a backend has for all that one call of a method asks of it
_ENOTCONN = 107


class VirtioFs(Device):
    """The device.

    Args:
        where: how messages call it.
        tag: its name for the guest, at most 36 bytes.
        backend: serves it; closed with the device.
        log: called with a line when the backend fails.

    Attributes:
        tag: as given.

    Raises:
        PyvmmError: the backend cannot be started.
    """

    name = "fs"
    device_id = 26
    own_thread = True

    def __init__(self, where: str, tag: bytes, backend: Backend, log: Callable[[str], None]) -> None:
        self._where, self.tag = where, tag
        self._backend = backend
        self._log = log
        self._loop: Loop | None = None
        self._transport: Transport | None = None
        self._bases: dict[int, int] = {}
        self._frontend: Frontend | None = None
        self._sock: socket | None = backend.connect(self._deadline())

    def prepare(self, cpus: int) -> None:
        """Waits for the backend, which has been starting meanwhile.

        Raises:
            PyvmmError: it has failed, or is none.
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
        """The backend has not done what it was asked for, and is not asked for anything else."""
        self._disconnect()
        if self._transport:
            self._transport.needs_reset(str(self._failure(error, deadline)))

    def attach(self, loop: Loop) -> None:
        """Learns from `loop` when the backend dies."""
        self._loop = loop
        self._backend.attach(loop)
        if self._frontend:
            loop.add(self._frontend.fileno(), self._ended)

    def _ended(self) -> None:
        """The backend has closed the connection, or says something that nobody asked for."""
        self._disconnect()
        reason = self._backend.why(self._deadline())
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

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """The driver is ready: the backend gets its queues."""
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
                raise PyvmmError(f"{self._where}: the new backend can less than the old one")
            with frontend.within(deadline):
                frontend.set_features(features)
                frontend.share_memory(_regions(transport))
                self._bases = dict.fromkeys(range(len(queues)), 0)
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
                kick, call = self._transport.kick_fds[index], self._transport.irq_fd
                ring = Ring(native.size, descriptors, available, used, kick, call)
                frontend.start_ring(index, ring, self._bases[index])

    def _stop_rings(self, frontend: Frontend) -> None:
        for index, queue in enumerate(self._queues):
            if queue.native.enabled:
                self._bases[index] = frontend.stop_ring(index)

    def pause(self) -> None:
        """Takes the queues back."""
        self._change(self._stop_rings)

    def resume(self) -> None:
        """Gives them again; one that was reset begins at its start."""
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
        """The driver is gone, and with it all that the backend knows of it."""
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

    def kicked(self, index: int) -> None:
        """The backend knows."""

    def close(self) -> None:
        """Ends the connection and the backend. A second call does nothing."""
        self._disconnect()
        if self._sock:
            self._sock.close()
            self._sock = None
        self._backend.close()


def _regions(transport: Transport) -> list[Memory]:
    """The guest's memory: its slots of KVM play no part."""
    memory = transport.memory
    host = _address(memory.host)
    return [Memory(Region(start, size, host + at, at), memory.fd) for start, size, at in memory.regions]


def _address(pointer: object) -> int:
    return int(ffi.cast("uintptr_t", pointer))
