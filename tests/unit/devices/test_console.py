"""pyvmm.devices.console: input is read only on demand, whatever stdin is."""

from __future__ import annotations

import os
import socket
import termios
from collections.abc import Callable, Iterator
from fcntl import F_GETPIPE_SZ, fcntl
from pathlib import Path
from select import select
from threading import Thread
from typing import Any

import pytest
from guests import open_fds

from pyvmm._kvm import ffi, lib
from pyvmm.bus import eventfd
from pyvmm.devices.console import Console
from pyvmm.eventloop import READABLE, EventLoop

RBR, THR, IER, LSR = 0, 0, 1, 5
IER_RX = DATA_READY = 1


class Rig:
    """A console on an event loop, and a guest's hands on its UART."""

    def __init__(self, source: int, target: int = 1, drop_late: bool = False) -> None:
        self.log: list[str] = []
        self._serial = ffi.new("struct serial *")
        self._fds = [eventfd(), eventfd()]
        lib.serial_init(self._serial, target, *self._fds)
        self.console = Console(self._serial, source, self.log.append, drop_late)
        self.loop = EventLoop()
        self.console.attach(self.loop)
        self._vcpu = ffi.new("struct vcpu *")

    def close(self) -> None:
        self.console.close()
        self.loop.close()
        for fd in self._fds:
            os.close(fd)

    def read(self, register: int) -> int:
        data = ffi.new("uint8_t[1]")
        lib.serial_access(self.console._serial, self._vcpu, False, register, data, 1, 1)
        return int(data[0])

    def write(self, register: int, value: int) -> None:
        data = ffi.new("uint8_t[]", bytes([value]))
        lib.serial_access(self.console._serial, self._vcpu, True, register, data, 1, 1)

    def print(self, text: bytes) -> None:
        """As by `rep outsb`."""
        data = ffi.new("uint8_t[]", text)
        lib.serial_access(self.console._serial, self._vcpu, True, THR, data, 1, len(text))

    def serve(self) -> None:
        """Does what the loop would, until nothing is readable any more."""
        while ready := self.loop._epoll.poll(0):
            for fd, _ in ready:
                self.loop._callbacks[fd](READABLE)

    def read_all(self) -> bytes:
        """All input that there is, read as a polling guest does."""
        got = bytearray()
        while True:
            if self.read(LSR) & DATA_READY:
                got.append(self.read(RBR))
                continue
            self.serve()
            if not self.read(LSR) & DATA_READY:
                return bytes(got)


@pytest.fixture
def rig() -> Iterator[Callable[[int], Rig]]:
    """Makes a rig that reads the given descriptor."""
    made: list[Rig] = []

    def make(source: int) -> Rig:
        made.append(Rig(source))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """A pipe's ends; set one to -1 when it is closed."""
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        if fd >= 0:
            os.close(fd)


LONG = bytes(range(256)) * 40


def test_input_from_a_pipe_arrives_complete_and_in_order(pipe: list[int], rig: Callable[[int], Rig]) -> None:
    os.write(pipe[1], LONG)
    assert rig(pipe[0]).read_all() == LONG


