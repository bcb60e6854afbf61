"""The host's end of a virtio-console: files, pseudo-terminals, and a unix socket's clients."""

from __future__ import annotations

import os
import select
import socket
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guests import open_fds

from pyvmm.errors import ConfigError, HostError, PyvmmError
from pyvmm.eventloop import EventLoop
from pyvmm.host.stream import Stream, Terminal, open_stream

Opener = Callable[[str], Stream]


class Watched:
    """A loop, and what a stream has told of changes."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.changes = 0
        self.said: list[str] = []

    def changed(self) -> None:
        self.changes += 1

    def serve(self, done: Callable[[], bool]) -> None:
        """Runs the loop until `done`, at most some seconds."""
        for _ in range(100):
            if done():
                return
            for fd, events in self.loop._epoll.poll(0.1):
                if fd in self.loop._callbacks:
                    self.loop._callbacks[fd](events)
        raise AssertionError("it did not come to that")


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.loop.close()


@pytest.fixture
def opened(watched: Watched) -> Iterator[Opener]:
    """Opens targets, attached to the loop, and closes them."""
    before = open_fds()
    streams: list[Stream] = []

    def make(target: str) -> Stream:
        streams.append(open_stream(target, watched.said.append, watched.said.append))
        streams[-1].attach(watched.loop, watched.changed)
        return streams[-1]

    yield make
    for stream in streams:
        stream.close()
        stream.close()
    assert open_fds() == before


def write(stream: Stream, data: bytes) -> int:
    return stream.write(memoryview(data))


def test_a_file_is_emptied_and_written(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old text, longer than the new")
    stream = opened(f"file:{path}")
    assert (write(stream, b"new"), stream.read(10)) == (3, b"")
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_told_once(opened: Opener, watched: Watched) -> None:
    stream = opened("file:/dev/full")
    assert [write(stream, b"abc"), write(stream, b"de")] == [3, 2]
    assert watched.said == ["console file:/dev/full: No space left on device; its output is discarded"]


def test_a_pipe_that_is_full_waits_for_its_reader(opened: Opener, watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    stream = opened(f"file:{path}")
    while write(stream, bytes(4096)):
        pass
    before = watched.changes
    while select.select([reader], [], [], 0)[0]:
        os.read(reader, 65536)
    watched.serve(lambda: watched.changes > before)
    assert write(stream, b"on") == 2
    os.close(reader)


def test_a_terminal_is_raw_and_works_both_ways(opened: Opener, watched: Watched) -> None:
    stream = opened("pty")
    assert isinstance(stream, Terminal)
    assert watched.said == [f"virtio-console is {stream.name}"]
    assert write(stream, b"nobody is there") == 15
    with open(stream.name, "r+b", buffering=0) as other:
        assert not termios.tcgetattr(other)[3] & (termios.ECHO | termios.ICANON)
        assert write(stream, b"a\nb\x03") == 4
        assert other.read(4) == b"a\nb\x03"
        other.write(b"\r\x03answer")
        received = b""

        def complete() -> bool:
            nonlocal received
            received += stream.read(100)
            return received == b"\r\x03answer"

        watched.serve(complete)
    assert (stream.read(10), write(stream, b"gone")) == (b"", 4)
    with open(stream.name, "r+b", buffering=0) as other:
        assert write(stream, b"again") == 5
        assert other.read(5) == b"again"


def test_a_terminal_that_nobody_reads_is_full_some_day(opened: Opener, watched: Watched) -> None:
    stream = opened("pty")
    assert isinstance(stream, Terminal)
    with open(stream.name, "rb", buffering=0) as other:
        while write(stream, bytes(1000)):
            pass
        before = watched.changes
        while select.select([other], [], [], 0.1)[0]:
            other.read(65536)
        watched.serve(lambda: watched.changes > before)
        assert write(stream, b"on") == 2


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


def test_clients_have_their_turn(opened: Opener, watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "s"
    stream = opened(f"unix:{path}")
    assert write(stream, b"nobody is there") == 15
    first, second = connect(path), connect(path)
    first.send(b"one")
    second.send(b"two")
    received: list[bytes] = []

    def got(text: bytes) -> Callable[[], bool]:
        def check() -> bool:
            received.append(stream.read(100))
            return text in received

        return check

    watched.serve(got(b"one"))
    assert write(stream, b"to one") == 6
    assert first.recv(100) == b"to one"
    assert b"two" not in received
    first.close()
    watched.serve(got(b"two"))
    assert write(stream, b"to two") == 6
    assert second.recv(100) == b"to two"
    second.close()


def test_a_client_that_does_not_read_keeps_the_data_waiting(opened: Opener, watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "s"
    stream = opened(f"unix:{path}")
    client = connect(path)
    watched.serve(lambda: watched.changes > 0)
    while write(stream, bytes(65536)):
        pass
    before = watched.changes
    client.setblocking(False)
    while select.select([client], [], [], 0)[0]:
        client.recv(1 << 20)
    watched.serve(lambda: watched.changes > before)
    assert write(stream, b"on") == 2
    client.close()


def test_the_socket_goes_with_the_stream(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "s"
    opened(f"unix:{path}").close()
    assert not path.exists()


@pytest.mark.parametrize("target", ["", "file:", "unix:", "file", "pty:x", "serial", "tcp:80"])
def test_other_targets_are_mistakes(opened: Opener, target: str) -> None:
    with pytest.raises(ConfigError, match=r"not file:PATH, unix:PATH or pty$"):
        opened(target)


@pytest.mark.parametrize("target", ["file:/nonexistent/x", "unix:/nonexistent/x", "file:.", "unix:."])
def test_what_cannot_be_opened_is_told(opened: Opener, target: str) -> None:
    with pytest.raises(PyvmmError, match=r"^console "):
        opened(target)


def test_a_pipe_without_a_reader_is_told(opened: Opener, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HostError, match="No such device or address"):
        opened(f"file:{tmp_path}/pipe")
