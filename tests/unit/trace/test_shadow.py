"""pyvmm.trace.shadow against an honest device, and one that writes anything."""

from __future__ import annotations

import random
from collections.abc import Iterator
from struct import pack_into, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.trace.shadow import SIZE, Shadow, ShadowMemory

AVAIL, USED = 16 * SIZE, 20 * SIZE


class Device:
    """The other side of a shadow, which sees its memory."""

    def __init__(self, memory: ShadowMemory) -> None:
        self.view, _ = memory.part(0)
        self.seen = self.done = 0

    def take(self) -> list[tuple[int, list[tuple[int, int, bool]]]]:
        """New chains: their head, and address, size and direction of each buffer."""
        found = []
        while self.seen != unpack_from("<H", self.view, AVAIL + 2)[0]:
            (head,) = unpack_from("<H", self.view, AVAIL + 4 + self.seen % SIZE * 2)
            chain, number = [], head
            while True:
                address, size, flags, following = unpack_from("<QIHH", self.view, 16 * number)
                chain.append((address, size, bool(flags & 2)))
                if not flags & 1:
                    break
                number = following
            found.append((head, chain))
            self.seen = (self.seen + 1) % (1 << 16)
        return found

    def give_back(self, head: int, written: int) -> None:
        pack_into("<II", self.view, USED + 4 + self.done % SIZE * 8, head, written)
        self.done = (self.done + 1) % (1 << 16)
        pack_into("<H", self.view, USED + 2, self.done)


@pytest.fixture
def pair() -> Iterator[tuple[Shadow, Device]]:
    memory = ShadowMemory(1)
    shadow, device = Shadow(memory, 0), Device(memory)
    yield shadow, device
    shadow.close()
    device.view.release()
    memory.close()


BUFFER = st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1), st.booleans())


@given(st.integers(0, 2**32))
def test_chains_go_there_and_back_in_any_order(seed: int) -> None:
    """More of them than indexes have values."""
    rng = random.Random(seed)
    memory = ShadowMemory(2)
    shadow, device = Shadow(memory, 0), Device(memory)
    asked: dict[int, list[tuple[int, int, bool]]] = {}
    waiting: list[int] = []
    for _ in range(300):
        chain = [
            (rng.getrandbits(64), rng.randrange(1, 2**32), rng.random() < 0.5) for _ in range(rng.randrange(1, 300))
        ]
        if len(chain) <= shadow.room():
            number = shadow.add(chain)
            assert number not in asked
            asked[number] = chain
        for head, got in device.take():
            assert got == asked[head]
            waiting.append(head)
        rng.shuffle(waiting)
        answers = [(waiting.pop(), rng.randrange(1000)) for _ in range(rng.randrange(len(waiting) + 1))]
        for answer in answers:
            device.give_back(*answer)
        assert list(shadow.taken()) == answers
        for head, _ in answers:
            del asked[head]
        assert unpack_from("<H", device.view, AVAIL + 4 + 2 * SIZE) == (device.done,)
    shadow.close()
    device.view.release()
    memory.close()


def test_indexes_wrap(pair: tuple[Shadow, Device]) -> None:
    shadow, device = pair
    for number in range(70_000):
        head = shadow.add([(number, 1, False)])
        assert device.take() == [(head, [(number, 1, False)])]
        device.give_back(head, 0)
        assert list(shadow.taken()) == [(head, 0)]


@given(
    st.lists(st.lists(BUFFER, min_size=1, max_size=5), max_size=10),
    st.binary(min_size=1, max_size=64),
    st.integers(0, 65535),
)
def test_a_device_may_write_anything(chains: list[list[tuple[int, int, bool]]], pattern: bytes, index: int) -> None:
    memory = ShadowMemory(1)
    shadow, device = Shadow(memory, 0), Device(memory)
    numbers = {shadow.add(chain) for chain in chains}
    ring = (pattern * (12 * SIZE))[: 12 * SIZE]
    device.view[USED : USED + len(ring)] = ring
    pack_into("<H", device.view, USED + 2, index)
    for _ in range(3):
        taken = [number for number, _ in shadow.taken()]
        assert len(taken) == len(set(taken))
        assert set(taken) <= numbers
        numbers -= set(taken)
    assert shadow.room() <= SIZE
    shadow.close()
    device.view.release()
    memory.close()
