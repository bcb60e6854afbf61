"""pyvmm.command.signals: what a signal does to the machine, and that everything is restored."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from guests import descriptors_left, open_fds

from pyvmm.command.signals import Signals
from pyvmm.errors import HostError
from pyvmm.eventloop import READABLE, EventLoop


class Machine:
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.stops: list[tuple[int, float]] = []
        self.terminal: list[str] = []

    def stop(self, status: int, grace: float) -> None:
        self.stops.append((status, grace))

    def use_terminal(self) -> None:
        self.terminal.append("used")

    def release_terminal(self) -> None:
        self.terminal.append("released")


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("number", "stop"),
    [(signal.SIGINT, (130, 0)), (signal.SIGTERM, (143, 1.0)), (signal.SIGHUP, (143, 0))],
)
def test_each_signal_ends_the_guest_in_its_way(loop: EventLoop, number: int, stop: tuple[int, float]) -> None:
    machine: Any = Machine()
    with Signals(machine) as signals:
        signals.attach(loop)
        os.kill(os.getpid(), number)
        ((fd, _),) = loop._epoll.poll(10)
        loop._callbacks[fd](READABLE)
        loop._callbacks[fd](READABLE)  # as when it was served while a callback was waiting
    assert machine.stops == [stop]


def test_ctrl_z_stops_the_process_without_its_terminal(loop: EventLoop) -> None:
    """The process is a child here, which tells what became of its terminal before and after it was stopped."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        machine: Any = Machine()
        try:
            os.setpgid(0, 0)
            with Signals(machine) as signals:
                signals.attach(loop)
                os.write(write_end, b"ready ")
                while "used" not in machine.terminal:
                    for fd, _ in loop._epoll.poll(10):
                        loop._callbacks[fd](READABLE)
                    os.write(write_end, " ".join([*machine.terminal, ""]).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    assert os.read(read_end, 100) == b"ready "
    os.kill(child, signal.SIGTSTP)
    status = os.waitpid(child, os.WUNTRACED)[1]
    assert (os.WIFSTOPPED(status), os.WSTOPSIG(status)) == (True, signal.SIGTSTP)
    os.set_blocking(read_end, False)
    os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read_end, 100).endswith(b"released used ")
    os.close(read_end)


def test_signals_take_their_usual_course_again_afterwards() -> None:
    machine: Any = Machine()
    before, mask = open_fds(), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with Signals(machine):
        assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= signal.pthread_sigmask(signal.SIG_BLOCK, [])
        os.kill(os.getpid(), signal.SIGINT)  # it was not read
    assert (open_fds(), signal.pthread_sigmask(signal.SIG_BLOCK, [])) == (before, mask)


def test_no_descriptor_is_a_host_error() -> None:
    machine: Any = Machine()
    with descriptors_left(0), pytest.raises(HostError, match="signalfd: Too many open files"):
        Signals(machine)
