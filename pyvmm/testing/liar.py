"""The other side: a device that breaks the rules of virtqueues, for tests of guests' drivers.

Example::

    device = Liar(Entropy(), "twice", after=3)
    with Machine(MachineConfig("guest.elf"), [device]) as machine:
        assert machine.run() == 0  # the guest has given the device up, and does without it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pyvmm._kvm import lib
from pyvmm.virtio.device import Device
from pyvmm.virtio.queue import QueueError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import Chain, SplitQueue


class _Queue:
    """A queue whose chains are returned as a liar does it; all else is the real one's."""

    def __init__(self, queue: SplitQueue, index: int, liar: Liar) -> None:
        self._queue, self._index, self._liar = queue, index, liar

    def __getattr__(self, name: str) -> object:
        return getattr(self._queue, name)

    def push(self, chain: Chain, written: int) -> None:
        """Returns a chain, or lies."""
        if self._liar.is_due(self._index):
            LIES[self._liar.lie](self._liar, self._queue, chain, written)
        else:
            self._queue.push(chain, written)


class Liar(Device):
    """Another device, whose answers are right until they are not.

    Args:
        device: it must serve its queues by the control thread.
        lie: of LIES.
        after: how many chains are returned properly before.
        queue: of that number only; None is any.
        once: the lie is told once, and not again after a reset.

    Attributes:
        told: how many lies were told.
        resets: how often the driver has reset the device.
    """

    def __init__(self, device: Device, lie: str, after: int = 0, queue: int | None = None, once: bool = False) -> None:
        assert lie in LIES
        assert not device.own_thread
        self.device, self.lie, self.queue = device, lie, queue
        self._after, self._left, self._once = after, after, once
        self.told = self.resets = 0
        self.transport: Transport | None = None

    def __getattribute__(self, name: str) -> Any:
        """What a device says of itself is what the other one says."""
        if name in _SAME:
            return getattr(object.__getattribute__(self, "device"), name)
        return object.__getattribute__(self, name)

    def is_due(self, queue: int) -> bool:
        """Whether the next chain of a queue is to be returned wrongly."""
        if self.queue not in (None, queue) or (self._once and self.told):
            return False
        if self._left:
            self._left -= 1
            return False
        self.told += 1
        return True

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """Starts the other device, on queues that lie."""
        self.transport, self._left = transport, self._after
        lying = [_Queue(queue, index, self) for index, queue in enumerate(queues)]
        self.device.activate(transport, cast("list[SplitQueue]", lying), features)

    def kicked(self, index: int) -> None:
        """Serves the queue."""
        self.device.kicked(index)

    def reset(self) -> None:
        """Resets the other device."""
        self.resets += 1
        self.transport = None
        self.device.reset()


#: What a device says of itself, and what needs no lie.
_SAME = frozenset(
    "name device_id features queue_sizes config own_thread shares_memory answers forgets serves ports told_of_ports "
    "prepare attach counts finish close listens pause resume state restore".split()
)


def _entry(queue: SplitQueue, head: int, written: int) -> None:
    lib.queue_push(queue.native, head & 0xFFFF, written & 0xFFFF_FFFF)


def _no_such_head(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    _entry(queue, 0xFFFF, written)


def _another_head(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    _entry(queue, (chain.head + queue.native.size // 2) % queue.native.size, written)


def _twice(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    queue.push(chain, written)
    queue.push(chain, written)


def _more(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    _entry(queue, chain.head, 0xFFFF_FFF0)


def _less(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    _entry(queue, chain.head, 0)


def _forward(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    queue.native.next_used = (queue.native.next_used + 1000) & 0xFFFF
    queue.push(chain, written)


def _back(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    queue.native.next_used = (queue.native.next_used - 2) & 0xFFFF
    queue.push(chain, written)


def _interrupts(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    """Interrupts before and after, and because of a configuration that is the same."""
    assert liar.transport
    for _ in range(3):
        liar.transport.interrupt()
        lib.virtio_mmio_set_config(liar.transport.native, liar.config, len(liar.config))
    queue.push(chain, written)
    liar.transport.interrupt()


def _other_config(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    """Has all ones for a configuration from now on."""
    assert liar.transport
    lib.virtio_mmio_set_config(liar.transport.native, b"\xff" * len(liar.config), len(liar.config))
    queue.push(chain, written)


def _needs_reset(liar: Liar, queue: SplitQueue, chain: Chain, written: int) -> None:
    raise QueueError("nothing, but it needs a reset")


#: What a device may do instead of returning a chain.
LIES: dict[str, Callable[[Liar, SplitQueue, Chain, int], None]] = {
    "no such head": _no_such_head,
    "another head": _another_head,
    "twice": _twice,
    "more than there is room for": _more,
    "nothing written": _less,
    "index forward": _forward,
    "index back": _back,
    "interrupts": _interrupts,
    "other configuration": _other_config,
    "needs a reset": _needs_reset,
}
