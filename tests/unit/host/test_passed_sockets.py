"""Published ports that systemd has passed in (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from pyvmm.errors import ConfigError
from pyvmm.host.tcp import Publish, TcpHost

#: Takes the sockets and tells where they listen, as a process that systemd has started.
TAKE = """
import os, sys
os.environb[b"LISTEN_PID"] = b"%d" % os.getpid()
import posix
posix.environ = {**os.environb}
from pyvmm.errors import PyvmmError
from pyvmm.host.tcp import Publish, TcpHost
try:
    host = TcpHost([Publish(text) for text in sys.argv[1:]], [], 1)
    assert not any(os.get_inheritable(fd) or os.get_blocking(fd) for fd, _ in host.listeners)
    print(host.ports)
except PyvmmError as error:
    print(error)
"""


def take(sockets: list[socket.socket], *texts: str) -> str:
    """What a process prints that has these sockets as descriptors 3 and on."""

    def arrange() -> None:
        held = [os.dup(sock.fileno()) for sock in sockets]
        high = [os.dup2(fd, 100 + i) for i, fd in enumerate(held)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)

    done = subprocess.run(
        [sys.executable, "-c", TAKE, *texts],
        preexec_fn=arrange,
        close_fds=False,
        env={**os.environ, "LISTEN_FDS": str(len(sockets))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_sockets_are_taken_in_order_beside_others() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as second,
    ):
        ports = [sock.getsockname()[1] for sock in (first, second)]
        (one, two, other) = eval(take([first, second], "fd:80", "fd:81", "0:82"))
    assert one == ("127.0.0.1", ports[0], 80)
    assert two == ("::1", ports[1], 81)
    assert (other[0], other[2]) == ("127.0.0.1", 82)


def test_a_socket_that_was_not_passed_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        assert take([first], "fd:80", "fd:81") == "publish fd:81: systemd has passed 1 sockets (LISTEN_FDS)"


def test_a_socket_that_does_not_listen_is_told() -> None:
    with socket.socket() as first:
        assert take([first], "fd:80") == "publish fd:80: the socket that was passed does not listen for streams"


def test_another_process_s_sockets_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posix.environ", {b"LISTEN_PID": b"1", b"LISTEN_FDS": b"3"})
    with pytest.raises(ConfigError, match="systemd has passed 0 sockets"):
        TcpHost([Publish("fd:80")], [], 1)
