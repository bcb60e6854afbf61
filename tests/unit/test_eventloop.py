"""pyvmm.eventloop: callbacks for readable descriptors, until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import open_fds

from pyvmm.eventloop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """A loop, closed in the end."""
    made = EventLoop()
    yield made
    made.close()


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    """Three pipes with a byte in each."""
    made = [os.pipe() for _ in range(3)]
    for _, write_end in made:
        os.write(write_end, b"x")
    yield made
    for ends in made:
        for fd in ends:
            os.close(fd)


def test_callback_runs_for_as_long_as_its_descriptor_is_readable(loop: EventLoop, pipes: list[tuple[int, int]]) -> None:
    read_end, write_end = pipes[0]
    os.write(write_end, b"yz")
    seen = b""

    def readable() -> None:
        nonlocal seen
        seen += os.read(read_end, 1)
        if len(seen) == 3:
            loop.stop()

    loop.add(read_end, readable)
    loop.run()
    assert seen == b"xyz"


def test_no_callback_runs_after_stop(loop: EventLoop, pipes: list[tuple[int, int]]) -> None:
    calls: list[int] = []

    def readable() -> None:
        calls.append(1)
        loop.stop()

    for read_end, _ in pipes:
        loop.add(read_end, readable)
    loop.run()
    assert calls == [1]


def test_removed_descriptor_is_not_called_even_when_it_was_ready(loop: EventLoop, pipes: list[tuple[int, int]]) -> None:
    called: list[int] = []

    def readable(fd: int) -> None:
        called.append(fd)
        for other, _ in pipes:
            if other != fd:
                loop.remove(other)
        loop.stop()

    for read_end, _ in pipes:
        loop.add(read_end, lambda fd=read_end: readable(fd))  # type: ignore[misc]
    loop.run()
    assert len(called) == 1


def test_removed_descriptor_can_be_added_again(loop: EventLoop, pipes: list[tuple[int, int]]) -> None:
    read_end, _ = pipes[0]
    loop.add(read_end, lambda: pytest.fail("the first callback ran"))
    loop.remove(read_end)
    loop.add(read_end, loop.stop)
    loop.run()
    assert os.read(read_end, 1) == b"x"


def test_removing_an_unknown_descriptor_does_nothing(loop: EventLoop) -> None:
    before = open_fds()
    loop.remove(0)
    assert open_fds() == before


def test_second_callback_for_a_descriptor_is_refused_and_the_first_stays(
    loop: EventLoop, pipes: list[tuple[int, int]]
) -> None:
    read_end, _ = pipes[0]
    loop.add(read_end, loop.stop)
    with pytest.raises(FileExistsError):
        loop.add(read_end, lambda: pytest.fail("the second callback ran"))
    loop.run()
    assert os.read(read_end, 1) == b"x"


def test_an_event_is_not_taken_for_one_of_another_file(loop: EventLoop, pipes: list[tuple[int, int]]) -> None:
    """A file that got the number of one that was ready, before that one's turn came."""
    quiet, end = os.pipe(), os.eventfd(1)
    read_ends = [read_end for read_end, _ in pipes]

    def replaces_the_others(fd: int) -> None:
        loop.remove(fd)
        for other in read_ends:
            if other != fd:
                loop.remove(other)
                os.dup2(quiet[0], other)
                loop.add(other, lambda: pytest.fail("it has no event"))
        loop.add(end, loop.stop)

    for read_end in read_ends:
        loop.add(read_end, lambda fd=read_end: replaces_the_others(fd))  # type: ignore[misc]
    loop.run()
    for fd in (*quiet, end):
        os.close(fd)


class Waiter:
    """A callback that waits in its loop for `fd`; `urgent` becomes readable at that time."""

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop
        self.begin, self.fd, self.urgent = os.eventfd(1), os.eventfd(0), os.eventfd(0)
        self.calls: list[str] = []

    def run(self, writable: bool = False, seconds: float = 60) -> list[str]:
        """Runs the loop; returns what was called, in order."""
        self.loop.add(self.begin, lambda: self._wait(writable, seconds))
        self.loop.run()
        for fd in (self.begin, self.fd, self.urgent):
            os.close(fd)
        return self.calls

    def _wait(self, writable: bool, seconds: float) -> None:
        os.eventfd_write(self.urgent, 1)
        self.calls.append("waits")
        self.loop.wait(self.fd, writable, seconds)
        self.calls.append("goes on")
        self.loop.stop()


def test_a_callback_can_wait(loop: EventLoop) -> None:
    waiter = Waiter(loop)
    os.eventfd_write(waiter.fd, 1)
    assert waiter.run() == ["waits", "goes on"]


def test_a_callback_can_wait_until_something_is_writable(loop: EventLoop) -> None:
    assert Waiter(loop).run(writable=True) == ["waits", "goes on"]


def test_a_callback_waits_no_longer_than_it_says(loop: EventLoop) -> None:
    assert Waiter(loop).run(seconds=0.001) == ["waits", "goes on"]


def test_urgent_callbacks_run_meanwhile_and_others_do_not(loop: EventLoop, pipes: list[tuple[int, int]]) -> None:
    waiter = Waiter(loop)

    def urgent() -> None:
        os.eventfd_read(waiter.urgent)
        os.write(pipes[0][1], b"x")
        waiter.calls.append("urgent")
        os.eventfd_write(waiter.fd, 1)

    os.read(pipes[0][0], 1)
    loop.add(pipes[0][0], lambda: waiter.calls.append("other"))
    loop.add(waiter.urgent, urgent, urgent=True)
    assert waiter.run() == ["waits", "urgent", "goes on"]


def test_a_callback_that_waits_ends_with_the_loop(loop: EventLoop) -> None:
    waiter = Waiter(loop)
    loop.add(waiter.urgent, loop.stop, urgent=True)
    assert waiter.run() == ["waits"]


def test_regular_file_is_refused(loop: EventLoop, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file, pytest.raises(PermissionError):
        loop.add(file.fileno(), loop.stop)


def test_end_of_a_pipe_is_readable(loop: EventLoop) -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    loop.add(read_end, loop.stop)
    loop.run()
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_close_leaves_what_was_added_open(pipes: list[tuple[int, int]]) -> None:
    before = open_fds()
    loop = EventLoop()
    loop.add(pipes[0][0], loop.stop)
    loop.close()
    assert open_fds() == before
