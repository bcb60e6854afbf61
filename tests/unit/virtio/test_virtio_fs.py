"""The virtio-fs device between a driver's registers and a vhost-user backend."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guests import MIB, open_fds
from vhostpeer import BackendThread, Clock, Upper

from pyvmm.errors import HostError, PyvmmError
from pyvmm.eventloop import EventLoop
from pyvmm.host.virtiofsd import PROGRAMS, Share, Virtiofsd
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing.registers import Registers
from pyvmm.testing.virtqueue import AVAIL, DESC, USED, Driver
from pyvmm.trace.requests import Request, Requests
from pyvmm.virtio.device import RING_FEATURES, VERSION_1
from pyvmm.virtio.fs import VirtioFs
from vhost_user import messages as m
from vhost_user.channel import Deadline
from vhost_user.device import Device

QUEUE_SEL, QUEUE_NUM, QUEUE_READY, QUEUE_NOTIFY = 0x30, 0x38, 0x44, 0x50
INTERRUPT_STATUS, STATUS, CONFIG = 0x60, 0x70, 0x100
NEEDS_RESET = 64
SIZE = 16


class Server:
    """Backends of the device's, one after the other."""

    def __init__(self, device: Callable[[], Device] = Upper, restarts: bool = True, ends: bool = True) -> None:
        self._device = device
        self.restarts, self.ends_with_connection = restarts, ends
        self.threads: list[BackendThread] = []
        self.stops = 0

    def connect(self, deadline: Deadline) -> socket.socket:
        self.threads.append(BackendThread(self._device()))
        return self.threads[-1].sock

    def attach(self, loop: EventLoop, lost: object) -> None:
        pass

    def why(self, deadline: Deadline) -> str:
        return "it has died"

    def stop(self) -> None:
        self.stops += 1

    close = stop


class Guest:
    """The device on a bus, and its driver. Requests may be traced."""

    def __init__(
        self, memory: GuestMemory, server: Server | Virtiofsd, cpus: int = 1, is_observed: bool = False
    ) -> None:
        self.memory, self.server = memory, server
        self.loop = EventLoop()
        self.logged: list[str] = []
        self.device = VirtioFs("share x:FS", b"FS", server, self.logged.append)
        self.registers = Registers(memory, self.device, cpus)
        self.device.attach(self.loop)
        self.requests: list[Request] = []
        self.observer = Requests(self.device, memory, self.requests.append) if is_observed else None

    def start(self, queues: int = 2) -> None:
        """As a driver does, after a reset."""
        registers = self.registers
        registers.write(STATUS, 0)
        registers.write(STATUS, 3)
        registers.write(0x24, 1)
        registers.write(0x20, VERSION_1 >> 32)
        registers.write(STATUS, 11)
        self.drivers = [Driver(self.memory, SIZE, base=index * MIB) for index in range(queues)]
        for index in range(queues):
            self.set_up(index)
        registers.write(STATUS, 15)

    def set_up(self, index: int) -> None:
        registers = self.registers
        registers.write(QUEUE_SEL, index)
        registers.write(QUEUE_NUM, SIZE)
        for register, at in ((0x80, DESC), (0x90, AVAIL), (0xA0, USED)):
            registers.write(register, index * MIB + at)
        registers.write(QUEUE_READY, 1)

    def ask(self, text: bytes, index: int = 1) -> bytes:
        """A request, and its reply."""
        self.memory.write(8 * MIB, text)
        self.drivers[index].add([(8 * MIB, len(text), False), (9 * MIB, 100, True)])
        self.registers.write(QUEUE_NOTIFY, index)
        while not (taken := self.drivers[index].take()):
            if self.observer:
                self.turn()
        return self.memory.read(9 * MIB, taken[0][1])

    def turn(self) -> None:
        """Serves events of the loop."""
        for fd, events in self.loop._epoll.poll():
            if callback := self.loop._callbacks.get(fd):
                callback(events)

    def close(self) -> None:
        self.device.close()
        self.device.close()
        if self.observer:
            self.observer.close()
            self.observer.close()
        self.registers.transport.close()
        self.loop.close()
        for thread in self.server.threads:
            thread.join()


