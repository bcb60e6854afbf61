"""A device's life under several vCPUs: one sequence of steps, and one owner of its queues at a time.

The model's rules run one at a time, in every order in which exits can be served; then real
devices run with real threads. (`tests/fuzz/lifecycle.c` does the same under the thread
sanitizer.)
"""

from __future__ import annotations

import queue
import random
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from guests import KIB, MIB
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vhostpeer import BackendThread, Upper
from virtiodev import Echo

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError
from pyvmm.eventloop import EventLoop
from pyvmm.host.tcp import Publish, TcpHost
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing.registers import (
    DRIVER_FEATURES,
    DRIVER_FEATURES_SEL,
    DRIVER_OK,
    NEEDS_RESET,
    QUEUE_DESC,
    QUEUE_DEVICE,
    QUEUE_DRIVER,
    QUEUE_NOTIFY,
    QUEUE_NUM,
    QUEUE_READY,
    QUEUE_SEL,
    STATUS,
    Registers,
)
from pyvmm.testing.virtqueue import AVAIL, DESC, USED, Driver
from pyvmm.virtio.console import VirtioConsole
from pyvmm.virtio.device import VERSION_1, Device
from pyvmm.virtio.fs import VirtioFs
from pyvmm.virtio.queue import SplitQueue
from pyvmm.virtio.vsock import Vsock

if TYPE_CHECKING:
    from pyvmm.virtio.device import Transport

CPUS = 3


def start(registers: Registers, queues: int = 1, size: int = 8) -> None:
    """A driver's steps up to DRIVER_OK; queue I has its rings at I MiB."""
    write = registers.write
    for status in (0, 1, 3):
        write(STATUS, status)
    write(DRIVER_FEATURES_SEL, 1)
    write(DRIVER_FEATURES, VERSION_1 >> 32)
    write(STATUS, 11)
    for index in range(queues):
        set_up(registers, index, size)
    write(STATUS, 15)


def set_up(registers: Registers, index: int, size: int = 8) -> None:
    registers.write(QUEUE_SEL, index)
    registers.write(QUEUE_NUM, size)
    for register, at in ((QUEUE_DESC, DESC), (QUEUE_DRIVER, AVAIL), (QUEUE_DEVICE, USED)):
        registers.write(register, index * MIB + at)
    registers.write(QUEUE_READY, 1)


class Owner(Device):
    """Notices whether its queues are its own."""

    name = "owner"
    device_id = 42
    queue_sizes = (8, 8)
    own_thread = True

    def __init__(self) -> None:
        self.owns = False

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        self._queues = queues
        self.transport = transport
        self.resume()

    def _seen(self) -> list[tuple[int, ...]]:
        natives = [queue.native for queue in self._queues]
        return [(q.size, q.desc, q.avail, q.used, q.enabled, q.error) for q in natives]

    def check(self) -> None:
        assert not self.owns or self._seen() == self._taken

    def kicked(self, index: int) -> None: ...

    def pause(self) -> None:
        assert self.owns
        self.check()
        self.owns = False

    def resume(self) -> None:
        assert not self.owns
        self.owns = True
        self._taken = self._seen()

    reset = pause


