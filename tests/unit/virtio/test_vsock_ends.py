"""Peers on the host that end at once or by halves, at every state of a stream: nothing of what they sent is lost."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from vsockguest import WINDOW, Guest

from pyvmm.testing.vsockpacket import OP_REQUEST, OP_RESPONSE, OP_RW, OP_SHUTDOWN

TEXT = bytes(range(250)) * 4
#: When the peer ends: before the guest hears of it, before it answers, behind the answer, after it has read some.
STATES = ["before the request", "before the answer", "behind the answer", "between data"]
ENDS = ["half", "close"]


@pytest.fixture(params=["tcp", "unix"])
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guest]:
    made = Guest(unix=str(tmp_path / "v.sock") if request.param == "unix" else None)
    made.path = tmp_path / "v.sock" if request.param == "unix" else None  # type: ignore[attr-defined]
    made.start()
    yield made
    made.close()


def end(sock: socket.socket, how: str) -> None:
    if how == "half":
        sock.shutdown(socket.SHUT_WR)
    else:
        sock.close()


def received(guest: Guest) -> bytes:
    """All that comes until the host's side says that it has ended."""
    data, ended = b"", False
    for _ in range(200):
        for header, payload in guest.packets():
            assert header.op in (OP_RW, OP_SHUTDOWN), header
            data += payload
            ended |= header.op == OP_SHUTDOWN
        if ended:
            return data
        guest.turn(20)
    raise AssertionError(f"no end after {len(data)} bytes")


def client_of(guest: Guest) -> socket.socket:
    """A client of the guest's port 80, with its greeting if that is how."""
    if not guest.path:  # type: ignore[attr-defined]
        return guest.client()
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(10)
    made.connect(str(guest.path))  # type: ignore[attr-defined]
    made.sendall(b"CONNECT 80\n")
    return made


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("state", STATES)
def test_a_client_that_ends(guest: Guest, state: str, how: str) -> None:
    client = client_of(guest)
    client.sendall(TEXT)
    if state == "before the request":
        end(client, how)
    key = 80, guest.expect(OP_REQUEST).src_port
    if state == "before the answer":
        end(client, how)
        guest.turn(20)
    room = 10 if state == "between data" else WINDOW
    guest.send(OP_RESPONSE, key, buf_alloc=room)
    if state == "behind the answer":
        end(client, how)
    first = b""
    if state == "between data":
        while len(first) < room:
            first += b"".join(payload for _, payload in guest.packets())
            guest.turn(20)
        end(client, how)
        guest.send(6, key, fwd_cnt=room, buf_alloc=WINDOW)  # CREDIT_UPDATE
    assert first + received(guest) == TEXT
    client.close()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("state", ["before the answer", "behind the answer", "between data"])
def test_a_server_that_ends(guest: Guest, state: str, how: str) -> None:
    """It sends and ends as soon as it has accepted, or later."""
    listener = guest.server
    if guest.path:  # type: ignore[attr-defined]
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{guest.path}_81")  # type: ignore[attr-defined]
        listener.listen()
    key = 1000, 81 if guest.path else 80  # type: ignore[attr-defined]
    room = 10 if state == "between data" else WINDOW
    guest.send(OP_REQUEST, key, buf_alloc=room)
    server = listener.accept()[0]
    server.sendall(TEXT)
    if state == "before the answer":
        end(server, how)
    seen: list[int] = []
    first = b""
    while OP_RESPONSE not in seen or (state == "between data" and len(first) < room):
        for header, payload in guest.packets():
            seen.append(header.op)
            first += payload
        if state == "before the answer" and OP_SHUTDOWN in seen:
            break
        guest.turn(20)
    if state != "before the answer":
        end(server, how)
        guest.send(6, key, fwd_cnt=len(first), buf_alloc=WINDOW)
    rest = b"" if OP_SHUTDOWN in seen else received(guest)
    assert first + rest == TEXT
    server.close()
    if guest.path:  # type: ignore[attr-defined]
        listener.close()