@pytest.fixture(params=[False, True], ids=["", "observed"])
def guest(request: pytest.FixtureRequest) -> Iterator[Callable[..., Guest]]:
    before = open_fds()
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        made: list[Guest] = []

        def make(**options: object) -> Guest:
            made.append(Guest(memory, Server(**options), is_observed=request.param))  # type: ignore[arg-type]
            return made[-1]

        yield make
        for each in made:
            each.close()
    assert open_fds() == before


def test_what_the_driver_finds(guest: Callable[..., Guest]) -> None:
    made = guest()
    assert made.registers.read(8) == 26
    tag, requests = struct.unpack("<36sI", bytes(made.registers.read(CONFIG + i, 1) for i in range(40)))
    assert (tag.rstrip(b"\0"), requests) == (b"FS", 1)
    # Features of both the backend and the device.
    assert made.device.features == RING_FEATURES & Upper.features


@pytest.mark.parametrize(("cpus", "queues", "requests"), [(1, 9, 1), (4, 9, 4), (100, 100, 8), (4, 2, 1)])
def test_as_many_request_queues_as_both_have(cpus: int, queues: int, requests: int) -> None:
    def device() -> Device:
        made = Upper()
        made.queues = queues
        return made

    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        guest = Guest(memory, Server(device), cpus)
        assert len(guest.device.queue_sizes) == 1 + requests
        assert guest.device.config[36:] == requests.to_bytes(4, "little")
        guest.close()


def test_the_backend_serves_the_drivers_requests(guest: Callable[..., Guest]) -> None:
    made = guest()
    made.start()
    assert made.ask(b"hello") == b"HELLO"
    assert made.ask(b"first queue", 0) == b"FIRST QUEUE"
    # The backend interrupts by itself; InterruptStatus names the rings.
    os.read(made.registers.transport.irq_fd, 8)
    assert made.registers.read(INTERRUPT_STATUS) == 1


def test_what_is_observed_is_what_was_asked() -> None:
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        guest = Guest(memory, Server(), is_observed=True)
        guest.start()
        for text in (b"one", b"three"):
            guest.ask(text)
        guest.ask(b"first queue", 0)
        assert [(each.queue, each.sent, each.received, each.error) for each in guest.requests] == [
            (1, 3, 3, ""), (1, 5, 5, ""), (0, 11, 11, ""),
        ]  # fmt: skip
        assert all(0 < each.start <= each.end and each.share == "FS" for each in guest.requests)
        guest.close()


def test_a_driver_that_breaks_an_observed_ring_breaks_no_more() -> None:
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        guest = Guest(memory, Server(), is_observed=True)
        guest.start()
        guest.drivers[1].set_avail_idx(1000)
        guest.registers.write(QUEUE_NOTIFY, 1)
        with pytest.raises(PyvmmError, match="queue 1: the available index moved"):
            guest.turn()
        assert guest.requests == []
        assert guest.ask(b"still", 0) == b"STILL"
        guest.start()
        assert guest.ask(b"again") == b"AGAIN"
        guest.close()


def test_a_chain_of_as_many_buffers_as_there_may_be_is_passed_on() -> None:
    """Of which more are asked for than the shadow has room for, until some are answered."""
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        guest = Guest(memory, Server(), is_observed=True)
        guest.start()
        memory.write(8 * MIB, b"abcdefgh")
        for _ in range(40):
            for _ in range(2):
                guest.drivers[1].add(
                    [*((8 * MIB + n, 1, False) for n in range(6)), (9 * MIB, 6, True), (9 * MIB + 6, 9, True)]
                )
            guest.registers.write(QUEUE_NOTIFY, 1)
            taken: list[tuple[int, int]] = []
            while len(taken) < 2:
                guest.turn()
                taken += guest.drivers[1].take()
            assert [written for _, written in taken] == [6, 6]
        assert len(guest.requests) == 80
        guest.close()


