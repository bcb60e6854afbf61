"""The base class of devices, and what a backend knows about each queue."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from vhost_user import eventfd
from vhost_user.messages import VhostUserError

if TYPE_CHECKING:
    from vhost_user.messages import VringAddress
    from vhost_user.vring import Chain, Vring

VERSION_1 = 1 << 32
INDIRECT_DESC = 1 << 28


class Device(ABC):
    """A device. Its methods are called by `Server.serve`, one at a time.

    Attributes:
        features: virtio feature bits that it offers.
        queues: the number of queues.
        config: the configuration space; if empty, the frontend has it.
        request_max: the most bytes of a request, readable and writable together. A longer request
            breaks its queue.
    """

    features = VERSION_1 | INDIRECT_DESC
    queues = 1
    config = b""
    request_max = 16 << 20

    @abstractmethod
    def serve(self, index: int, chain: Chain) -> int:
        """Serves a request of queue number `index`; returns how many bytes were written to `chain`."""

    def set_config(self, offset: int, data: bytes) -> None:
        """Serves a write of the driver to the configuration space.

        Raises:
            VhostUserError: the write is not allowed.
        """
        raise VhostUserError("the configuration space is read-only")

    def reset(self) -> None:  # noqa: B027 - optional
        """Forgets the driver, which has reset the device."""


class Queue:
    """The state of one queue."""

    def __init__(self) -> None:
        self.size = self.base = 0
        self.address: VringAddress | None = None
        self.fds: dict[str, int | None] = {"kick": None, "call": None, "err": None}
        self.enabled = False
        self.ring: Vring | None = None

    def set_fd(self, name: str, fd: int | None) -> None:
        old, self.fds[name] = self.fds[name], fd
        if old is not None:
            os.close(old)

    def signal(self, name: str) -> None:
        fd = self.fds[name]
        if fd is not None:
            eventfd.signal(fd)

    def stop(self) -> None:
        if self.ring:
            self.base = self.ring.next
            self.ring.close()
            self.ring = None
        self.set_fd("kick", None)

    def close(self) -> None:
        self.stop()
        for name in self.fds:
            self.set_fd(name, None)