class Lifecycle(RuleBasedStateMachine):
    """vCPUs write, their exits wait, and are served in any order."""

    @initialize()
    def begin(self) -> None:
        self.memory = GuestMemory(Ram(16 * MIB), shared=True)
        self.device = Owner()
        self.registers = Registers(self.memory, self.device)
        self.waiting: dict[int, tuple[int, int]] = {}
        # The result if a single driver writes and waits for each write.
        self.status = 0
        self.started = self.broken = self.resetting = False

    @rule(
        cpu=st.integers(0, CPUS - 1),
        offset=st.sampled_from([QUEUE_SEL, QUEUE_NUM, QUEUE_READY, QUEUE_READY, QUEUE_DESC, QUEUE_DRIVER, 0x20, 0x24]),
        value=st.sampled_from([0, 1, 2, 3, 8, 0x1000, 0x2000, 0xFFFF_FFF0]),
    )
    def write(self, cpu: int, offset: int, value: int) -> None:
        """Anything but Status."""
        before = self.registers.read(STATUS)
        self._write(cpu, offset, value)
        if self.registers.read(STATUS) & ~before & NEEDS_RESET:  # an invalid queue
            assert offset == QUEUE_READY
            assert not self.started
            self.broken = True

    @rule(cpu=st.integers(0, CPUS - 1), value=st.sampled_from([0, 0, 1, 3, 4, 11, 15, 15, 128, 0xFFFF_FFFF]))
    def write_status(self, cpu: int, value: int) -> None:
        if cpu in self.waiting:
            return
        self._write(cpu, STATUS, value)
        if self.resetting:
            return
        if not value:
            self.resetting = self.device.owns
            self.started = self.started and self.resetting
            self.broken = False
            return
        self.started |= bool(value & DRIVER_OK) and not self.broken

    def _write(self, cpu: int, offset: int, value: int) -> None:
        if cpu in self.waiting:
            return
        data = ffi.from_buffer(bytearray(value.to_bytes(4, "little")))
        if not lib.virtio_mmio_access(self.registers.transport.native, ffi.NULL, True, offset, data, 4, 1):
            self.waiting[cpu] = offset, value

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def serve(self, data: st.DataObject) -> None:
        """Python gets to one of the exits."""
        cpu = data.draw(st.sampled_from(sorted(self.waiting)))
        offset, value = self.waiting.pop(cpu)
        self.registers.transport.write(offset, 4, value)
        if self.resetting:
            self.resetting = self.started = False
        if self.registers.read(STATUS) & NEEDS_RESET:  # by a change of queues
            self.broken, self.started = True, False

    @precondition(lambda self: self.device.owns)
    @rule()
    def break_down(self) -> None:
        """What the device stands on has failed."""
        self.registers.transport.needs_reset("test")
        self.broken, self.started = not self.resetting, False
        self.resetting = False

    @invariant()
    def one_owner(self) -> None:
        self.device.check()
        if not self.registers.read(STATUS):
            assert not self.device.owns
        if self.device.owns:
            assert self.registers.read(STATUS) & DRIVER_OK

    @invariant()
    def what_was_written_last_counts(self) -> None:
        if not self.waiting:
            assert (self.device.owns, bool(self.registers.read(STATUS) & NEEDS_RESET)) == (self.started, self.broken)

    def teardown(self) -> None:
        self.registers.transport.close()
        self.memory.close()


TestLifecycle = Lifecycle.TestCase


# ---- exceptions --------------------------------------------------------------------


