"""The end of a guest: what it has sent before arrives, and then the connection's end."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from guests import PYVMM, of_threads, wait_until
from programs import Programs

SIZE = 200_000


@contextmanager
def leaving(
    programs: Programs, server: socket.socket, options: list[str], *what: str
) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """A guest that has sent everything, and the host's end of its connection, from which nothing was read."""
    command = [PYVMM, "boot", programs.image("Leaving"), "--vsock", "5", *options, "--append", ",".join(what)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as guest:
        try:
            end = server.accept()[0]
            assert guest.stdout
            assert guest.stdout.readline() == "sent\n"
            with end:
                end.settimeout(30)
                yield guest, end
        finally:
            guest.kill()


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, list[str]]]:
    """What the guest connects to, with small buffers, and the options for that."""
    with socket.socket(socket.AF_INET if request.param == "tcp" else socket.AF_UNIX) as made:
        if request.param == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            made.bind(("127.0.0.1", 0))
            options = ["--allow", f"90=127.0.0.1:{made.getsockname()[1]}"]
        else:
            made.bind(str(tmp_path / "v_90"))
            options = ["--vsock-uds", str(tmp_path / "v")]
        made.settimeout(30)
        made.listen()
        yield made, options


def read_all(end: socket.socket) -> bytes:
    data = b""
    while part := end.recv(65536):
        data += part
    return data


def has_stopped(guest: subprocess.Popen[str]) -> bool:
    """Whether the guest does not run any more."""
    return guest.poll() is not None or not any(name.startswith("vcpu") for name in of_threads(guest.pid, "comm"))


@pytest.mark.parametrize(
    ("how", "status"), [("return", 0), ("halt", 3), ("exception", 217), ("fault", 217), ("sleep", 143)]
)
@pytest.mark.parametrize("before", ["nothing", "close", "shutdown"])
def test_what_was_sent_before_the_end_arrives(
    programs: Programs, server: tuple[socket.socket, list[str]], before: str, how: str, status: int
) -> None:
    with leaving(programs, *server, before, how) as (guest, end):
        if how == "sleep":
            guest.send_signal(signal.SIGTERM)
        with suppress(BrokenPipeError):  # if it has gone already
            end.sendall(b"something that the guest does not read")
        assert read_all(end) == SIZE * b"x"
        assert guest.wait(60) == status


@pytest.mark.parametrize("how", ["halt", "fault"])
def test_also_when_its_client_reads_only_once_it_has_stopped(
    programs: Programs, server: tuple[socket.socket, list[str]], how: str
) -> None:
    with leaving(programs, *server, "close", how) as (guest, end):
        wait_until(lambda: has_stopped(guest), "the end of the vCPU")
        assert read_all(end) == SIZE * b"x"


def test_also_what_is_sent_by_the_shutdown_procedure(
    programs: Programs, server: tuple[socket.socket, list[str]]
) -> None:
    with leaving(programs, *server, "procedure", "halt") as (guest, end):
        assert read_all(end) == SIZE * b"x" + b"goodbye"
        assert guest.wait(60) == 3


def test_a_client_that_takes_nothing_is_reset_after_a_while(
    programs: Programs, server: tuple[socket.socket, list[str]]
) -> None:
    with leaving(programs, *server, "fill", "halt") as (guest, _):
        assert guest.wait(60) == 3
        assert guest.stderr
        assert guest.stderr.read() == (
            "pyvmm: connections that are reset, because their clients did not take in time what the guest had sent: 1\n"
        )


def test_a_second_signal_does_not_wait_for_it(programs: Programs, server: tuple[socket.socket, list[str]]) -> None:
    with leaving(programs, *server, "fill", "sleep") as (guest, _):
        guest.send_signal(signal.SIGTERM)
        wait_until(lambda: has_stopped(guest), "the end of the vCPU")
        guest.send_signal(signal.SIGTERM)
        assert guest.wait(60) == 143
