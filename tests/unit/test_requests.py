"""pyvmm.requests: what other threads ask for is done once, in order, however late they ask."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from threading import Thread

import pytest
from guests import open_fds
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvmm.eventloop import EventLoop
from pyvmm.requests import Requests

THREADS, CALLS = 4, 50


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


def test_those_from_before_are_served_too(loop: EventLoop) -> None:
    made: list[int] = []
    requests = Requests(lambda: False)
    requests.add(lambda: made.append(0))
    requests.attach(loop)
    requests.add(lambda: made.append(1))
    requests.add(loop.stop)
    loop.run()
    assert made == [0, 1]
    requests.end()
    requests.close()


@settings(max_examples=50, deadline=None)
@given(served=st.integers(0, THREADS * CALLS), closed_early=st.booleans())
def test_each_is_made_once_and_in_its_threads_order(served: int, closed_early: bool) -> None:
    """The loop serves some while threads still ask; the rest is made by `end`, or by who asks."""
    loop, before = EventLoop(), open_fds()
    made: list[tuple[int, int]] = []
    requests = Requests(lambda: len(made) >= served)

    def call(thread: int, number: int) -> None:
        made.append((thread, number))
        if len(made) >= served:
            loop.stop()

    def ask(thread: int) -> None:
        for number in range(CALLS):
            requests.add(partial(call, thread, number))

    requests.attach(loop)
    threads = [Thread(target=ask, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    if served:
        loop.run()
    if closed_early:
        requests.close()
    requests.end()
    for thread in threads:
        thread.join()
    requests.close()
    assert sorted(made) == [(thread, number) for thread in range(THREADS) for number in range(CALLS)]
    assert open_fds() == before
    loop.close()


def test_who_asks_too_late_finds_out_at_once() -> None:
    made: list[int] = []
    requests = Requests(lambda: True)
    requests.add(lambda: made.append(0))
    requests.end()
    assert (made, requests.is_over) == ([0], True)
    requests.add(lambda: made.append(1))
    assert made == [0, 1]
