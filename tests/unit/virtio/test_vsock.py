"""The vsock device: a guest in plain Python on one side, real sockets on the other."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import descriptors_left, open_fds
from vsockguest import CID, EVENT, EVENT_AT, QUEUE_SIZE, RX, TX, WINDOW, Guest

from pyvmm._kvm import lib
from pyvmm.testing.registers import NEEDS_RESET, QUEUE_NOTIFY, QUEUE_READY, QUEUE_SEL, STATUS
from pyvmm.testing.vsockpacket import (
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

BUFFER_SIZE = lib.VSOCK_BUFFER_MAX


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.close()


@pytest.fixture
def ends() -> Iterator[list[socket.socket]]:
    """The host's ends of connections, closed with the test."""
    made: list[socket.socket] = []
    yield made
    for sock in made:
        sock.close()


def connected(guest: Guest, ends: list[socket.socket], guest_port: int = 1080) -> tuple[int, int]:
    """A connection that the guest has made to port 80 of the host."""
    key = guest_port, 80
    guest.send(OP_REQUEST, key)
    guest.expect(OP_RESPONSE)
    ends.append(guest.accept())
    return key


def accepted(guest: Guest, ends: list[socket.socket]) -> tuple[int, int]:
    """A connection that the host has made to port 80 of the guest."""
    ends.append(guest.client())
    request = guest.expect(OP_REQUEST)
    assert request.dst_port == 80
    key = 80, request.src_port
    guest.send(OP_RESPONSE, key)
    return key


