"""Eventfds shared with a peer that tries everything to make this process block."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

import pytest

from vhost_user import eventfd

LIMIT = (1 << 64) - 2  # the largest value that a write can leave


@pytest.fixture
def fd() -> Iterator[int]:
    """One that blocks."""
    made = os.eventfd(0)
    yield made
    os.close(made)


def test_each_signal_counts(fd: int) -> None:
    for _ in range(1000):  # more than the room for completions
        eventfd.signal(fd)
    assert os.eventfd_read(fd) == 1000


def test_no_signal_is_lost_between_threads(fd: int) -> None:
    threads = [threading.Thread(target=lambda: [eventfd.signal(fd) for _ in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.eventfd_read(fd) == 16000


def test_others_may_fill_the_context_again(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads find it full; the second makes room, and then others fill it before the first tries again."""
    call, signalled, rounds = eventfd._call, 0, 3

    def crowded(number: ctypes.c_long, *arguments: object) -> None:
        nonlocal signalled, rounds
        if number is eventfd._SUBMIT:
            submission[:] = arguments
        call(number, *arguments)
        if number is eventfd._GETEVENTS and rounds:
            rounds -= 1
            with contextlib.suppress(BlockingIOError):
                while True:
                    call(eventfd._SUBMIT, *submission)
                    signalled += 1
        elif number is eventfd._SUBMIT:
            signalled += 1

    submission: list[object] = []
    monkeypatch.setattr(eventfd, "_call", crowded)
    while rounds:
        eventfd.signal(fd)
    assert os.eventfd_read(fd) == signalled


def test_a_full_counter_makes_nobody_wait(fd: int) -> None:
    os.eventfd_write(fd, LIMIT)
    for _ in range(3):
        eventfd.signal(fd)
    assert os.eventfd_read(fd) > LIMIT


def test_an_empty_counter_makes_nobody_wait(fd: int) -> None:
    assert not eventfd.drain(fd)
    os.eventfd_write(fd, 5)
    assert eventfd.drain(fd)
    assert not eventfd.drain(fd)


def test_a_child_signals_as_well(fd: int) -> None:
    eventfd.signal(fd)
    child = os.fork()
    if not child:
        try:
            eventfd.signal(fd)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.eventfd_read(fd) == 2


def test_what_is_no_eventfd(fd: int) -> None:
    ends = os.pipe()
    assert eventfd.is_eventfd(fd)
    assert not any(map(eventfd.is_eventfd, ends))
    with pytest.raises(OSError, match="Invalid argument"):
        eventfd.signal(ends[1])
    for end in ends:
        os.close(end)
    assert not eventfd.is_eventfd(ends[0])
