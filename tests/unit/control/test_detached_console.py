"""The log of a detached guest, and its console without a guest."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guests import open_fds

from pyvmm.control.console import LOG_MAX, DetachedConsole, Log, log_path
from pyvmm.errors import HostError
from pyvmm.eventloop import EventLoop

#: A console, what connects a client, and what serves events.
Made = tuple[DetachedConsole, Callable[[], socket.socket], Callable[[], None]]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("posix.environ", {b"XDG_STATE_HOME": os.fsencode(tmp_path)})
    return tmp_path / "pyvmm"


def test_a_log_is_replaced_when_it_is_long_enough(tmp_path: Path) -> None:
    log = Log(f"{tmp_path}/new/one.log")
    lines = [b"%07d\n" % i for i in range(3 * LOG_MAX // 8)]
    for line in lines:
        log.write(line)
    log.close()
    old, new = (tmp_path / "new/one.log.1").read_bytes(), (tmp_path / "new/one.log").read_bytes()
    assert len(old) <= LOG_MAX
    assert b"".join(lines).endswith(old + new)
    assert len(old + new) >= LOG_MAX
    Log(f"{tmp_path}/new/one.log").close()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.log"]


def test_a_log_that_cannot_be_is_a_host_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"file/x\.log: "):
        Log(f"{tmp_path}/file/x.log")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="link: "):
        Log(f"{tmp_path}/link")


def test_logs_are_the_user_s(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_path("one") == f"{state}/one.log"
    monkeypatch.setattr("posix.environ", {b"HOME": b"/home/me"})
    assert log_path("one") == "/home/me/.local/state/pyvmm/one.log"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Made]:
    before = open_fds()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listening.bind(str(tmp_path / "console"))
    listening.listen()
    made, loop = DetachedConsole("one", listening), EventLoop()
    made.attach(loop)

    def turn() -> None:
        for fd, events in loop._epoll.poll(0):
            loop._callbacks[fd](events)

    def connect() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "console"))
        client.settimeout(10)
        turn()
        return client

    yield made, connect, turn
    made.close()
    loop.close()
    assert open_fds() == before


def test_what_is_printed_is_logged_and_shown(console: Made, state: Path) -> None:
    made, connect, turn = console
    with connect() as first, connect() as second:
        os.write(made.output, b"hello")
        turn()
        assert first.recv(100) == second.recv(100) == b"hello"
    os.write(made.output, b" end")
    made.drain()
    assert (state / "one.log").read_bytes() == b"hello end"


def test_who_types_more_than_the_guest_reads_waits(console: Made) -> None:
    made, connect, turn = console
    data = os.urandom(300_000)
    with connect() as client:
        client.setblocking(False)
        sent, got = 0, b""
        for _ in range(100):
            try:
                sent += client.send(data[sent:])
            except BlockingIOError:
                break
            turn()
        assert 64 << 10 <= sent < len(data) or sent == len(data)
        while len(got) < sent:
            got += os.read(made.input, 1 << 16)
            turn()
        assert got == data[:sent]
