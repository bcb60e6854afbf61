"""The vsock device: a guest in plain Python on one side, real sockets on the other."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from vsockguest import WINDOW, Guest

from pyvmm.virtio.queue import QueueError
from pyvmm.virtio.vsock_connection import BUFFER_SIZE
from pyvmm.virtio.vsock_packet import (
    OP_CREDIT_REQUEST,
    OP_CREDIT_UPDATE,
    OP_REQUEST,
    OP_RESPONSE,
    OP_RST,
    OP_RW,
    OP_SHUTDOWN,
    SHUTDOWN_RECEIVE,
    SHUTDOWN_SEND,
    SIZE,
    Header,
)


@pytest.fixture
def ends() -> Iterator[list[socket.socket]]:
    """The far ends of the sockets that the guest connects to."""
    far: list[socket.socket] = []
    yield far
    for sock in far:
        sock.close()


@pytest.fixture
def guest(ends: list[socket.socket]) -> Iterator[Guest]:
    def connect(port: int) -> socket.socket | None:
        if port == 9:
            return None
        near, far = socket.socketpair()
        near.setblocking(False)
        far.settimeout(10)
        ends.append(far)
        return near

    made = Guest(connect)
    yield made
    made.device.close()
    made.loop.close()


def connected(guest: Guest, port: int = 80) -> tuple[int, int]:
    """A connection that the guest has made to a host port."""
    key = 1000 + port, port
    guest.send(OP_REQUEST, key)
    guest.expect(OP_RESPONSE)
    return key


def accepted(guest: Guest, ends: list[socket.socket]) -> tuple[int, int]:
    """A connection that the host has made to port 80 of the guest."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(10)
    ends.append(far)
    guest.device.accept(near, 80)
    request = guest.expect(OP_REQUEST)
    assert request.dst_port == 80
    key = 80, request.src_port
    guest.send(OP_RESPONSE, key)
    return key


def test_header_round_trip() -> None:
    data = bytes(range(SIZE))
    assert Header.decode(data).encode() == data


def test_configuration_is_the_cid(guest: Guest) -> None:
    assert guest.device.config == (5).to_bytes(8, "little")


def test_guest_connects_and_sends(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest)
    guest.send(OP_RW, key, b"hello")
    assert ends[0].recv(100) == b"hello"


