"""Runs a case on a device in this process, and has an oracle judge it after each operation."""

from __future__ import annotations

import posix as os
from pathlib import Path
from time import monotonic
from traceback import extract_tb
from typing import TYPE_CHECKING, Self

from pyvmm.eventloop import EventLoop
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing import registers as r
from pyvmm.testing.oracle import DeviceError, Oracle, fill
from pyvmm.testing.steps import RAM, Notify, Read, Step, Store, Wait, Write, operations
from pyvmm.testing.targets import BackendError
from pyvmm.virtio.mmio import VirtioMmio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm.testing.steps import Operation
    from pyvmm.virtio.device import Device

#: Seconds without anything new after which a device that works elsewhere has had its turn.
_QUIET = 0.003
#: The same at the end, for another process, whose death may take longer to be seen.
_QUIET_AT_END = 0.02
#: Seconds in which it must return the chains of an honest driver.
_PATIENCE = 2.0


class _Transport(VirtioMmio):
    """Keeps the exceptions that the device's code has raised, besides those that blame driver or host."""

    raised: Exception | None = None

    def bug(self, error: Exception) -> str:
        self.raised = self.raised or error
        return super().bug(error)


class Harness:
    """A device with guest memory, a transport and a loop.

    Args:
        device: owned from now on.
        honest: its driver will do nothing wrong, so the device must not need a reset.

    Attributes:
        states: what was seen: Status, the queues' states, and the kind of the next step.
        registers: the device's.
    """

    def __init__(self, device: Device, honest: bool = False) -> None:
        self._device, self._honest = device, honest
        self._quiet = _QUIET if device.own_thread else 0.0
        self.states: set[str] = set()
        self._memory = GuestMemory(Ram(RAM), device.shares_memory)
        self._loop = EventLoop()
        self.registers = r.Registers(self._memory, device, transport=_Transport)
        self._transport = self.registers.transport
        fill(self._memory, len(device.queue_sizes))
        self._oracle = Oracle(self._memory, device.device_id, device.queue_sizes)
        self._loop.add(self._transport.irq_fd, lambda: self._interrupted())
        self._transport.attach(self._loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._device.close()
        self._transport.close()
        self._loop.close()
        del self.registers, self._transport, self._oracle
        self._memory.close()

    def _interrupted(self) -> None:
        os.read(self._transport.irq_fd, 8)
        self._oracle.look()
        self._oracle.interrupted()

    def run(self, steps: Sequence[Step]) -> None:
        """Takes the steps, resets the device and ends it.

        Raises:
            DeviceError: the device has done something wrong.
        """
        for step, what in zip(steps, operations(steps), strict=True):
            status = self.registers.read(r.STATUS)
            self.states.add(f"{self._oracle.states(status)} {type(step).__name__}")
            for operation in what:
                self._do(operation)
        self._quiet = _QUIET_AT_END if self._device.shares_memory else self._quiet
        self._do(Wait())
        self._do(Write(r.STATUS, 0))
        self._do(Wait())
        self._oracle.look_at_memory()

    def _do(self, operation: Operation) -> None:
        match operation:
            case Write(offset, value):
                self.registers.write(offset, value)
                if offset == r.STATUS and not value:
                    self._oracle.look_at_memory()  # the last that the device may have written
                self._oracle.wrote(offset, value)
            case Read(offset):
                value = self.registers.read(offset)
                if offset != r.QUEUE_READY or not self._needs_reset():
                    self._oracle.read(offset, value)
            case Store(address, data):
                self._memory.write(address, data)
                self._oracle.stored(address, data)
            case Notify(queue):
                self.registers.write(r.QUEUE_NOTIFY, queue)
            case Wait(queues):
                self._wait(queues)
        self._check()

    def _wait(self, queues: tuple[int, ...]) -> None:
        end = monotonic() + _PATIENCE
        while True:
            served = self._loop.turn(self._quiet)
            self._oracle.look()
            if served:
                continue
            is_waiting = self._oracle.is_waiting(queues)
            is_silent = self._honest and self._oracle.owes_interrupt()
            if not (is_waiting or is_silent) or self._needs_reset():
                return
            if not self._device.own_thread or monotonic() > end:
                if not is_waiting:
                    raise DeviceError("the device has returned chains without an interrupt, which the driver wants")
                waits = [f"queue {index}" for index in queues if self._oracle.is_waiting((index,))]
                raise DeviceError(f"{' and '.join(waits)}: the device does not return what it was offered")

    def _needs_reset(self) -> bool:
        return bool(self.registers.read(r.STATUS) & r.NEEDS_RESET)

    def _check(self) -> None:
        raised = self._transport.raised if isinstance(self._transport, _Transport) else None
        if raised:
            raise escaped(raised)
        if self._honest and self._needs_reset():
            why = (self.registers.logged or ["a queue is not what it may be"])[-1]
            raise DeviceError(f"the device needs a reset, though its driver is honest: {why}")


def escaped(error: Exception) -> DeviceError:
    """The problem that a device's code has raised an exception, and where."""
    if isinstance(error, BackendError):
        return DeviceError(f"the backend has failed: {error}")
    frames = extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    name = type(error).__name__
    return DeviceError(f"the device's code has raised {name}: {error} ({place})", f"{name} {place}")