def reset(sock: socket.socket) -> None:
    """Closes a socket by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def test_header_round_trip() -> None:
    data = bytes(range(SIZE))
    assert Header.decode(data).encode() == data


def test_configuration_is_the_cid(guest: Guest) -> None:
    assert guest.registers.access(False, 0x100, bytes(8)) == CID.to_bytes(8, "little")


# ---- connections ------------------------------------------------------------------


def test_guest_connects_and_sends(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest, ends)
    guest.send(OP_RW, key, b"hello")
    assert ends[0].recv(100) == b"hello"


def test_host_connects_and_both_talk(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = accepted(guest, ends)
    guest.send(OP_RW, key, b"from the guest")
    assert ends[0].recv(100) == b"from the guest"
    ends[0].sendall(b"from the host")
    assert guest.expect_data(13) == b"from the host"


def test_what_goes_through_is_counted(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start(64)
    assert {*guest.device.counts().values()} == {0}
    key = connected(guest, ends)
    guest.send(OP_RW, key, b"hello")
    ends[0].sendall(bytes(WINDOW))
    assert len(guest.expect_data(WINDOW)) == WINDOW
    with guest.client():
        request = guest.expect(OP_REQUEST)
        assert guest.device.counts() == {
            "streams": 2, "connections": 1, "resets": 0, "stalls": 1, "to_guest": WINDOW, "from_guest": 5
        }  # fmt: skip
        guest.device.native.listens_since = 1
        guest.send(OP_RST, (80, request.src_port))
        guest.turn()
    counts = guest.device.counts()
    assert (counts["streams"], counts["connections"], counts["resets"]) == (1, 1, 1)


def test_clients_before_the_driver_is_ready_wait_for_it(guest: Guest, ends: list[socket.socket]) -> None:
    ends += [guest.client() for _ in range(3)]
    guest.start()
    found: list[tuple[Header, bytes]] = []
    while len(found) < 3:
        guest.turn()
        found += guest.packets()
    assert [(header.op, header.dst_port) for header, _ in found] == [(OP_REQUEST, 80)] * 3
    assert len({header.src_port for header, _ in found}) == 3


def test_a_port_that_is_not_allowed_is_refused(guest: Guest) -> None:
    guest.start()
    guest.send(OP_REQUEST, (1000, 9))
    guest.expect(OP_RST)
    guest.device.noted()
    assert guest.log == ["the guest may not connect to port 9; allow the port to let it"]


def test_a_host_that_does_not_listen_refuses_the_guest(guest: Guest) -> None:
    guest.start()
    guest.server.close()
    guest.send(OP_REQUEST, (1000, 80))
    guest.expect(OP_RST)
    assert guest.streams() == 0


def test_a_port_that_a_listening_guest_refuses_resets_the_client(guest: Guest) -> None:
    guest.start()
    guest.device.native.listens_since = 1  # ns since the host has started
    with guest.client() as client:
        request = guest.expect(OP_REQUEST)
        guest.send(OP_RST, (80, request.src_port))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert guest.packets() == []


def requests(guest: Guest, count: int) -> list[tuple[int, int]]:
    """The next `count` requests, and nothing else: guest's and host's port of each."""
    found: list[tuple[int, int]] = []
    while len(found) < count:
        headers = [header for header, _ in guest.packets()]
        assert {header.op for header in headers} <= {OP_REQUEST}
        found += [(header.dst_port, header.src_port) for header in headers]
        guest.turn(100)
    return found


def test_clients_wait_for_a_guest_that_does_not_listen_yet(guest: Guest) -> None:
    guest.start()
    with guest.client() as first, guest.client() as second:
        first.sendall(b"hello")
        first.shutdown(socket.SHUT_WR)
        asked = requests(guest, 2)
        for _ in range(5):
            for key in asked:
                guest.send(OP_RST, key)
            assert sorted(requests(guest, 2)) == sorted(asked)
        # Once it accepts one it is asked for the others at once, and still may refuse them for a while.
        guest.send(OP_RST, asked[1])
        guest.device.native.retry_at = 2**63
        guest.send(OP_RESPONSE, asked[0])
        op = {header.op: payload for header, payload in guest.packets()}
        while not op.keys() >= {OP_RW, OP_REQUEST}:
            op |= {header.op: payload for header, payload in guest.packets()}
            guest.turn(100)
        assert op[OP_RW] == b"hello"
        guest.send(OP_RST, asked[1])
        assert guest.streams() == 2
        guest.device.native.listens_since = 1
        (key,) = requests(guest, 1)
        guest.send(OP_RST, key)
        with pytest.raises(ConnectionResetError):
            second.recv(1)


def test_a_client_that_leaves_while_it_waits_is_forgotten(guest: Guest) -> None:
    guest.start()
    client = guest.client()
    (key,) = requests(guest, 1)
    guest.device.native.retry_at = 2**63
    guest.send(OP_RST, key)
    reset(client)
    guest.expect(OP_RST)
    guest.device.native.retry_at = 1
    guest.turn()
    assert (guest.packets(), guest.streams()) == ([], 0)


def test_a_client_that_does_not_wait_for_the_answer(guest: Guest) -> None:
    guest.start()
    client = guest.client()
    request = guest.expect(OP_REQUEST)
    reset(client)
    header = guest.expect(OP_RST)
    assert (header.src_port, header.dst_port) == (request.src_port, 80)
    guest.send(OP_RESPONSE, (80, request.src_port))
    guest.expect(OP_RST)


def test_a_client_that_goes_before_the_guest_hears_of_it(guest: Guest) -> None:
    guest.start(buffers=0)
    client = guest.client()
    guest.turn(100)
    assert guest.streams() == 1
    reset(client)
    guest.turn(100)
    assert guest.streams() == 0
    guest.offer(1)
    assert guest.packets() == []


@pytest.mark.parametrize("op", [OP_RESPONSE, OP_RW, OP_SHUTDOWN, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST, 0, 8, 0xFFFF])
def test_packets_of_no_connection_are_answered_with_rst(guest: Guest, op: int) -> None:
    guest.start()
    guest.send(op, (1, 2))
    guest.expect(OP_RST)


@pytest.mark.parametrize("op", [OP_REQUEST, OP_RESPONSE, 0, 8, 0xFFFF])
def test_packets_that_make_no_sense_end_their_connection(guest: Guest, ends: list[socket.socket], op: int) -> None:
    guest.start()
    guest.send(op, connected(guest, ends))
    guest.expect(OP_RST)
    with pytest.raises(ConnectionResetError):
        ends[0].recv(1)
    assert guest.streams() == 0


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


@pytest.mark.parametrize("kind", [0, 2, 7])
def test_unknown_types_are_answered_with_rst(guest: Guest, kind: int) -> None:
    guest.start()
    guest.send(OP_REQUEST, (1, 80), kind=kind)
    guest.expect(OP_RST)
    assert guest.streams() == 0


def test_a_packet_without_room_for_a_header_is_dropped(guest: Guest) -> None:
    guest.start()
    guest.send_raw([bytes(SIZE - 1)])
    assert guest.packets() == []
    guest.send(OP_RW, (1, 2))
    guest.expect(OP_RST)


def test_a_client_for_which_no_descriptor_is_left_is_refused(guest: Guest) -> None:
    guest.start()
    with guest.client() as client:
        with descriptors_left(0):
            guest.turn(100)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    guest.device.noted()
    assert guest.log == [f"a connection is refused: {os.strerror(errno.EMFILE)}"]


# ---- credit ---------------------------------------------------------------------------


def test_the_host_sends_no_more_than_the_guest_has_room_for(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start(64)
    key = connected(guest, ends)
    ends[0].sendall(bytes(100_000))
    came = len(guest.expect_data(WINDOW))
    assert came == WINDOW
    guest.turn(20)
    assert guest.packets() == []
    guest.send(OP_CREDIT_UPDATE, key, fwd_cnt=came)
    assert len(guest.expect_data(100_000 - came)) == 100_000 - came


def test_a_guest_that_claims_to_have_taken_more_than_there_was_is_still_served(
    guest: Guest, ends: list[socket.socket]
) -> None:
    guest.start()
    key = connected(guest, ends)
    guest.send(OP_CREDIT_UPDATE, key, fwd_cnt=1000)
    ends[0].sendall(b"hello")
    assert guest.expect_data(5) == b"hello"


def test_a_slow_reader_stops_the_guest_by_credit(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    guest.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = connected(guest, ends)
    sent = forwarded = 0
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
    guest.packets()
    guest.send(OP_CREDIT_REQUEST, key)
    assert guest.expect(OP_CREDIT_UPDATE).fwd_cnt == sent


def test_a_guest_that_ignores_its_credit_is_cut_off(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest, ends)
    for _ in range(10_000):
        guest.send(OP_RW, key, bytes(60_000))
        if any(header.op == OP_RST for header, _ in guest.packets()):
            break
    else:
        pytest.fail("it went on")
    assert guest.streams() == 0


def test_payload_shorter_than_its_header_says_is_cut_off(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    guest.send(OP_RW, connected(guest, ends), b"12345", length=6)
    guest.expect(OP_RST)


def test_what_follows_the_payload_is_ignored(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    guest.send(OP_RW, connected(guest, ends), b"12345", length=3)
    assert ends[0].recv(100) == b"123"


def test_credit_is_told_on_request(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest, ends)
    guest.send(OP_RW, key, b"12345")
    guest.send(OP_CREDIT_REQUEST, key)
    header = guest.expect(OP_CREDIT_UPDATE)
    assert (header.buf_alloc, header.fwd_cnt) == (BUFFER_SIZE, 5)


def test_many_connections_share_the_buffers(guest: Guest, ends: list[socket.socket]) -> None:
    """Each is told of less, the more there are; all is in docs/limits.md."""
    guest.start(64)
    told = []
    for port in range(400):
        guest.send(OP_REQUEST, (1000 + port, 80))
        told.append(guest.expect(OP_RESPONSE).buf_alloc)
        ends.append(guest.accept())
    assert told == sorted(told, reverse=True)
    assert told[0] == BUFFER_SIZE
    assert lib.VSOCK_BUFFER_MIN <= told[-1] < BUFFER_SIZE
    assert sum(told) <= lib.VSOCK_BUFFERS + 400 * lib.VSOCK_BUFFER_MIN


# ---- the end of a connection --------------------------------------------------------------


def test_each_half_closes_by_itself(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest, ends)
    guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND)
    assert ends[0].recv(10) == b""
    ends[0].sendall(b"still here")
    assert guest.expect_data(10) == b"still here"
    ends[0].shutdown(socket.SHUT_WR)
    guest.expect(OP_RST)
    assert guest.streams() == 0


def test_the_end_of_the_socket_reaches_the_guest(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest, ends)
    ends[0].shutdown(socket.SHUT_WR)
    assert guest.expect(OP_SHUTDOWN).flags == SHUTDOWN_SEND
    guest.send(OP_RW, key, b"an answer")
    assert ends[0].recv(100) == b"an answer"
    guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND | SHUTDOWN_RECEIVE)
    guest.expect(OP_RST)
    assert ends[0].recv(10) == b""


def test_data_and_end_at_once_both_reach_the_guest(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    connected(guest, ends)
    ends[0].sendall(b"the last words")
    ends[0].close()
    found: list[tuple[Header, bytes]] = []
    while len(found) < 2:
        guest.turn(100)
        found += guest.packets()
    assert [(header.op, header.flags, payload) for header, payload in found] == [
        (OP_RW, 0, b"the last words"),
        (OP_SHUTDOWN, SHUTDOWN_SEND, b""),
    ]


def test_a_guest_that_sends_after_its_end_is_cut_off(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest, ends)
    guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND)
    guest.send(OP_RW, key, b"one thing more")
    guest.expect(OP_RST)
    assert ends[0].recv(10) == b""


def test_a_reset_of_the_client_reaches_the_guest(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    connected(guest, ends)
    reset(ends[0])
    guest.expect(OP_RST)
    assert guest.streams() == 0


def test_a_reset_of_the_client_reaches_a_guest_that_takes_nothing(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    guest.send(OP_REQUEST, (1080, 80), buf_alloc=0)
    guest.expect(OP_RESPONSE)
    ends.append(guest.accept())
    ends[0].sendall(b"never taken")
    reset(ends[0])
    guest.expect(OP_RST)


def test_a_reset_of_the_guest_reaches_the_client(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    guest.send(OP_RST, connected(guest, ends))
    with pytest.raises(ConnectionResetError):
        ends[0].recv(1)
    assert guest.packets() == []
    assert guest.streams() == 0


def test_what_was_sent_before_the_end_arrives_though_the_guest_has_gone(
    guest: Guest, ends: list[socket.socket]
) -> None:
    """A guest's kernel waits for RST some seconds; a slow client may take longer."""
    guest.start()
    guest.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = connected(guest, ends)
    sent = forwarded = 0
    while sent - forwarded + 4096 <= BUFFER_SIZE:
        guest.send(OP_RW, key, bytes(4096))
        sent += 4096
        forwarded = max([forwarded, *(header.fwd_cnt for header, _ in guest.packets())])
    guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND | SHUTDOWN_RECEIVE)
    guest.send(OP_RST, key)
    assert guest.streams() == 1
    connected(guest, ends, key[0])  # the ports are free again
    received = 0
    while data := ends[0].recv(1 << 20):
        received += len(data)
        guest.turn()
    assert received == sent
    assert guest.streams() == 1