def test_answers_are_counted_also_beyond_a_reset(guest: Callable[..., Guest]) -> None:
    made = guest()
    assert made.device.counts() == {"requests": 0}
    made.start()
    for i in range(3):
        made.ask(b"hello")
        assert made.device.counts() == {"requests": i + 1}
    made.ask(b"hello", 0)
    made.ask(b"hello")
    assert made.device.counts() == {"requests": 5}
    made.start()
    made.ask(b"hello")
    assert made.device.counts() == {"requests": 6}


def test_a_queue_that_changes_while_the_device_runs(guest: Callable[..., Guest]) -> None:
    made = guest()
    made.start()
    assert made.ask(b"one") == b"ONE"
    assert made.ask(b"other", 0) == b"OTHER"
    made.registers.write(QUEUE_SEL, 1)
    made.registers.write(QUEUE_READY, 0)
    assert made.ask(b"still", 0) == b"STILL"
    made.drivers[1] = Driver(made.memory, SIZE, base=MIB)
    made.set_up(1)
    assert made.ask(b"two") == b"TWO"


@pytest.mark.parametrize("ends", [True, False], ids=["own", "socket"])
def test_a_driver_that_starts_anew(guest: Callable[..., Guest], ends: bool) -> None:
    """Gets a backend that knows nothing of the last driver, where that can be."""
    made = guest(ends=ends)
    made.start()
    assert made.ask(b"one") == b"ONE"
    made.start()
    assert made.ask(b"two") == b"TWO"
    assert len(made.server.threads) == 2 if ends else 1


def kill(guest: Guest) -> None:
    guest.server.threads[-1].sock.shutdown(socket.SHUT_RDWR)
    guest.server.threads[-1].join()
    guest.turn()


@pytest.mark.parametrize("ends", [True, False], ids=["own", "socket"])
def test_when_it_dies_the_device_needs_a_reset_and_works_again(guest: Callable[..., Guest], ends: bool) -> None:
    made = guest(ends=ends)
    made.start()
    assert made.ask(b"one") == b"ONE"
    kill(made)
    assert made.registers.read(STATUS) & NEEDS_RESET
    assert made.registers.logged == ["fs at 0xfeb00000 stopped: it has died"]
    made.start()
    assert not made.registers.read(STATUS) & NEEDS_RESET
    assert made.ask(b"two") == b"TWO"


def test_when_it_dies_before_the_driver_starts(guest: Callable[..., Guest]) -> None:
    made = guest()
    kill(made)
    assert made.logged == ["share x:FS: it has died"]
    made.start()
    assert made.ask(b"one") == b"ONE"


def test_without_restart_it_stays_broken(guest: Callable[..., Guest]) -> None:
    made = guest(restarts=False)
    made.start()
    kill(made)
    made.start()
    assert made.registers.read(STATUS) & NEEDS_RESET
    assert len(made.server.threads) == 1


class NoBackend(Server):
    """Answers nothing that makes sense."""

    def connect(self, deadline: Deadline) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.sendall(bytes(100))
        theirs.close()
        return ours


def test_what_is_no_backend_is_an_error() -> None:
    before = open_fds()
    server = NoBackend()
    device = VirtioFs("share x:FS", b"FS", server, print)
    with pytest.raises(PyvmmError, match=r"^share x:FS: it has died"):
        device.prepare(1)
    device.close()
    assert server.stops
    assert open_fds() == before


def test_one_that_was_not_needed_is_closed() -> None:
    before = open_fds()
    server = Server()
    device = VirtioFs("share x:FS", b"FS", server, print)
    device.close()
    device.close()
    server.threads[0].join()
    assert open_fds() == before


