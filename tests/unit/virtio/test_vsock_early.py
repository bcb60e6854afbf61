"""A driver before version 1 answers data by RST until its application has accepted the connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from vsockguest import Guest

from pyvmm._kvm import lib
from pyvmm.testing.vsockpacket import (
    OP_CREDIT_UPDATE,
    OP_REQUEST,
    OP_RESPONSE,
    OP_RST,
    OP_RW,
    OP_SHUTDOWN,
    SHUTDOWN_SEND,
)

BUFFER = 16 << 10
DATA = bytes(range(256)) * 400


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest(legacy=True)
    made.start()
    yield made
    made.close()


def connect(guest: Guest, data: bytes) -> tuple[socket.socket, tuple[int, int]]:
    """A client that sends at once, to a guest that has answered but whose application has not accepted."""
    client = guest.client()
    client.sendall(data)
    key = 80, guest.expect(OP_REQUEST).src_port
    guest.send(OP_RESPONSE, key, buf_alloc=BUFFER)
    return client, key


def offered(guest: Guest) -> bytes:
    """The next packet, which is data."""
    for _ in range(100):
        if found := guest.packets():
            assert [header.op for header, _ in found] == [OP_RW]
            return found[0][1]
        guest.turn(100)
    raise AssertionError("no data")


def refuse(guest: Guest, key: tuple[int, int]) -> None:
    guest.send(OP_RST, key, buf_alloc=0)


def take(guest: Guest, key: tuple[int, int], payload: bytes) -> None:
    guest.send(OP_CREDIT_UPDATE, key, buf_alloc=BUFFER, fwd_cnt=len(payload))


@pytest.mark.parametrize("times", [0, 1, 7])
def test_data_comes_again_until_it_is_taken(guest: Guest, times: int) -> None:
    client, key = connect(guest, DATA)
    with client:
        for _ in range(times):
            first = offered(guest)
            refuse(guest, key)
        got = offered(guest)
        assert not times or got == first
        take(guest, key, b"")
        while len(got) < len(DATA):
            guest.turn(100)
            for header, payload in guest.packets():
                assert header.op == OP_RW
                got += payload
                take(guest, key, b"")
        assert got == DATA
        guest.send(OP_RW, key, b"answer")
        assert client.recv(100) == b"answer"


def test_only_one_packet_is_under_way_until_one_is_taken(guest: Guest) -> None:
    client, key = connect(guest, b"first")
    with client:
        assert offered(guest) == b"first"
        client.sendall(b"second")
        guest.turn(20)
        assert guest.packets() == []
        take(guest, key, b"")
        assert offered(guest) == b"second"


def test_data_of_the_guest_says_that_it_has_accepted(guest: Guest) -> None:
    client, key = connect(guest, b"question")
    with client:
        assert offered(guest) == b"question"
        refuse(guest, key)
        guest.send(OP_RW, key, b"welcome")
        assert client.recv(100) == b"welcome"
        assert offered(guest) == b"question"
        refuse(guest, key)
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_a_reset_counts_once_something_was_taken(guest: Guest) -> None:
    client, key = connect(guest, b"first")
    with client:
        assert offered(guest) == b"first"
        take(guest, key, b"")
        client.sendall(b"second")
        assert offered(guest) == b"second"
        refuse(guest, key)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert guest.streams() == 0


def test_a_reset_counts_where_nothing_was_sent(guest: Guest) -> None:
    client, key = connect(guest, b"")
    with client:
        refuse(guest, key)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert guest.streams() == 0


def test_a_reset_counts_behind_the_guest_s_end(guest: Guest) -> None:
    client, key = connect(guest, b"too late")
    with client:
        assert offered(guest) == b"too late"
        guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND)
        refuse(guest, key)
        assert client.recv(100) == b""


def test_what_a_client_sent_before_its_end_is_offered_again(guest: Guest) -> None:
    client, key = connect(guest, b"all of it")
    client.close()
    for _ in range(3):
        assert offered(guest) == b"all of it"
        refuse(guest, key)
    assert offered(guest) == b"all of it"
    take(guest, key, b"")
    guest.expect(OP_SHUTDOWN)


def test_a_client_that_resets_meanwhile_is_told(guest: Guest) -> None:
    client, key = connect(guest, b"never mind")
    assert offered(guest) == b"never mind"
    refuse(guest, key)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    told: list[int] = []
    while OP_RST not in told:
        guest.turn(100)
        for header, _ in guest.packets():  # data may have come again
            told.append(header.op)
            if header.op == OP_RW:
                refuse(guest, key)
    assert guest.streams() == 0


def test_clients_that_wait_do_not_stop_each_other(guest: Guest) -> None:
    clients = [connect(guest, b"") for _ in range(8)]
    for i, (client, _) in enumerate(clients):
        client.sendall(b"client %d" % i)
    waiting = {key[1]: b"client %d" % i for i, (_, key) in enumerate(clients)}
    accepted: set[int] = set()
    tries = 0
    while waiting:
        guest.turn(20)
        for header, payload in guest.packets():
            tries += 1
            assert (header.op, payload) == (OP_RW, waiting.get(header.src_port))
            if header.src_port in accepted:
                take(guest, (80, header.src_port), payload)
                del waiting[header.src_port]
            else:
                refuse(guest, (80, header.src_port))
                if tries > 20:
                    accepted.add(header.src_port)
    for client, _ in clients:
        client.close()


def test_other_drivers_are_not_asked_again() -> None:
    guest = Guest()
    guest.start()
    client, key = connect(guest, b"data")
    with client:
        assert offered(guest) == b"data"
        refuse(guest, key)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert guest.streams() == 0
    assert lib.vsock_turn(guest.device.native, 0) == -1
    guest.close()