def test_a_reset_driver_ends_all_connections(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    connected(guest, ends)
    guest.registers.write(STATUS, 0)
    assert ends[0].recv(10) == b""
    guest.turn()
    assert guest.streams() == 0
    guest.start()
    connected(guest, ends)


@pytest.mark.parametrize("again", [False, True], ids=["for good", "and starts again"])
def test_what_was_sent_before_a_reset_of_the_device_arrives(
    guest: Guest, ends: list[socket.socket], again: bool
) -> None:
    """Also what is still in the queue, and what the socket does not take at once."""
    guest.start()
    guest.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = connected(guest, ends)
    ends[0].sendall(b"what nobody reads")
    sent = 0
    while sent <= BUFFER_SIZE - 60_000:
        guest.send(OP_RW, key, bytes(60_000))
        guest.packets()
        sent += 60_000
    last = Header(src_cid=CID, dst_cid=2, src_port=key[0], dst_port=key[1], length=7, kind=1, op=OP_RW)
    guest.send_raw([last.encode(), b"the end"], notify=False)
    guest.registers.write(STATUS, 0)
    if again:
        guest.start()
    assert guest.streams() == 1
    received = b""
    while data := ends[0].recv(1 << 20):
        received += data
        guest.turn()
    assert received == bytes(sent) + b"the end"
    guest.turn(100)
    guest.turn(100)
    assert guest.streams() == 0
    assert not again or guest.packets() == []


def test_a_response_arrives_though_its_request_was_not_read(guest: Guest, ends: list[socket.socket]) -> None:
    """TCP drops what is under way when a socket with unread data is closed."""
    guest.start()
    key = accepted(guest, ends)
    ends[0].sendall(bytes(100_000))
    guest.send(OP_RW, key, bytes(200_000))
    guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND | SHUTDOWN_RECEIVE)
    received = 0
    while data := ends[0].recv(10_000):
        received += len(data)
        guest.turn()
    assert received == 200_000


