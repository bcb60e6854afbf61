"""A frontend with guest memory and queues, and a backend in a thread, connected."""

from __future__ import annotations

import os
import select
import socket
import threading

from guests import MIB

from pyvmm._kvm import ffi
from pyvmm.memory import GuestMemory
from pyvmm.testing.virtqueue import AVAIL, DESC, USED, Driver
from vhost_user.backend import Backend
from vhost_user.device import Device
from vhost_user.frontend import Frontend, Memory, Ring
from vhost_user.messages import Region, VhostUserError
from vhost_user.vring import Chain

REQUEST, REPLY = 8 * MIB, 12 * MIB
SIZE = 16


class Upper(Device):
    """Gives back what it reads, in upper case."""

    queues = 2
    config = b"configuration"

    def __init__(self) -> None:
        self.served: list[bytes] = []
        self.resets = 0

    def serve(self, index: int, chain: Chain) -> int:
        self.served.append(chain.read())
        return chain.write(self.served[-1].upper())

    def set_config(self, offset: int, data: bytes) -> None:
        if offset:
            super().set_config(offset, data)
        self.config = data + self.config[len(data) :]

    def reset(self) -> None:
        self.resets += 1


class BackendThread:
    """Serves one connection."""

    def __init__(self, device: Device) -> None:
        self.sock, sock = socket.socketpair()
        self.backend = Backend(device, sock, timeout=1000)  # some tests speed time up
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.backend:
                self.backend.run()
        except BaseException as error:  # the test checks it
            self.error = error.with_traceback(None)  # its frames would keep memory mapped

    def join(self) -> None:
        """Waits for its end."""
        self._thread.join(60)
        assert not self._thread.is_alive()

    def complaint(self) -> str:
        """What it ended with, a VhostUserError."""
        self.join()
        assert isinstance(self.error, VhostUserError), repr(self.error)
        return str(self.error)


class Clock:
    """Seconds, of which some pass whenever somebody looks."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Guest:
    """Memory, and a driver of each of two queues."""

    def __init__(self, memory: GuestMemory) -> None:
        self.memory = memory
        self.host = int(ffi.cast("uintptr_t", memory.host))
        self.drivers = [Driver(memory, SIZE, base=index * MIB) for index in range(2)]
        self.kicks, self.calls, self.errs = ([os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)] for _ in range(3))

    def regions(self) -> list[Memory]:
        return [
            Memory(Region(at, size, self.host + offset, offset), self.memory.fd)
            for at, size, offset in self.memory.regions
        ]

    def ring(self, index: int) -> Ring:
        base = self.host + index * MIB
        return Ring(
            SIZE, base + DESC, base + AVAIL, base + USED, self.kicks[index], self.calls[index], self.errs[index]
        )

    def start(self, frontend: Frontend) -> None:
        """All set up, and both queues run."""
        frontend.set_features(frontend.features)
        frontend.share_inflight(2, SIZE)
        frontend.share_memory(self.regions())
        for index in range(2):
            frontend.start_ring(index, self.ring(index))

    def put(self, text: bytes, index: int = 0, indirect: bool = False, slot: int = 0) -> int:
        """Makes a request available, with room for 100 bytes of reply."""
        at = index * MIB + slot * 256
        self.memory.write(REQUEST + at, text)
        half = len(text) // 2 or 1
        buffers = [(REQUEST + at, half, False), (REQUEST + at + half, len(text) - half, False), (REPLY + at, 100, True)]
        return self.drivers[index].add([each for each in buffers if each[1]], indirect)

    def kick(self, index: int = 0) -> None:
        os.eventfd_write(self.kicks[index], 1)

    def wait(self, index: int = 0, fds: list[int] | None = None) -> None:
        """Returns once there was an interrupt (or another event)."""
        fd = (fds or self.calls)[index]
        assert select.select([fd], [], [], 60)[0]
        os.eventfd_read(fd)

    def reply(self, written: int, index: int = 0, slot: int = 0) -> bytes:
        return self.memory.read(REPLY + index * MIB + slot * 256, written)

    def close(self) -> None:
        for fd in self.kicks + self.calls + self.errs:
            os.close(fd)
