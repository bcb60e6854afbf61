"""MPI's rings (toro/mpi/ring.c, line.h): two ranks that take turns as chance has it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NONE = -1
SMALL, LARGEST = 4, 16384  # lines of the first ring, and of the last
RANKS = st.integers(0, 1)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rings") / "rings.so"
    places = [f"-I{ROOT / 'toro' / name}" for name in ("mpi", "c")]
    command = ["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, *places, str(HERE / "rings.c"), "-o", str(path)], check=True)
    return path


class Rank:
    """One of the two, with variables of its own."""

    _count = 0

    def __init__(self, library: Path) -> None:
        Rank._count += 1
        copy = library.with_name(f"rank{Rank._count}.so")
        shutil.copy(library, copy)
        self.code = ctypes.CDLL(str(copy))
        copy.unlink()
        self.code.opened.restype = ctypes.c_void_p
        self.code.meet.argtypes = [ctypes.c_void_p]
        self.code.put.argtypes = [ctypes.c_uint64, ctypes.c_bool]
        self.code.put.restype = self.code.is_small.restype = ctypes.c_bool
        self.code.get.restype = ctypes.c_int64
        self.code.stream.argtypes = [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p]
        self.code.stream.restype = ctypes.c_uint32
        self.code.start()

    def meet(self, other: Rank) -> None:
        if rings := other.code.opened():
            self.code.meet(rings)


class Pair:
    """Two ranks, and what is on the way from each."""

    def __init__(self, library: Path) -> None:
        self.ranks = [Rank(library), Rank(library)]
        self.on_the_way: list[deque[int]] = [deque(), deque()]
        self.number = 0

    def send(self, rank: int, long_one: bool = False) -> bool:
        self.number += 10
        if not self.ranks[rank].code.put(self.number, long_one):
            return False
        self.on_the_way[rank].append(self.number)
        return True

    def receive(self, rank: int) -> None:
        self.ranks[rank].meet(self.ranks[not rank])
        before = self.on_the_way[not rank]
        assert self.ranks[rank].code.get() == (before.popleft() if before else NONE)

    def stream(self, rank: int, count: int) -> None:
        """Messages that are received one by one; nothing is received in the other direction."""
        while self.on_the_way[rank]:
            self.receive(not rank)
        assert self.send(rank)
        self.receive(not rank)
        take = ctypes.cast(self.ranks[not rank].code.get, ctypes.c_void_p)
        assert self.ranks[rank].code.stream(self.number + 10, count, take) == count
        self.number += 10 * count


@pytest.fixture
def pair(library: Path) -> Pair:
    return Pair(library)


def fill(send: Callable[[], bool]) -> int:
    """Sends until there is no room."""
    count = 0
    while send():
        count += 1
        assert count <= LARGEST
    return count


def test_a_small_ring_has_room_again_when_it_is_answered(pair: Pair) -> None:
    for _ in range(1000):
        assert pair.send(0, long_one=True)
        pair.receive(1)
        assert pair.send(1)
        pair.receive(0)
    assert pair.ranks[0].code.is_small()


@pytest.mark.parametrize("more", range(-SMALL, SMALL + 1))
def test_what_a_message_says_that_has_waited_for_long_is_not_heard(pair: Pair, more: int) -> None:
    """It was written 2^16 lines ago, so the number of lines that it tells could be one of today's."""
    assert pair.send(1)
    pair.stream(0, (1 << 16) - SMALL + more)
    assert pair.send(0)
    assert pair.send(0)
    pair.receive(0)  # the message
    fill(lambda: pair.send(0))
    while pair.on_the_way[0]:
        pair.receive(1)


def test_messages_come_in_order_and_whole(library: Path) -> None:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair(library)

        @rule(rank=RANKS, long_one=st.booleans(), times=st.integers(1, 40))
        def send(self, rank: int, long_one: bool, times: int) -> None:
            for _ in range(times):
                self.pair.send(rank, long_one)

        @rule(rank=RANKS, times=st.integers(1, 40))
        def receive(self, rank: int, times: int) -> None:
            for _ in range(times):
                self.pair.receive(rank)

        @rule(rank=RANKS, times=st.integers(1, 100), long_one=st.booleans())
        def answer(self, rank: int, times: int, long_one: bool) -> None:
            for _ in range(times):
                self.pair.send(rank, long_one)
                self.pair.receive(not rank)
                self.pair.send(not rank, long_one)
                self.pair.receive(rank)

        @rule(rank=RANKS, count=st.integers(1, 70_000))
        def stream(self, rank: int, count: int) -> None:
            self.pair.stream(rank, count)

        @invariant()
        def no_more_is_on_the_way_than_there_are_lines(self) -> None:
            assert all(len(each) <= LARGEST for each in self.pair.on_the_way)

        def teardown(self) -> None:
            for rank in (0, 1):
                while self.pair.on_the_way[not rank]:
                    self.pair.receive(rank)
                self.pair.receive(rank)

    run_state_machine_as_test(Machine, settings=settings(deadline=None))  # type: ignore[no-untyped-call]