def test_host_connects_and_both_talk(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = accepted(guest, ends)
    guest.send(OP_RW, key, b"from the guest")
    assert ends[0].recv(100) == b"from the guest"
    ends[0].sendall(b"from the host")
    guest.turn()
    [(header, payload)] = guest.packets()
    assert (header.op, payload) == (OP_RW, b"from the host")


def test_connections_before_the_driver_is_ready_wait_for_it(guest: Guest, ends: list[socket.socket]) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    ends.append(far)
    guest.device.accept(near, 80)
    guest.start()
    assert guest.expect(OP_REQUEST).dst_port == 80


def test_a_port_that_is_not_allowed_is_refused(guest: Guest) -> None:
    guest.start()
    guest.send(OP_REQUEST, (1000, 9))
    guest.expect(OP_RST)


def test_a_guest_that_does_not_listen_resets_the_client(guest: Guest) -> None:
    guest.start()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        near, _ = server.accept()
        near.setblocking(False)
        guest.device.accept(near, 80)
        request = guest.expect(OP_REQUEST)
        guest.send(OP_RST, (80, request.src_port))
        client.settimeout(10)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert guest.packets() == []


@pytest.mark.parametrize("op", [OP_RESPONSE, OP_RW, OP_SHUTDOWN, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST, 0, 8, 0xFFFF])
def test_packets_of_no_connection_are_answered_with_rst(guest: Guest, op: int) -> None:
    guest.start()
    guest.send(op, (1, 2))
    guest.expect(OP_RST)


def test_rst_is_not_answered(guest: Guest) -> None:
    guest.start()
    guest.send(OP_RST, (1, 2))
    guest.turn()
    assert guest.packets() == []


@pytest.mark.parametrize("fields", [{"src_cid": 6}, {"dst_cid": 3}])
def test_packets_from_and_to_others_are_dropped(guest: Guest, fields: dict[str, int]) -> None:
    guest.start()
    guest.send(OP_REQUEST, (1, 2), **fields)
    assert guest.packets() == []


def test_unknown_types_are_answered_with_rst(guest: Guest) -> None:
    guest.start()
    guest.send(OP_REQUEST, (1, 2), kind=7)
    guest.expect(OP_RST)


def test_the_host_sends_no_more_than_the_guest_has_room_for(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start(64)
    key = connected(guest)
    ends[0].setblocking(False)
    sent = 0
    while sent < 100_000:
        sent += ends[0].send(bytes(100_000 - sent))
        break
    for _ in range(50):
        guest.turn()
    came = sum(len(payload) for _, payload in guest.packets())
    assert came == min(WINDOW, sent)
    guest.turn()
    assert guest.packets() == []
    guest.send(OP_CREDIT_UPDATE, key, fwd_cnt=came)
    for _ in range(50):
        guest.turn()
    assert came + sum(len(payload) for _, payload in guest.packets()) == sent


def test_a_guest_that_claims_to_have_taken_more_than_there_was_is_still_served(
    guest: Guest, ends: list[socket.socket]
) -> None:
    guest.start()
    key = connected(guest)
    guest.send(OP_CREDIT_UPDATE, key, fwd_cnt=1000)
    ends[0].sendall(b"hello")
    guest.turn()
    assert [payload for _, payload in guest.packets()] == [b"hello"]


def test_a_slow_reader_stops_the_guest_by_credit(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest)
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent = 0
    forwarded = 0
    while sent - forwarded + 4096 <= BUFFER_SIZE:
        guest.send(OP_RW, key, bytes(4096))
        sent += 4096
        for header, _ in guest.packets():
            assert header.op == OP_CREDIT_UPDATE
            forwarded = header.fwd_cnt
    received = 0
    while received < sent:
        received += len(ends[0].recv(1 << 20))
        guest.turn()
    updates = [header for header, _ in guest.packets()]
    assert updates[-1].fwd_cnt > forwarded
    assert guest.device._connections[key].unsent == 0


def test_a_guest_that_ignores_its_credit_is_cut_off(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest)
    for _ in range(10_000):
        guest.send(OP_RW, key, bytes(60_000))
        if any(header.op == OP_RST for header, _ in guest.packets()):
            break
    else:
        pytest.fail("it went on")
    assert key not in guest.device._connections


def test_credit_is_told_on_request(guest: Guest) -> None:
    guest.start()
    key = connected(guest)
    guest.send(OP_RW, key, b"12345")
    guest.send(OP_CREDIT_REQUEST, key)
    header = guest.expect(OP_CREDIT_UPDATE)
    assert (header.buf_alloc, header.fwd_cnt) == (BUFFER_SIZE, 5)


def test_each_half_closes_by_itself(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest)
    guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND)
    assert ends[0].recv(10) == b""
    ends[0].sendall(b"still here")
    guest.turn()
    [(header, payload)] = guest.packets()
    assert (header.op, payload) == (OP_RW, b"still here")
    ends[0].shutdown(socket.SHUT_WR)
    guest.expect(OP_RST)
    assert guest.device._connections == {}


def test_the_end_of_the_socket_reaches_the_guest(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest)
    ends[0].shutdown(socket.SHUT_WR)
    assert guest.expect(OP_SHUTDOWN).flags == SHUTDOWN_SEND
    guest.send(OP_RW, key, b"an answer")
    assert ends[0].recv(100) == b"an answer"
    guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND | SHUTDOWN_RECEIVE)
    guest.expect(OP_RST)
    assert ends[0].recv(10) == b""


def test_a_reset_driver_ends_all_connections(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    connected(guest)
    guest.device.reset()
    assert ends[0].recv(10) == b""
    assert guest.loop._callbacks == {}


def test_answers_for_a_guest_that_takes_none_are_bounded(guest: Guest) -> None:
    guest.start(buffers=0)
    for port in range(1000):
        guest.send(OP_CREDIT_REQUEST, (port, 1))
    assert len(guest.device._answers) == 256
    assert len(guest.tx.available) == 1000 - 256
    answered = 0
    while found := (guest.offer(64), guest.packets())[1]:
        assert all(header.op == OP_RST for header, _ in found)
        answered += len(found)
    assert answered == 1000


def test_a_receive_buffer_without_room_for_a_header_breaks_the_device(guest: Guest) -> None:
    guest.start(buffers=0)
    guest.send(OP_RW, (1, 2))
    with pytest.raises(QueueError):
        guest.offer(1, sizes=(SIZE - 1,))


@pytest.mark.parametrize("sizes", [(SIZE + 4096,), (1, SIZE, 100), (20, 24, 1, 4096)])
def test_buffers_of_any_shape(guest: Guest, ends: list[socket.socket], sizes: tuple[int, ...]) -> None:
    guest.start(buffers=0)
    guest.offer(4, sizes)
    guest.send(OP_REQUEST, (1, 2))
    guest.turn()
    guest.device.kicked(0)
    ends[0].sendall(b"x" * 50)
    guest.send(OP_CREDIT_UPDATE, (1, 2))
    guest.turn()
    data = b"".join(b"".join(chain.memory)[SIZE:written] for chain, written in guest.rx.used)
    assert data == b"x" * 50
