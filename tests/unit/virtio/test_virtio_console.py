"""virtio-console: bytes both ways, slow sides, and broken drivers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from guests import MIB
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.eventloop import EventLoop
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing.registers import Registers
from pyvmm.testing.virtqueue import NEXT, Driver
from pyvmm.virtio.console import VirtioConsole

RX_RINGS, TX_RINGS, BUFFERS = MIB, 2 * MIB, 8 * MIB
DEVICE_ID, QUEUE_SEL, QUEUE_NUM, QUEUE_READY, STATUS = 8, 0x30, 0x38, 0x44, 0x70
DRIVER_FEATURES_SEL, DRIVER_FEATURES = 0x24, 0x20
NEEDS_RESET = 64


class FakeStream:
    """Takes what there is room for; gives what was put in."""

    def __init__(self) -> None:
        self.input = b""
        self.output = b""
        self.room = 1 << 30
        self.open = True

    def attach(self, loop: EventLoop, changed: Callable[[], None]) -> None:
        self.changed = changed

    def read(self, size: int) -> bytes:
        data, self.input = self.input[:size], self.input[size:]
        return data

    def write(self, data: memoryview) -> int:
        part = bytes(data[: self.room])
        self.room -= len(part)
        self.output += part
        return len(part)

    def close(self) -> None:
        self.open = False


class Guest:
    """A driver of the console."""

    def __init__(self) -> None:
        self.memory = GuestMemory(Ram(16 * MIB))
        self.stream = FakeStream()
        self.console = VirtioConsole(self.stream)
        self.registers = Registers(self.memory, self.console)
        self.loop = EventLoop()
        self.console.attach(self.loop)
        self.rx = Driver(self.memory, 64, base=RX_RINGS)
        self.tx = Driver(self.memory, 64, base=TX_RINGS)

    def start(self) -> None:
        self.registers.write(STATUS, 3)
        self.registers.write(DRIVER_FEATURES_SEL, 1)
        self.registers.write(DRIVER_FEATURES, 1)
        self.registers.write(STATUS, 11)
        for index, driver in enumerate((self.rx, self.tx)):
            self.registers.write(QUEUE_SEL, index)
            self.registers.write(QUEUE_NUM, driver.size)
            for at, ring in ((0x80, 0x1000), (0x90, 0x3000), (0xA0, 0x4000)):
                self.registers.write(at, driver.base + ring)
            self.registers.write(QUEUE_READY, 1)
        self.registers.write(STATUS, 15)

    def send(self, *parts: bytes) -> None:
        buffers = []
        for i, part in enumerate(parts):
            self.memory.write(BUFFERS + 0x1000 * i, part)
            buffers.append((BUFFERS + 0x1000 * i, len(part), False))
        self.tx.add(buffers)
        self.registers.transport._kick(1)

    def offer(self, size: int) -> int:
        """A receive buffer; returns where it is."""
        address = BUFFERS + MIB + 0x1000 * len(self.rx.chains)
        self.rx.add([(address, size, True)])
        self.registers.transport._kick(0)
        return address

    def close(self) -> None:
        self.console.close()
        self.registers.transport.close()
        self.loop.close()
        self.memory.close()


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    made.start()
    yield made
    made.close()


def test_what_is_sent_is_written(guest: Guest) -> None:
    assert guest.registers.read(DEVICE_ID) == 3
    guest.send(b"Hello, ", b"world\n")
    assert guest.stream.output == b"Hello, world\n"
    assert [written for _, written in guest.tx.take()] == [0]
    assert guest.registers.read(0x60) == 1


def test_what_comes_fills_buffers(guest: Guest) -> None:
    first, second = guest.offer(3), guest.offer(100)
    guest.stream.input = b"abcdefg"
    guest.stream.changed()
    assert [written for _, written in guest.rx.take()] == [3, 4]
    assert guest.memory.read(first, 3) + guest.memory.read(second, 4) == b"abcdefg"


def test_what_comes_waits_for_buffers_and_no_more_is_read(guest: Guest) -> None:
    guest.stream.input = bytes(10000)
    guest.stream.changed()
    assert len(guest.stream.input) == 10000 - 4096
    guest.offer(4000)
    assert [written for _, written in guest.rx.take()] == [4000]
    assert len(guest.stream.input) == 10000 - 4096


def test_a_slow_reader_keeps_the_guest_s_buffer(guest: Guest) -> None:
    guest.stream.room = 4
    guest.send(b"Hello, ", b"world\n")
    assert (guest.stream.output, guest.tx.take()) == (b"Hell", [])
    guest.stream.room = 5
    guest.stream.changed()
    assert (guest.stream.output, guest.tx.take()) == (b"Hello, wo", [])
    guest.stream.room = 100
    guest.stream.changed()
    assert guest.stream.output == b"Hello, world\n"
    assert len(guest.tx.take()) == 1


def test_buffers_before_the_driver_is_ready_are_served_then() -> None:
    guest = Guest()
    guest.stream.input = b"early"
    guest.stream.changed()
    guest.memory.write(BUFFERS, b"boot")
    guest.tx.add([(BUFFERS, 4, False)])
    guest.rx.add([(BUFFERS + 0x1000, 100, True)])
    guest.start()
    assert guest.stream.output == b"boot"
    assert guest.memory.read(BUFFERS + 0x1000, 5) == b"early"
    guest.close()


def test_many_chains_are_served_by_turns(guest: Guest) -> None:
    for _ in range(64):
        guest.tx.add([(BUFFERS, 1, False)])
    guest.registers.transport._kick(1)
    assert len(guest.stream.output) == 64
    guest.registers.transport.kicked(1)  # it kicked itself


def test_a_reset_forgets_what_was_being_sent(guest: Guest) -> None:
    guest.stream.room = 4
    guest.send(b"Hello")
    guest.registers.write(STATUS, 0)
    guest.stream.room = 100
    guest.stream.changed()
    assert guest.stream.output == b"Hell"


@pytest.mark.parametrize("index", [0, 1])
def test_a_broken_queue_stops_the_device_alone(guest: Guest, index: int) -> None:
    driver = (guest.rx, guest.tx)[index]
    driver.write_desc(0x1000, 0, 1 << 60, 100, NEXT, 0)
    driver.make_available(0)
    guest.stream.input = b"come"
    guest.stream.changed()
    assert guest.registers.read(STATUS) & NEEDS_RESET
    assert len(guest.registers.logged) == 1
    guest.stream.changed()


def test_the_stream_closes_with_the_device(guest: Guest) -> None:
    guest.console.close()
    guest.console.close()
    assert not guest.stream.open


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5), max_size=20),
    st.lists(st.integers(1, 100), max_size=60),
)
def test_nothing_is_lost_or_doubled(chains: list[list[bytes]], rooms: list[int]) -> None:
    guest = Guest()
    guest.start()
    guest.stream.room = 0
    sent, free = b"", 64
    for parts in chains:
        if len(parts) > free:
            break
        at = BUFFERS + 0x1000 + len(sent)
        sent += b"".join(parts)
        free -= len(parts)
        buffers = []
        for part in parts:
            guest.memory.write(at, part)
            buffers.append((at, len(part), False))
            at += len(part)
        guest.tx.add(buffers)
    guest.registers.transport._kick(1)
    for room in [*rooms, 1 << 20]:
        guest.stream.room = room
        guest.stream.changed()
    assert guest.stream.output == sent
    guest.close()