def test_input_from_a_file_arrives_complete_and_in_order(rig: Callable[[int], Rig], tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(LONG)
    with (tmp_path / "input").open("rb") as file:
        assert rig(file.fileno()).read_all() == LONG


def test_nothing_is_read_from_stdin_until_the_guest_looks(pipe: list[int], rig: Callable[[int], Rig]) -> None:
    os.write(pipe[1], b"untouched")
    guest = rig(pipe[0])
    guest.serve()
    assert os.read(pipe[0], 100) == b"untouched"


def test_input_is_waiting_from_when_it_is_wanted_until_it_is_given(pipe: list[int], rig: Callable[[int], Rig]) -> None:
    guest = rig(pipe[0])
    os.write(pipe[1], b"x")
    assert not guest.console.has_input()
    guest.read(LSR)
    assert guest.console.has_input()
    guest.serve()
    assert guest.read(RBR) == ord("x")
    guest.serve()
    assert not guest.console.has_input()
    os.write(pipe[1], bytes(4096))
    guest.serve()
    assert guest.console.has_input()  # the UART is full
    os.close(pipe[1])
    pipe[1] = -1
    guest.read_all()
    assert not guest.console.has_input()


def test_input_is_waiting_until_it_is_taken_by_who_is_interrupted(pipe: list[int], rig: Callable[[int], Rig]) -> None:
    guest = rig(pipe[0])
    guest.write(IER, IER_RX)
    os.write(pipe[1], b"xy")
    guest.read(LSR)
    guest.serve()
    for byte in b"xy":
        assert guest.console.has_input()
        assert guest.read(RBR) == byte
    assert not guest.console.has_input()


def test_input_that_comes_later_arrives(pipe: list[int], rig: Callable[[int], Rig]) -> None:
    guest = rig(pipe[0])
    assert guest.read_all() == b""
    os.write(pipe[1], b"later")
    assert guest.read_all() == b"later"


def test_end_of_input_is_read_once_and_keeps_nobody_busy(pipe: list[int], rig: Callable[[int], Rig]) -> None:
    os.write(pipe[1], b"last")
    os.close(pipe[1])
    pipe[1] = -1
    guest = rig(pipe[0])
    assert guest.read_all() == b"last"
    assert guest.read_all() == b""
    assert not {pipe[0], guest.console._input} & guest.loop._callbacks.keys()


def test_directory_as_stdin_is_the_end_of_input(rig: Callable[[int], Rig], tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    assert rig(fd).read_all() == b""
    os.close(fd)


@pytest.mark.parametrize("kind", ["pipe", "fifo", "socket", "terminal"])
def test_input_that_another_process_has_taken_blocks_nobody(
    rig: Callable[[int], Rig], tmp_path: Path, kind: str
) -> None:
    """Each of its readers is told, and one finds it."""
    if kind == "pipe":
        source, sink = os.pipe()
    elif kind == "socket":
        source, sink = (end.detach() for end in socket.socketpair())
    elif kind == "terminal":
        sink, source = os.openpty()
    else:
        os.mkfifo(tmp_path / "fifo")
        source = os.open(tmp_path / "fifo", os.O_RDWR)
        sink = os.dup(source)
    guest = rig(source)
    assert guest.read_all() == b""
    watched = guest.console._input
    served = Thread(target=guest.loop._callbacks[watched], args=[READABLE], daemon=True)
    served.start()
    served.join(10)
    assert not served.is_alive()
    assert watched in guest.loop._callbacks
    assert os.get_blocking(source)
    os.write(sink, b"x")
    assert select([watched], [], [], 60)[0]
    assert guest.read_all() == b"x"
    os.close(source)
    os.close(sink)


# ---- output that nobody reads --------------------------------------------------------


@pytest.fixture
def late(pipe: list[int]) -> Iterator[Rig]:
    """A guest that serves others, whose output is a pipe."""
    made = Rig(0, pipe[1], drop_late=True)
    yield made
    made.close()


def test_output_that_nobody_reads_is_dropped_until_somebody_does(late: Rig, pipe: list[int]) -> None:
    size = fcntl(pipe[1], F_GETPIPE_SZ)
    late.print(bytes(size))
    for _ in range(3):
        late.print(b"lost")
    late.serve()
    assert late.log == []
    assert os.read(pipe[0], size) == bytes(size)
    late.print(b"here")
    late.serve()
    assert os.read(pipe[0], size) == b"here"
    assert late.log == ["console: 12 bytes of the guest's output were discarded, because nobody read it"]
    late.console._report()
    assert len(late.log) == 1
    assert os.get_blocking(pipe[1])


def test_output_waits_a_moment_for_its_reader(late: Rig, pipe: list[int]) -> None:
    size = fcntl(pipe[1], F_GETPIPE_SZ)
    late.print(bytes(size))
    printing = Thread(target=late.print, args=[b"late"])
    printing.start()
    assert os.read(pipe[0], size) == bytes(size)
    printing.join()
    assert os.read(pipe[0], size) == b"late"
    assert late.log == []


def test_output_without_a_reader_at_all_is_no_error(late: Rig, pipe: list[int]) -> None:
    os.close(pipe[0])
    pipe[0] = -1
    for _ in range(2):
        late.print(b"text")
    late.serve()
    assert late.log == []


# ---- terminals -----------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[list[int]]:
    """A pseudo-terminal: [the user's side, the process's side]."""
    ends = list(os.openpty())
    yield ends
    for fd in ends:
        if fd >= 0:
            os.close(fd)


def local_modes(fd: int) -> int:
    """ICANON, ECHO, ISIG of a terminal."""
    modes: list[Any] = termios.tcgetattr(fd)
    return int(modes[3]) & (termios.ICANON | termios.ECHO | termios.ISIG)


COOKED = termios.ICANON | termios.ECHO | termios.ISIG


def test_terminal_gives_characters_at_once_and_without_echo(terminal: list[int], rig: Callable[[int], Rig]) -> None:
    user, process = terminal
    guest = rig(process)
    assert guest.read_all() == b""
    assert local_modes(process) == termios.ISIG  # Ctrl-C stays a signal
    os.write(user, b"x")
    assert select([process], [], [], 60)[0]  # the kernel delivers it asynchronously
    assert guest.read_all() == b"x"
    os.set_blocking(user, False)
    with pytest.raises(BlockingIOError):
        os.read(user, 1)


def test_terminal_keeps_its_settings_until_the_guest_looks(terminal: list[int], rig: Callable[[int], Rig]) -> None:
    guest = rig(terminal[1])
    guest.serve()
    assert local_modes(terminal[1]) == COOKED


def test_close_restores_the_terminal(terminal: list[int]) -> None:
    before = termios.tcgetattr(terminal[1])
    guest = Rig(terminal[1])
    guest.read_all()
    assert termios.tcgetattr(terminal[1]) != before
    guest.close()
    assert termios.tcgetattr(terminal[1]) == before


def test_the_terminal_is_given_back_and_taken_again(terminal: list[int], rig: Callable[[int], Rig]) -> None:
    """Also if the shell has changed its settings in between."""
    guest = rig(terminal[1])
    guest.console.use_terminal()  # the guest has not looked for input: not touched
    assert local_modes(terminal[1]) == COOKED
    guest.read_all()
    for column in (termios.IEXTEN, 0):
        guest.console.release_terminal()
        guest.console.release_terminal()
        assert local_modes(terminal[1]) == COOKED
        modes = termios.tcgetattr(terminal[1])
        modes[0] |= termios.ISTRIP
        modes[3] |= column
        modes[6][termios.VMIN] = b"\0"
        termios.tcsetattr(terminal[1], termios.TCSANOW, modes)
        changed = termios.tcgetattr(terminal[1])
        guest.console.use_terminal()
        guest.console.use_terminal()
        taken = termios.tcgetattr(terminal[1])
        assert (local_modes(terminal[1]), taken[0] & termios.ISTRIP) == (termios.ISIG, 0)
        assert taken[6][termios.VMIN] == 1
    guest.console.release_terminal()
    assert termios.tcgetattr(terminal[1]) == changed


def test_terminal_that_hangs_up_is_the_end_of_input(terminal: list[int], rig: Callable[[int], Rig]) -> None:
    guest = rig(terminal[1])
    assert guest.read_all() == b""
    os.close(terminal[0])
    terminal[0] = -1
    assert guest.read_all() == b""


# ---- descriptors ---------------------------------------------------------------------


def test_close_leaves_no_descriptor() -> None:
    before = open_fds()
    Rig(0).close()
    assert open_fds() == before