# ---- queues -------------------------------------------------------------------------------


def test_answers_for_a_guest_that_takes_none_are_bounded(guest: Guest) -> None:
    guest.start(buffers=0)
    for port in range(QUEUE_SIZE + 100):
        guest.send(OP_CREDIT_REQUEST, (port, 1))
    tx = guest.queues[TX]
    assert QUEUE_SIZE - len(tx.free) - len(tx.take()) == 100  # left in the queue
    answered = 0
    guest.offer(64)
    while found := guest.packets():
        assert all(header.op == OP_RST for header, _ in found)
        answered += len(found)
    assert answered == QUEUE_SIZE + 100


def test_a_receive_buffer_without_room_for_a_header_breaks_the_device(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start(buffers=1)
    guest.send(OP_REQUEST, (1080, 80))
    guest.turn(100)
    ends.append(guest.accept())
    guest.send(OP_RW, (1, 2))
    guest.offer(1, sizes=(SIZE - 1,))
    guest.device.noted()
    assert guest.registers.read(STATUS) & NEEDS_RESET
    fault = "queue 0: a receive buffer has no room for a header (5.10.6.1)"
    assert guest.registers.logged == [f"vsock at 0xfeb00000 stopped: {fault}"]
    with pytest.raises(ConnectionResetError):
        ends[0].recv(1)
    guest.start()
    connected(guest, ends)


@pytest.mark.parametrize("index", [RX, TX])
def test_a_broken_queue_stops_the_device_until_reset(guest: Guest, ends: list[socket.socket], index: int) -> None:
    guest.start(buffers=0)
    guest.queues[index].set_avail_idx(999)
    if index == RX:
        guest.send(OP_RW, (1, 2))
    else:
        guest.registers.write(QUEUE_NOTIFY, TX)
        guest.turn()
    guest.device.noted()
    assert guest.registers.read(STATUS) & NEEDS_RESET
    fault = f"queue {index}: the available index moved by more than the size (2.7.13.3)"
    assert guest.registers.logged == [f"vsock at 0xfeb00000 stopped: {fault}"]
    guest.start()
    connected(guest, ends)


def test_a_queue_can_be_taken_from_a_running_device(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest, ends)
    guest.registers.write(QUEUE_SEL, TX)
    guest.registers.write(QUEUE_READY, 0)
    guest.send(OP_RW, key, b"nobody reads this")
    ends[0].sendall(b"but RX works")
    assert guest.expect_data(12) == b"but RX works"
    ends[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        ends[0].recv(1)


@pytest.mark.parametrize("index", [RX, TX])
def test_no_buffer_is_lost_or_used_twice_when_a_queue_changes(
    guest: Guest, ends: list[socket.socket], index: int
) -> None:
    guest.start(buffers=0)
    guest.offer(3, (SIZE + 10,))
    guest.send(OP_REQUEST, (1080, 80))
    guest.turn(100)
    ends.append(guest.accept())
    ends[0].sendall(b"0123456789")  # a buffer's fill: there may be more, so the device has taken the next
    guest.turn(100)
    assert len(guest.queues[RX].take()) == 2
    guest.set_up_queue(index, buffers=1 if index == RX else 0)
    ends[0].sendall(b"abc")
    guest.turn(100)
    [(header, payload)] = guest.packets()
    assert (header.op, payload) == (OP_RW, b"abc")


@pytest.mark.parametrize("sizes", [(SIZE + 4096,), (1, SIZE, 100), (20, 24, 1, 4096)])
def test_buffers_of_any_shape(guest: Guest, ends: list[socket.socket], sizes: tuple[int, ...]) -> None:
    guest.start(buffers=0)
    guest.offer(4, sizes)
    connected(guest, ends)
    ends[0].sendall(b"x" * 50)
    assert guest.expect_data(50) == b"x" * 50


def test_buffers_of_a_header_alone_carry_no_payload_and_no_end(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start(buffers=0)
    guest.offer(2, (SIZE,))
    guest.send(OP_REQUEST, (1080, 80))
    ends.append(guest.accept())
    ends[0].sendall(b"payload")
    guest.turn(100)
    guest.turn(100)
    taken = guest.packets()
    assert [header.op for header, _ in taken] == [OP_RESPONSE, OP_CREDIT_UPDATE]
    assert guest.expect_data(7) == b"payload"


@pytest.mark.parametrize("cut", [1, 8, 43, 44])
def test_packets_in_buffers_of_any_shape(guest: Guest, ends: list[socket.socket], cut: int) -> None:
    guest.start()
    key = connected(guest, ends)
    header = Header(src_cid=CID, dst_cid=2, src_port=key[0], dst_port=key[1], length=6, kind=1, op=OP_RW).encode()
    guest.send_raw([header[:cut], header[cut:] + b"abc", b"def"])
    assert ends[0].recv(100) == b"abcdef"


@pytest.mark.parametrize("event_idx", [False, True])
def test_the_guest_is_asked_to_notify_only_when_that_helps(event_idx: bool) -> None:
    guest = Guest(event_idx=event_idx)
    guest.start(16)
    rx = guest.queues[RX]
    assert not rx.must_notify(rx.avail_idx - 1)
    for port in range(17):  # one more answer than there are buffers
        guest.send(OP_RW, (port, 2))
    assert len(rx.take()) == 16
    guest.offer(1)
    assert len(rx.take()) == 1
    guest.close()


# ---- drivers before version 1 ------------------------------------------------------------------


class ToroSocket:
    """How an existing Toro keeps what comes: a buffer of 16 KiB, empty again once all was read."""

    def __init__(self, guest: Guest, key: tuple[int, int]) -> None:
        self.guest, self.key = guest, key
        self.buffer = self.read = b""

    def take(self) -> bool:
        """Each RW is acknowledged by how full the buffer is; returns whether any came."""
        found = self.guest.packets()
        for header, payload in found:
            assert header.op == OP_RW
            assert header.fwd_cnt == 0
            self.buffer += payload
            assert len(self.buffer) <= 16 << 10, "it would be corrupted"
            self.guest.send(OP_CREDIT_UPDATE, self.key, buf_alloc=16 << 10, fwd_cnt=len(self.buffer))
        return bool(found)


@pytest.mark.parametrize("reads_at", [1, 10_000, 16_000])
def test_an_existing_toro_gets_all_and_never_too_much(ends: list[socket.socket], reads_at: int) -> None:
    """It reads once so much is there, or once nothing more comes; nothing says that it did."""
    guest = Guest(legacy=True)
    guest.start()
    key = 1080, 80
    guest.send(OP_REQUEST, key, buf_alloc=16 << 10)
    guest.expect(OP_RESPONSE)
    ends.append(guest.accept())
    data = bytes(range(256)) * 400
    ends[0].sendall(data)
    toro, got, idle = ToroSocket(guest, key), b"", 0
    while len(got) < len(data):
        guest.turn(10)
        idle = 0 if toro.take() else idle + 1
        assert idle < 100
        if len(toro.buffer) >= reads_at or idle > 3:
            got += toro.buffer
            toro.buffer = b""
    assert got == data
    guest.close()


def test_an_existing_toro_that_counts_no_credit_waits_for_a_slow_client(ends: list[socket.socket]) -> None:
    guest = Guest(legacy=True)
    guest.start()
    guest.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = connected(guest, ends)
    tx = guest.queues[TX]
    sent = 0
    while QUEUE_SIZE - len(tx.free) < 20:  # so many wait in the queue
        guest.send(OP_RW, key, bytes(60_000))
        sent += 60_000
    received = 0
    while received < sent:
        received += len(ends[0].recv(1 << 20))
        guest.turn()
    assert guest.packets() == [] or guest.streams() == 1
    guest.close()


def test_a_port_that_an_existing_toro_has_no_table_for_is_refused() -> None:
    guest = Guest(legacy=True, guest_port=20_000)
    guest.start()
    with guest.client() as client:
        guest.turn(100)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert guest.packets() == []
    guest.close()


# ---- the reset of the transport --------------------------------------------------------------------


def events(guest: Guest) -> list[bytes]:
    """The events that have come, in the buffers of 16 bytes from EVENT_AT."""
    return [guest.memory.read(EVENT_AT, written) for _, written in guest.queues[EVENT].take()]


@pytest.mark.parametrize("sizes", [(4,), (1, 3), (16,)])
def test_a_reset_of_the_transport_ends_all_connections(
    guest: Guest, ends: list[socket.socket], sizes: tuple[int, ...]
) -> None:
    guest.start()
    guest.memory.write(EVENT_AT, b"x" * 16)
    guest.queues[EVENT].add([(EVENT_AT + sum(sizes[:i]), size, True) for i, size in enumerate(sizes)])
    keys = [connected(guest, ends), accepted(guest, ends)]
    ends[0].sendall(b"not taken")
    guest.device.reset_transport()
    guest.packets()
    assert events(guest) == [bytes(4)]
    assert guest.streams() == 0
    for end in ends:
        with pytest.raises(ConnectionResetError):
            end.recv(100)
    # All is as new, and the old connections are unknown.
    guest.turn()
    assert guest.packets() == []
    for key in keys:
        guest.send(OP_RW, key, b"late")
        guest.expect(OP_RST)
    ends.clear()
    guest.send(OP_RW, connected(guest, ends), b"hello")
    assert ends[0].recv(100) == b"hello"


def test_no_reset_of_the_transport_costs_a_receive_buffer(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start(buffers=1)
    for _ in range(5):
        accepted(guest, ends)
        guest.device.reset_transport()


def test_answers_to_lost_connections_are_dropped(guest: Guest) -> None:
    guest.start(buffers=0)
    guest.send(OP_RW, (1, 2))
    guest.device.reset_transport()
    guest.offer(1)
    assert guest.packets() == []


def test_a_reset_of_the_transport_without_a_buffer_for_it(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    key = connected(guest, ends)
    guest.device.reset_transport()
    assert events(guest) == []
    guest.send(OP_RW, key, b"late")
    guest.expect(OP_RST)


def test_a_broken_event_queue_breaks_the_device(guest: Guest, ends: list[socket.socket]) -> None:
    guest.start()
    connected(guest, ends)
    guest.queues[EVENT].add([(EVENT_AT, 0, True)])
    guest.device.reset_transport()
    assert guest.registers.read(STATUS) & NEEDS_RESET
    assert guest.registers.logged == ["vsock at 0xfeb00000 stopped: queue 2: a descriptor has length 0 (2.7.5)"]
    guest.device.reset_transport()  # there is no driver now
    guest.start()
    connected(guest, ends)


# ---- the unix socket ------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "v.sock")


@pytest.fixture
def unix_guest(path: str) -> Iterator[Guest]:
    made = Guest(unix=path)
    made.start()
    yield made
    made.close()


def unix_client(path: str, words: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(path)
    client.sendall(words)
    return client


@pytest.mark.parametrize("words", [b"CONNECT 1234\n", b"connect 1234\nat once"])
def test_a_unix_client_names_its_port(unix_guest: Guest, path: str, words: bytes) -> None:
    with unix_client(path, words) as client:
        request = unix_guest.expect(OP_REQUEST)
        assert request.dst_port == 1234
        key = 1234, request.src_port
        unix_guest.send(OP_RESPONSE, key)
        assert client.recv(100) == b"OK %d\n" % request.src_port
        rest = words.partition(b"\n")[2]
        assert unix_guest.expect_data(len(rest)) == rest
        client.sendall(b"more")
        assert unix_guest.expect_data(4) == b"more"
        unix_guest.send(OP_RW, key, b"answer")
        assert client.recv(100) == b"answer"


def test_a_unix_client_may_take_its_time(unix_guest: Guest, path: str) -> None:
    with unix_client(path, b"CONN") as client:
        unix_guest.turn(100)
        client.sendall(b"ECT 4294967294")
        unix_guest.turn(100)
        assert unix_guest.packets() == []
        client.sendall(b"\n")
        assert unix_guest.expect(OP_REQUEST).dst_port == 4294967294


def test_a_unix_client_that_the_guest_refuses_is_closed(unix_guest: Guest, path: str) -> None:
    with unix_client(path, b"CONNECT 1\n") as client:
        request = unix_guest.expect(OP_REQUEST)
        unix_guest.device.native.listens_since = 1
        unix_guest.send(OP_RST, (1, request.src_port))
        assert client.recv(100) == b""


@pytest.mark.parametrize(
    "words",
    [
        b"\n",
        b"CONNECT\n",
        b"CONNECT \n",
        b"CONNECT -1\n",
        b"CONNECT 1 2\n",
        b"CONNECT 1x\n",
        b"CONNECT 4294967295\n",
        b"CONNECT 99999999999\n",
        b"GET / HTTP/1.1\r\n",
        b"x" * 1000,
    ],
)
def test_other_words_of_a_unix_client_close_it(unix_guest: Guest, path: str, words: bytes) -> None:
    with unix_client(path, words) as client:
        unix_guest.turn(100)
        try:
            assert client.recv(100) == b""
        except ConnectionResetError:  # words that nobody read
            pass
    assert unix_guest.packets() == []
    assert unix_guest.streams() == 0


def test_a_unix_client_that_still_sends_gets_the_end(unix_guest: Guest, path: str) -> None:
    """Not an error, whenever what it sends has come; and it can send no more."""
    with unix_client(path, b"CONNECT 80\n" + bytes(10_000)) as client:
        key = 80, unix_guest.expect(OP_REQUEST).src_port
        unix_guest.send(OP_RESPONSE, key, buf_alloc=10)
        assert client.recv(100) == b"OK %d\n" % key[1]
        unix_guest.send(OP_RW, key, b"answer")
        unix_guest.send(OP_SHUTDOWN, key, flags=SHUTDOWN_SEND | SHUTDOWN_RECEIVE)
        with pytest.raises(BrokenPipeError):
            client.send(b"too late")
        assert client.recv(100) == b"answer"
        assert client.recv(100) == b""


def test_a_unix_client_that_hangs_up_is_forgotten(unix_guest: Guest, path: str) -> None:
    client = unix_client(path, b"CONN")
    unix_guest.turn(100)
    assert unix_guest.streams() == 1
    client.close()
    unix_guest.turn(100)
    assert unix_guest.streams() == 0


def test_the_guest_reaches_the_unix_socket_of_a_port(unix_guest: Guest, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}_9")
        server.listen()
        unix_guest.send(OP_REQUEST, (1000, 9))
        unix_guest.expect(OP_RESPONSE)
        with server.accept()[0] as end:
            unix_guest.send(OP_RW, (1000, 9), b"hello")
            assert end.recv(100) == b"hello"
    unix_guest.send(OP_REQUEST, (1000, 10))
    unix_guest.packets()
    unix_guest.device.noted()
    assert unix_guest.log == ["the guest may not connect to port 10; allow the port to let it"]


def test_all_is_closed(path: str) -> None:
    before = open_fds()
    guest = Guest(unix=path)
    guest.start()
    ends: list[socket.socket] = []
    connected(guest, ends)
    unix_client(path, b"CONNECT 1\n").close()
    guest.expect(OP_REQUEST)
    guest.close()
    guest.device.close()
    ends[0].close()
    assert open_fds() == before
    assert not os.path.exists(path)
