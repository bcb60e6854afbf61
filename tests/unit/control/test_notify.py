"""What systemd and scripts are told."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import open_fds

from pyvmm.control.notify import Script, Systemd
from pyvmm.errors import ConfigError
from pyvmm.eventloop import EventLoop


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(10)
        yield made


def test_systemd_is_told_by_its_socket(manager: socket.socket) -> None:
    systemd = Systemd({b"NOTIFY_SOCKET": manager.getsockname().encode()})
    assert systemd.is_there
    systemd.tell("READY=1", "STATUS=up")
    assert manager.recv(100) == b"READY=1\nSTATUS=up"
    systemd.close()
    systemd.close()


def test_an_abstract_socket_begins_with_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0pyvmm-test-{os.getpid()}")
        systemd = Systemd({b"NOTIFY_SOCKET": b"@pyvmm-test-%d" % os.getpid()})
        systemd.tell("STOPPING=1")
        assert manager.recv(100) == b"STOPPING=1"
        systemd.close()


@pytest.mark.parametrize("environment", [{}, {b"NOTIFY_SOCKET": b"vsock:2:1"}, {b"NOTIFY_SOCKET": b"/absent"}])
def test_without_systemd_nothing_happens(environment: dict[bytes, bytes]) -> None:
    systemd = Systemd(environment)
    systemd.tell("READY=1")
    systemd.close()


@pytest.mark.parametrize("pid", [None, os.getpid()])
def test_the_watchdog_is_fed(manager: socket.socket, pid: int | None) -> None:
    environment = {b"NOTIFY_SOCKET": manager.getsockname().encode(), b"WATCHDOG_USEC": b"2000"}
    if pid:
        environment[b"WATCHDOG_PID"] = b"%d" % pid
    loop = EventLoop()
    systemd = Systemd(environment)
    systemd.attach(loop)
    assert manager.recv(100) == b"WATCHDOG=1"
    for fd, events in loop._epoll.poll(10):
        loop._callbacks[fd](events)
    assert manager.recv(100) == b"WATCHDOG=1"
    systemd.close()
    loop.close()


def test_another_process_s_watchdog_is_not_fed(manager: socket.socket) -> None:
    environment = {b"NOTIFY_SOCKET": manager.getsockname().encode(), b"WATCHDOG_USEC": b"9", b"WATCHDOG_PID": b"1"}
    systemd = Systemd(environment)
    systemd.attach(EventLoop())
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
    systemd.close()


def test_a_script_is_told_by_its_descriptors() -> None:
    before = open_fds()
    ready, told = os.pipe()
    events, events_told = os.pipe()
    script = Script(told, events_told)
    script.event("started", {"ports": []})
    script.event("ready", {})
    script.event("exit", {"status": 3})
    assert os.read(ready, 100) == b"\n"
    assert os.read(ready, 100) == b""
    script.close()
    script.close()
    lines = os.read(events, 1000).splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["started", "ready", "exit"]
    os.close(ready)
    os.close(events)
    assert open_fds() == before


def test_a_script_that_does_not_read_misses_events() -> None:
    read, write = os.pipe()
    script = Script(-1, write)
    for _ in range(3000):
        script.event("started", {"filler": "x" * 100})
    script.close()
    os.close(read)


def test_descriptors_must_be_open_for_writing() -> None:
    with pytest.raises(ConfigError, match="ready_fd 999: Bad file descriptor: the caller must have opened it"):
        Script(999, -1)
    with open("/dev/null") as null, pytest.raises(ConfigError, match=r"json_events .*: .* open for reading only"):
        Script(-1, null.fileno())
