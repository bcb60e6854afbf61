"""The split queue against a plain driver: same chains, same order, same used entries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from guests import MIB
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyvmm._kvm import lib
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing.virtqueue import DESC, INDIRECT, NEXT, TABLES, WRITE, Buffer, Driver, buffers_of
from pyvmm.virtio.queue import Chain, QueueError, SplitQueue

SIZE = 16 * MIB
BUFFERS = 8 * MIB
SIZES = [1, 2, 4, 8, 64, 256]


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory(Ram(SIZE)) as made:
        yield made


@st.composite
def chains(draw: st.DrawFn, most: int) -> list[Buffer]:
    """Readable buffers, then writable ones, anywhere in the buffer area."""
    count = draw(st.integers(1, min(most, 6)))
    readable = draw(st.integers(0, count))
    spans = [(draw(st.integers(BUFFERS, SIZE - 5000)), draw(st.integers(1, 5000))) for _ in range(count)]
    return [(address, length, i >= readable) for i, (address, length) in enumerate(spans)]


class QueueModel(RuleBasedStateMachine):
    """Driver and device take turns in any order."""

    @initialize(
        size=st.sampled_from(SIZES), event_idx=st.booleans(), start=st.sampled_from([0, 1, 0x7FFF, 0xFFFE, 0xFFFF])
    )
    def set_up(self, size: int, event_idx: bool, start: int) -> None:
        self.memory = GuestMemory(Ram(SIZE))
        self.driver = Driver(self.memory, size, event_idx, start)
        self.queue = self.driver.queue()
        self.available: list[tuple[int, list[Buffer]]] = []
        self.popped: list[Chain] = []
        self.pushed: list[tuple[int, int]] = []
        self.interrupts = True
        self.quiet_pushes = 0
        self.driver.set_interrupts(True)
        self.watching_since: int | None = None

    @precondition(lambda self: self.driver.free)
    @rule(data=st.data(), indirect=st.booleans())
    def make_available(self, data: st.DataObject, indirect: bool) -> None:
        most = self.driver.size if indirect else len(self.driver.free)
        buffers = data.draw(chains(most))
        before = self.driver.avail_idx
        head = self.driver.add(buffers, indirect)
        self.available.append((head, buffers))
        if self.watching_since == before:
            assert self.driver.must_notify(before)
            self.watching_since = None

    @rule()
    def pop(self) -> None:
        chain = self.queue.pop()
        if not self.available:
            assert chain is None
            return
        assert chain is not None
        head, buffers = self.available.pop(0)
        assert (chain.head, buffers_of(self.memory, chain)) == (head, buffers)
        self.popped.append(chain)
        self.watching_since = None

    @precondition(lambda self: self.popped)
    @rule(data=st.data())
    def push(self, data: st.DataObject) -> None:
        chain = self.popped.pop(data.draw(st.integers(0, len(self.popped) - 1)))
        written = data.draw(st.integers(0, sum(map(len, chain.writable))))
        self.queue.push(chain, written)
        self.pushed.append((chain.head, written))
        self.quiet_pushes += 1

    @rule()
    def ask_for_interrupt(self) -> None:
        wanted = self.quiet_pushes > 0 and self.interrupts
        assert self.queue.must_interrupt() == wanted
        self.quiet_pushes = 0
        # used_event names one entry: once passed, it requests nothing until it is moved.
        if wanted and self.driver.event_idx:
            self.interrupts = False

    @rule(wanted=st.booleans())
    def take(self, wanted: bool) -> None:
        assert self.driver.take() == self.pushed
        self.pushed = []
        # The driver takes an interrupt for entries that it has already seen.
        self.queue.must_interrupt()
        self.quiet_pushes = 0
        self.interrupts = wanted
        self.driver.set_interrupts(wanted)

    @rule()
    def watch(self) -> None:
        assert self.queue.watch() == bool(self.available)
        self.watching_since = None if self.available else self.driver.avail_idx

    @rule()
    def unwatch(self) -> None:
        self.queue.unwatch()
        self.watching_since = None

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "queue"):
            assert self.queue.native.error == lib.QUEUE_OK

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.popped.clear()
            self.memory.close()


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("size", SIZES)
def test_every_index_wraps(memory: GuestMemory, size: int) -> None:
    driver = Driver(memory, size, start=0xFFFF - 3)
    queue = driver.queue()
    for i in range(600):
        head = driver.add([(BUFFERS + i, 1, True)])
        chain = queue.pop()
        assert chain is not None
        assert buffers_of(memory, chain) == [(BUFFERS + i, 1, True)]
        queue.push(chain, 1)
        assert driver.take() == [(head, 1)]


def test_chain_of_exactly_the_queue_size(memory: GuestMemory) -> None:
    driver = Driver(memory, 8)
    queue = driver.queue()
    buffers = [(BUFFERS + 64 * i, 64, i > 3) for i in range(8)]
    driver.add(buffers)
    chain = queue.pop()
    assert chain is not None
    assert buffers_of(memory, chain) == buffers


def test_buffers_reach_the_guest(memory: GuestMemory) -> None:
    driver = Driver(memory, 4)
    queue = driver.queue()
    memory.write(BUFFERS, b"question")
    driver.add([(BUFFERS, 8, False), (BUFFERS + 100, 6, True)])
    chain = queue.pop()
    assert chain is not None
    assert bytes(chain.readable[0]) == b"question"
    chain.writable[0][:] = b"answer"
    assert memory.read(BUFFERS + 100, 6) == b"answer"


def test_direct_descriptors_then_an_indirect_table(memory: GuestMemory) -> None:
    driver = Driver(memory, 4)
    queue = driver.queue()
    driver.write_desc(DESC, 0, BUFFERS, 10, NEXT, 1)
    driver.write_desc(DESC, 1, TABLES, 32, INDIRECT, 0)
    driver.write_desc(TABLES, 0, BUFFERS + 16, 20, NEXT, 1)
    driver.write_desc(TABLES, 1, BUFFERS + 64, 30, WRITE, 0)
    driver.make_available(0)
    chain = queue.pop()
    assert chain is not None
    assert buffers_of(memory, chain) == [(BUFFERS, 10, False), (BUFFERS + 16, 20, False), (BUFFERS + 64, 30, True)]


def test_nothing_happens_before_it_is_enabled(memory: GuestMemory) -> None:
    queue = SplitQueue(memory)
    assert queue.pop() is None
    assert not queue.watch()
    assert not queue.must_interrupt()


def test_reset_forgets_the_error_and_the_rings(memory: GuestMemory) -> None:
    driver = Driver(memory, 4)
    queue = driver.queue()
    driver.set_avail_idx(99)
    with pytest.raises(QueueError):
        queue.pop()
    queue.reset()
    assert queue.pop() is None
    assert (queue.native.size, queue.native.desc, queue.native.enabled) == (256, 0, False)