class Faulty(Echo):
    """Raises `error` in the call named `where`, once."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__()
        self.where, self.error = where, error

    def _at(self, where: str) -> None:
        if where == self.where:
            self.where = ""
            raise self.error

    def attach(self, loop: object) -> None:
        self.pipe = socket.socketpair()
        loop.add(self.pipe[0].fileno(), self._readable)  # type: ignore[attr-defined]

    def _readable(self) -> None:
        self.pipe[0].recv(1)
        self._at("callback")

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        super().activate(transport, queues, features)
        self._at("activate")

    def kicked(self, index: int) -> None:
        self._at("kicked")
        super().kicked(index)

    def pause(self) -> None:
        self._at("pause")

    def resume(self) -> None:
        self._at("resume")

    def reset(self) -> None:
        super().reset()
        self._at("reset")


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory(Ram(16 * MIB), shared=True) as made:
        yield made


@pytest.mark.parametrize("where", ["callback", "activate", "kicked", "pause", "resume", "reset"])
def test_an_exception_breaks_the_device_and_nothing_else(memory: GuestMemory, where: str) -> None:
    device = Faulty(where, KeyError("oops"))
    registers = Registers(memory, device)
    loop = EventLoop()
    registers.transport.attach(loop)
    start(registers)
    device.pipe[1].send(b"x")
    registers.write(QUEUE_NOTIFY, 0)
    for fd, events in loop._epoll.poll(0):
        loop._callbacks[fd](events)
    if where in ("pause", "resume"):
        registers.write(QUEUE_READY, 0)
    if where == "reset":
        registers.write(STATUS, 0)
    assert registers.read(STATUS) & NEEDS_RESET or (where, registers.read(STATUS)) == ("reset", 0)
    (line,) = registers.logged
    assert "a bug in pyvmm, please report it: KeyError: 'oops'" in line
    assert "test_virtio_lifecycle.py:" in line

    driver = Driver(memory, 8)
    start(registers)
    head = driver.add([(8 * MIB, 1, False)])
    registers.transport._kick(0)
    assert driver.take() == [(head, 0)]
    registers.transport.close()
    loop.close()
    for end in device.pipe:
        end.close()


def test_a_refusal_of_the_host_is_told_as_such(memory: GuestMemory) -> None:
    registers = Registers(memory, Faulty("activate", HostError("thread of echo", 11)))
    start(registers)
    assert registers.logged == ["echo at 0xfeb00000 stopped: thread of echo: Resource temporarily unavailable"]
    registers.transport.close()


# ---- threads -----------------------------------------------------------------------


class Stream:
    """Takes everything, gives nothing."""

    def attach(self, loop: object, changed: Callable[[], None]) -> None: ...

    def read(self, size: int) -> bytes:
        return b"x" * min(size, 3)

    def write(self, data: memoryview) -> int:
        return len(data)

    def close(self) -> None: ...


class Server:
    """A backend for each driver."""

    restarts = ends_with_connection = True

    def __init__(self) -> None:
        self.threads: list[BackendThread] = []

    def connect(self, deadline: object) -> socket.socket:
        self.threads.append(BackendThread(Upper()))
        return self.threads[-1].sock

    def attach(self, loop: object, lost: object) -> None: ...

    def why(self, deadline: object) -> str:
        return "it has died"

    def stop(self) -> None: ...

    close = stop


def _vsock(log: Callable[[str], None]) -> Device:
    return Vsock(5, log, TcpHost([Publish("0:80")], [], 16))


def _fs(log: Callable[[str], None]) -> Device:
    return VirtioFs("share x:FS", b"FS", Server(), log)


def _console(log: Callable[[str], None]) -> Device:
    return VirtioConsole(Stream())


def _scribble(memory: GuestMemory, chance: random.Random, queues: int) -> None:
    base = chance.randrange(queues) * MIB
    where = chance.choice([DESC, AVAIL, AVAIL + 2, AVAIL + 2, AVAIL + 4])
    memory.write(
        base + where, chance.choice([0, 1, 2, 8 * MIB, 2**64 - 1]).to_bytes(8, "little")[: chance.choice([2, 8])]
    )


@pytest.mark.parametrize("make", [_vsock, _fs, _console])
@pytest.mark.parametrize("seed", range(3))
def test_threads_that_write_at_random(memory: GuestMemory, make: Callable[..., Device], seed: int) -> None:
    logged: list[str] = []
    device = make(logged.append)
    registers = Registers(memory, device)
    transport = registers.transport
    loop = EventLoop()
    transport.attach(loop)
    exits: queue.Queue[tuple[int, int, threading.Event] | None] = queue.Queue()
    queues = len(device.queue_sizes)

    def write(offset: int, value: int) -> None:
        data = ffi.from_buffer(bytearray(value.to_bytes(4, "little")))
        if not lib.virtio_mmio_access(transport.native, ffi.NULL, True, offset, data, 4, 1):
            served = threading.Event()
            exits.put((offset, value, served))
            assert served.wait(60)

    class Cpu(Registers):
        def __init__(self) -> None: ...

        def write(self, offset: int, value: int, size: int = 4) -> None:
            write(offset, value)

    def run(cpu: int) -> None:
        chance = random.Random(seed * 1000 + cpu)
        for _ in range(150):
            match chance.randrange(8):
                case 0:
                    start(Cpu(), queues, 16)
                case 1:
                    write(STATUS, chance.choice([0, 0, 4, 15, 128]))
                case 2:
                    write(QUEUE_SEL, chance.randrange(3))
                    write(QUEUE_READY, chance.randrange(2))
                case 3:
                    set_up(Cpu(), chance.randrange(queues), 16)
                case _:
                    _scribble(memory, chance, queues)
                    write(QUEUE_NOTIFY, chance.randrange(queues))
        exits.put(None)

    cpus = [threading.Thread(target=run, args=(cpu,)) for cpu in range(CPUS)]
    for thread in cpus:
        thread.start()
    running = CPUS
    while running:
        for fd, events in loop._epoll.poll(0):
            if callback := loop._callbacks.get(fd):
                callback(events)
        try:
            request = exits.get(timeout=0.001)
        except queue.Empty:
            continue
        if request:
            transport.write(request[0], 4, request[1])
            request[2].set()
        else:
            running -= 1
    for thread in cpus:
        thread.join()
    assert not [line for line in registers.logged + logged if "bug" in line]

    # After all that, a well-behaved driver is served.
    for index in range(queues):
        memory.write(index * MIB, bytes(64 * KIB))
    start(registers, queues, 16)
    assert registers.read(STATUS) == 15
    registers.write(STATUS, 0)
    assert registers.read(STATUS) == 0
    device.close()
    transport.close()
    loop.close()
    if isinstance(device, VirtioFs):
        for backend in device._backend.threads:  # type: ignore[attr-defined]
            backend.join()
