"""Whether others need the CPU of vsock's thread: it stops giving way to those that do not wait for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib

US, MS = 1000, 1_000_000
LONG = 3 * MS
MOST = 128


class Busy:
    """What the thread knows, and the time."""

    def __init__(self) -> None:
        self.native = ffi.new("struct vsock_busy *", {"times": 1})
        self.now = 1000 * MS

    def give_way(self, ran: int) -> bool:
        before = self.now
        self.now += ran
        return bool(lib.busy_noticed(self.native, before, self.now))

    @property
    def left(self) -> int:
        return int(self.native.until) - self.now


def test_what_runs_shortly_is_welcome() -> None:
    busy = Busy()
    assert not busy.give_way(200 * US)
    assert busy.left < 0


def test_something_long_now_and_then_costs_little() -> None:
    busy = Busy()
    for _ in range(10):
        assert busy.give_way(LONG)
        assert busy.left == LONG
        busy.now += LONG + 101 * MS


def test_a_thread_that_always_runs_costs_one_percent() -> None:
    busy = Busy()
    times = []
    for _ in range(12):
        assert busy.give_way(LONG)
        times.append(busy.left // LONG)
        busy.now += busy.left + 1
    assert times == [1, 2, 4, 8, 16, 32, 64, 128, 128, 128, 128, 128]


@pytest.mark.parametrize("ran", [10 * MS, 3600 * 1000 * MS])
def test_a_process_that_was_stopped_does_not_wait_for_as_long(ran: int) -> None:
    busy = Busy()
    assert busy.give_way(ran)
    assert busy.left == 10 * MS


@given(st.lists(st.tuples(st.integers(0, 20 * MS), st.integers(0, 500 * MS)), max_size=50))
def test_it_is_never_for_long(turns: list[tuple[int, int]]) -> None:
    busy = Busy()
    for ran, later in turns:
        if busy.give_way(ran):
            assert min(ran, 10 * MS) <= busy.left <= MOST * min(ran, 10 * MS)
        busy.now += later