def test_a_backend_from_before_version_1_is_an_error() -> None:
    def device() -> Device:
        made = Upper()
        made.features = 0
        return made

    server = Server(device)
    device = VirtioFs("share x:FS", b"FS", server, print)
    with pytest.raises(HostError, match="does not know virtio 1"):
        device.prepare(1)
    device.close()
    server.threads[0].join()


def test_a_restart_that_fails_is_told(guest: Callable[..., Guest]) -> None:
    made = guest()
    made.start()
    kill(made)
    made.server.connect = NoBackend().connect  # type: ignore[method-assign]
    made.start()
    assert made.registers.read(STATUS) & NEEDS_RESET
    assert "share x:FS: it has died" in made.registers.logged[-1]


class Mute(Server):
    """A backend that takes part in the negotiation and answers nothing after it."""

    def connect(self, deadline: Deadline) -> socket.socket:
        ours, self.theirs = socket.socketpair()
        for kind, value in (
            (m.GET_FEATURES, VERSION_1 | m.F_PROTOCOL_FEATURES),
            (m.GET_PROTOCOL_FEATURES, m.F_REPLY_ACK),
        ):
            self.theirs.sendall(m.HEADER.pack(kind.number, m.VERSION | m.REPLY, 8) + m.U64(value).encode())
        return ours


@pytest.fixture
def mute() -> Iterator[Guest]:
    before = open_fds()
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        server = Mute()
        made = Guest(memory, server)
        yield made
        made.close()
        server.theirs.close()
    assert open_fds() == before


def test_what_is_urgent_is_served_while_the_backend_does_not_answer(mute: Guest) -> None:
    """And when that ends the loop, nobody waits for the backend any more."""
    events = [os.eventfd(1), os.eventfd(0)]
    calls: list[str] = []

    def asked() -> None:
        os.eventfd_read(events[1])
        calls.append("asked")
        mute.loop.add(events[2], lambda: (calls.append("ended"), mute.loop.stop())[1], urgent=True)

    def starts() -> None:
        os.eventfd_read(events[0])
        os.eventfd_write(events[1], 1)
        mute.start()
        calls.append("started")

    events.append(os.eventfd(1))
    mute.loop.add(events[0], starts)
    mute.loop.add(events[1], asked, urgent=True)
    mute.loop.run()
    assert calls == ["asked", "ended"]
    assert mute.registers.logged == []
    for fd in events:
        os.close(fd)


def test_all_that_starting_waits_for_is_bounded_together(
    guest: Callable[..., Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However quick each answer is."""
    made = guest()
    clock = Clock(0.3)
    monkeypatch.setattr("vhost_user.channel.monotonic", clock)
    made.start()
    assert made.registers.read(STATUS) & NEEDS_RESET
    assert "it has died" in made.registers.logged[0]
    assert "not within 5 s" in made.registers.logged[0]
    clock.step = 0.01
    made.start()
    assert made.ask(b"again") == b"AGAIN"


def test_a_driver_that_breaks_its_rings_breaks_the_backend_and_no_more(tmp_path: Path) -> None:
    """virtiofsd itself: it ends, and a driver that starts anew gets another one."""
    if not any(os.access(program, os.X_OK) for program, _ in PROGRAMS):
        pytest.skip("needs virtiofsd (Debian 12: qemu-system-common)")
    server = Virtiofsd(Share(f"{tmp_path}:FS"), print)
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        guest = Guest(memory, server)
        for _ in range(2):
            guest.start()
            assert not guest.registers.read(STATUS) & NEEDS_RESET
            guest.drivers[1].set_avail_idx(1000)
            guest.registers.write(QUEUE_NOTIFY, 1)
            while not guest.registers.read(STATUS) & NEEDS_RESET:
                guest.turn()
        assert len(guest.registers.logged) == 2
        assert "virtiofsd" in guest.registers.logged[0]
        guest.device.close()
        guest.registers.transport.close()
        guest.loop.close()
