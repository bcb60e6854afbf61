"""A frontend and a backend, and each with a peer that breaks the protocol."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guests import MIB, descriptors_left, open_fds
from vhostpeer import SIZE, BackendThread, Clock, Guest, Upper

from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing.virtqueue import AVAIL, DESC, USED
from vhost_user import messages as m
from vhost_user.backend import Server
from vhost_user.channel import Deadline
from vhost_user.device import INDIRECT_DESC, VERSION_1
from vhost_user.frontend import Frontend, connect
from vhost_user.listener import Listener
from vhost_user.messages import VhostUserError
from vhost_user.vring import Chain


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() == before


@pytest.fixture
def guest(_no_descriptor_is_left: None) -> Iterator[Guest]:
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        made = Guest(memory)
        yield made
        made.close()


@pytest.fixture
def backend(_no_descriptor_is_left: None) -> Iterator[BackendThread]:
    made = BackendThread(Upper())
    yield made
    made.sock.close()
    made.join()


def test_requests_are_served(guest: Guest, backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    assert frontend.features == VERSION_1 | INDIRECT_DESC
    assert frontend.queues == 2
    guest.start(frontend)
    for text, indirect, index in [(b"hello", False, 0), (b"indirect", True, 0), (b"x" * 50, False, 1)]:
        guest.put(text, index, indirect)
        guest.kick(index)
        guest.wait(index)
        ((_, written),) = guest.drivers[index].take()
        assert guest.reply(written, index) == text.upper()
    assert frontend.stop_ring(0) == 2
    guest.put(b"later")
    guest.kick()
    frontend.start_ring(0, guest.ring(0), 2)
    guest.wait()
    assert guest.reply(5) == b"LATER"
    frontend.reset_device()
    frontend.close()
    backend.join()
    assert backend.error is None


def test_a_driver_that_wants_no_interrupts_gets_none(guest: Guest, backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    guest.start(frontend)
    guest.drivers[0].set_interrupts(False)
    guest.put(b"quiet")
    guest.kick()
    while not guest.drivers[0].take():
        pass
    frontend.stop_ring(0)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(guest.calls[0])
    frontend.close()


def test_configuration_space(backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    assert frontend.get_config(3, 5) == b"figur"
    frontend.set_config(0, b"CON")
    assert frontend.get_config(0, 20) == b"CONfiguration" + bytes(7)
    with pytest.raises(VhostUserError):
        frontend.set_config(1, b"x")
    frontend.close()
    assert backend.complaint() == "the configuration space is read-only"


def test_status(backend: BackendThread) -> None:
    frontend = Frontend(backend.sock, able=m.F_STATUS)
    frontend.set_status(15)
    assert frontend.get_status() == 15
    frontend.close()


def test_the_backend_tells_that_its_configuration_has_changed(backend: BackendThread) -> None:
    told: list[object] = []

    def serve(kind: m.Kind, payload: m.Payload, fds: list[int]) -> int:
        told.append((kind, payload, fds))
        return 0

    frontend = Frontend(backend.sock, serve=serve)
    backend.backend.config_changed()
    assert frontend.serve_request()
    assert told == [(m.CONFIG_CHANGE, m.Empty(), [])]
    frontend.close()
    assert not frontend.serve_request()


def test_without_anybody_to_serve_it_there_is_no_channel(backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    assert not frontend.protocol_features & m.F_BACKEND_REQ
    assert frontend.requests_fd is None
    frontend.close()


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        (lambda f: f.get_config(0, 1), "GET_CONFIG: the backend cannot"),
        (lambda f: f.reset_device(), "RESET_DEVICE: the backend cannot"),
        (lambda f: f.get_status(), "GET_STATUS: the backend cannot"),
    ],
)
def test_what_was_not_agreed_on_is_not_asked(
    backend: BackendThread, method: Callable[[Frontend], object], complaint: str
) -> None:
    frontend = Frontend(backend.sock, able=0)
    with pytest.raises(VhostUserError, match=complaint):
        method(frontend)
    frontend.close()


def test_a_driver_that_breaks_a_queue_stops_it(guest: Guest, backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    guest.start(frontend)
    guest.drivers[0].set_avail_idx(SIZE + 1)
    guest.kick(0)
    guest.wait(0, guest.errs)
    guest.put(b"the other", 1)
    guest.kick(1)
    guest.wait(1)
    assert guest.reply(9, 1) == b"THE OTHER"
    frontend.close()


def test_sockets_in_the_file_system(tmp_path: Path) -> None:
    path = str(tmp_path / "backend.sock")
    with Server(path) as server:
        thread = threading.Thread(target=server.serve, args=(Upper(),))
        thread.start()
        Frontend(connect(path)).close()
        thread.join(60)
    listener = Listener(path)
    with pytest.raises(TimeoutError):
        listener.accept(0.01)
    peer = connect(path)
    listener.accept().close()
    peer.close()
    listener.close()
    listener.close()
    with pytest.raises(FileNotFoundError):
        connect(path)
    assert list(tmp_path.iterdir()) == []


# ---- a backend that dies --------------------------------------------------------------


class DeathError(Exception):
    """At a moment that the test has chosen."""


class Mortal(Upper):
    """Dies while it serves its `last` request."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def serve(self, index: int, chain: Chain) -> int:
        if len(self.served) == self.last:
            raise DeathError
        return super().serve(index, chain)


def used_index(guest: Guest, index: int) -> int:
    return int(struct.unpack("<H", guest.memory.read(index * MIB + USED + 2, 2))[0])


@pytest.mark.parametrize("last", [0, 1, 3])
def test_the_next_backend_goes_on_with_no_request_lost_or_done_twice(guest: Guest, last: int) -> None:
    first, second = BackendThread(Mortal(last)), BackendThread(Upper())
    frontend = Frontend(first.sock)
    guest.start(frontend)
    assert frontend.resumable
    texts = [b"one", b"two", b"three", b"four"]
    for slot, text in enumerate(texts):
        guest.put(text, slot=slot)
    guest.kick()
    first.join()
    assert isinstance(first.error, DeathError)
    assert used_index(guest, 0) == last
    frontend.reconnect(second.sock, {index: used_index(guest, index) for index in range(2)})
    guest.wait()
    assert [guest.reply(written, slot=slot) for slot, (_, written) in enumerate(guest.drivers[0].take())] == [
        text.upper() for text in texts
    ]
    assert second.backend._device.served == texts[last:]  # type: ignore[attr-defined]
    frontend.close()
    second.join()


def test_without_inflight_what_was_taken_is_left_to_the_caller(guest: Guest) -> None:
    first, second = BackendThread(Mortal(1)), BackendThread(Upper())
    frontend = Frontend(first.sock, able=m.F_REPLY_ACK)
    guest.start(frontend)
    assert not frontend.resumable
    guest.put(b"done")
    guest.put(b"lost", slot=1)
    guest.kick()
    first.join()
    frontend.reconnect(second.sock, {0: 2, 1: 0})
    guest.put(b"new", slot=2)
    guest.kick()
    guest.wait()
    assert second.backend._device.served == [b"new"]  # type: ignore[attr-defined]
    frontend.close()
    second.join()


def test_a_backend_that_can_less_cannot_go_on(guest: Guest) -> None:
    less = Upper()
    less.features = VERSION_1
    first, second = BackendThread(Upper()), BackendThread(less)
    frontend = Frontend(first.sock)
    guest.start(frontend)
    with pytest.raises(VhostUserError, match="has lost features: 0x10000000"):
        frontend.reconnect(second.sock, {0: 0, 1: 0})
    first.join()
    second.join()


# ---- a frontend that is none ------------------------------------------------------------


def sealed_memory(size: int) -> int:
    fd = os.memfd_create("ram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return fd


def tell(sock: socket.socket, kind: m.Kind, payload: m.Payload | bytes, fds: list[int] | None = None) -> None:
    body = payload if isinstance(payload, bytes) else payload.encode()
    socket.send_fds(sock, [m.HEADER.pack(kind.number, m.VERSION, len(body)) + body], fds or [])


FEATURES = (m.SET_FEATURES, m.U64(VERSION_1))
ADDRESS = (m.SET_VRING_ADDR, m.VringAddress(0, 0, 0x1000, 0x4000, 0x3000, 0))


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ([(m.SET_FEATURES, m.U64(1))], "SET_FEATURES: 0x1 was not offered"),
        ([(m.SET_PROTOCOL_FEATURES, m.U64(1 << 40))], "SET_PROTOCOL_FEATURES: 0x10000000000 was not offered"),
        ([(m.SET_VRING_NUM, m.VringState(2, 16))], "SET_VRING_NUM: queue 2, there are 2"),
        ([(m.SET_VRING_NUM, m.VringState(0, 15))], "SET_VRING_NUM: 15 entries"),
        ([(m.SET_VRING_BASE, m.VringState(0, 1 << 16))], "SET_VRING_BASE: 65536"),
        ([(m.SET_VRING_ENABLE, m.VringState(0, 2))], "SET_VRING_ENABLE: 2"),
        ([(m.SET_VRING_KICK, m.VringFd(0, False))], "SET_VRING_KICK: 0 descriptors, its flag says otherwise"),
        ([(m.SET_VRING_KICK, m.VringFd(0, True))], "polling of queues is not agreed on"),
        ([(m.SET_VRING_CALL, m.VringFd(0, True), 1)], "SET_VRING_CALL: 1 descriptors, its flag says otherwise"),
        ([(m.SET_VRING_KICK, m.VringFd(0, False), 1)], "queue 0 is not set up"),
        ([(m.SET_VRING_CALL, m.VringFd(0, False), 1)], "SET_VRING_CALL: the descriptor is no eventfd"),
        (
            [FEATURES, (m.SET_VRING_NUM, m.VringState(0, 16)), ADDRESS, (m.SET_VRING_KICK, m.VringFd(0, False), 1)],
            "no memory at user address",
        ),
        ([(m.SET_MEM_TABLE, m.MemoryTable((m.Region(0, 4096, 0, 0),)))], "0 descriptors for 1 regions"),
        ([(m.SET_MEM_TABLE, m.MemoryTable((m.Region(0, 4096, 0, 0),)), 1)], "no 4096 bytes at 0"),
        ([(m.ADD_MEM_REG, m.OneRegion(m.Region(0, 4096, 0, 0)))], "ADD_MEM_REG: no descriptor"),
        ([(m.REM_MEM_REG, m.OneRegion(m.Region(0, 4096, 0, 0)))], "is not there"),
        ([(m.ADD_MEM_REG, m.OneRegion(m.Region(0, 4096, 0, 0)), 1)], "memory that may shrink"),
        ([(m.ADD_MEM_REG, m.OneRegion(m.Region(1 << 63, (1 << 63) + 1, 1, 0)), 1)], "ends behind the last address"),
        ([(m.SET_INFLIGHT_FD, m.Inflight(4096, 0, 2, 16))], "SET_INFLIGHT_FD: no descriptor"),
        ([(m.SET_INFLIGHT_FD, m.Inflight(64, 0, 2, 16), 1)], "is too small"),
        ([(m.GET_INFLIGHT_FD, m.Inflight(0, 0, 1, 16))], "GET_INFLIGHT_FD"),
        ([(m.SET_BACKEND_REQ_FD, m.Empty())], "SET_BACKEND_REQ_FD: no descriptor"),
        ([(m.SET_BACKEND_REQ_FD, m.Empty(), 1)], "SET_BACKEND_REQ_FD: Socket operation on non-socket"),
        ([(m.SEND_RARP, m.U64(0))], "SEND_RARP: not agreed on"),
        ([(m.SET_FEATURES, b"short")], "SET_FEATURES: 5 bytes of payload, not 8"),
    ],
)
def test_a_frontend_that_breaks_the_protocol_is_told_of(
    backend: BackendThread, told: list[tuple[m.Kind, m.Payload, int]], complaint: str
) -> None:
    null, event, memory = os.open("/dev/null", os.O_RDWR), os.eventfd(0), sealed_memory(0)
    suitable = {m.SET_VRING_KICK: event, m.SET_MEM_TABLE: memory, m.SET_INFLIGHT_FD: memory}
    for kind, payload, *fds in told:
        tell(backend.sock, kind, payload, [suitable.get(kind, null)] * len(fds))
    for fd in (null, event, memory):
        os.close(fd)
    assert complaint in backend.complaint()


def test_regions_that_overlap_are_refused(backend: BackendThread) -> None:
    fd = sealed_memory(1 << 16)
    table = m.MemoryTable((m.Region(0, 8192, 0, 0), m.Region(4096, 8192, 0x10000, 0)))
    tell(backend.sock, m.SET_MEM_TABLE, table, [fd, fd])
    os.close(fd)
    assert "overlaps" in backend.complaint()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (m.SET_MEM_TABLE, m.MemoryTable((m.Region(0, 4096, 0, 0),))),
        (m.ADD_MEM_REG, m.OneRegion(m.Region(0, 4096, 0, 0))),
        (m.SET_INFLIGHT_FD, m.Inflight(4096, 0, 2, 16)),
    ],
)
@pytest.mark.parametrize("kind_of_file", ["memfd", "file"])
def test_memory_that_may_shrink_is_refused(
    backend: BackendThread, tmp_path: Path, kind: m.Kind, payload: m.Payload, kind_of_file: str
) -> None:
    """Else the frontend could shorten the file at any time, and the next access end the process."""
    fd = os.memfd_create("ram") if kind_of_file == "memfd" else os.open(tmp_path / "ram", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 1 << 16)
    tell(backend.sock, kind, payload, [fd])
    os.close(fd)
    assert "memory that may shrink" in backend.complaint()


def test_memory_that_the_backend_shares_cannot_shrink_either(guest: Guest, backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    guest.start(frontend)
    assert frontend._inflight
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(frontend._inflight[1], size)
    frontend.close()


class Gate(Upper):
    """Serves a request of queue 1 only when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.opened = threading.Event(), threading.Event()

    def serve(self, index: int, chain: Chain) -> int:
        if index:
            self.reached.set()
            assert self.opened.wait(60)
        return super().serve(index, chain)


def test_a_kick_descriptor_that_is_replaced_while_it_is_readable(guest: Guest) -> None:
    """The queue goes on with the new one."""
    device = Gate()
    backend = BackendThread(device)
    frontend = Frontend(backend.sock)
    guest.start(frontend)
    guest.put(b"wait", 1)
    guest.kick(1)
    assert device.reached.wait(60)
    new = os.eventfd(0)
    guest.kick()
    tell(backend.sock, m.SET_VRING_KICK, m.VringFd(0, False), [new])
    device.opened.set()
    guest.wait(1)
    guest.put(b"hello")
    os.eventfd_write(new, 1)
    guest.wait()
    assert guest.reply(5) == b"HELLO"
    frontend.close()
    os.close(new)
    backend.join()


def test_a_call_descriptor_that_is_full_and_blocks_hangs_nobody(guest: Guest, backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    guest.start(frontend)
    os.eventfd_write(guest.calls[0], (1 << 64) - 2)
    os.set_blocking(guest.calls[0], True)
    guest.put(b"hello")
    guest.kick()
    while not guest.drivers[0].take():
        pass
    assert frontend.stop_ring(0) == 1
    frontend.close()


@pytest.mark.parametrize("name", ["call", "kick", "err"])
def test_a_pipe_is_no_eventfd(guest: Guest, backend: BackendThread, name: str) -> None:
    frontend = Frontend(backend.sock)
    ring = guest.ring(0)
    ends = os.pipe()
    setattr(ring, name, ends[1])
    with pytest.raises(VhostUserError):
        frontend.start_ring(0, ring)
    frontend.close()
    for end in ends:
        os.close(end)
    assert backend.complaint() == f"SET_VRING_{name.upper()}: the descriptor is no eventfd"


class Endless(Upper):
    """Its driver makes a new request whenever one is served."""

    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self.guest = guest

    def serve(self, index: int, chain: Chain) -> int:
        self.guest.drivers[0].take()
        self.guest.put(b"again")
        return super().serve(index, chain)


def test_a_driver_that_never_stops_keeps_nobody_from_being_served(guest: Guest) -> None:
    backend = BackendThread(Endless(guest))
    frontend = Frontend(backend.sock)
    guest.start(frontend)
    guest.put(b"first")
    guest.kick()
    guest.wait()
    assert frontend.stop_ring(0)
    frontend.close()
    backend.join()


def test_a_request_that_is_too_long_breaks_its_queue(guest: Guest, backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    guest.start(frontend)
    guest.drivers[0].add([(0, 8 * MIB, False), (0, 8 * MIB, False), (0, 1, True)])
    guest.kick()
    guest.wait(0, guest.errs)
    assert backend.backend._device.served == []  # type: ignore[attr-defined]
    guest.drivers[1].add([(0, 8 * MIB, False), (8 * MIB, 8 * MIB, True)])
    guest.kick(1)
    guest.wait(1)
    frontend.close()


class Hungry(Upper):
    """Needs more memory than there is."""

    def serve(self, index: int, chain: Chain) -> int:
        return len(bytes(1 << 62))


def test_memory_that_is_not_there_ends_the_connection_alone(guest: Guest) -> None:
    backend = BackendThread(Hungry())
    frontend = Frontend(backend.sock)
    guest.start(frontend)
    guest.put(b"hello")
    guest.kick()
    assert "not enough memory" in backend.complaint()
    frontend.close()


def test_without_descriptors_there_is_no_inflight_memory(backend: BackendThread) -> None:
    frontend = Frontend(backend.sock)
    with descriptors_left(0), pytest.raises(VhostUserError):
        frontend.share_inflight(2, SIZE)
    assert backend.complaint() == "GET_INFLIGHT_FD: Too many open files"
    frontend.close()


# ---- a backend that is none ---------------------------------------------------------------


def answers(replies: list[tuple[m.Kind, bytes]]) -> tuple[socket.socket, socket.socket]:
    """A peer that has answered before it was asked."""
    peer, sock = socket.socketpair()
    for kind, body in replies:
        peer.sendall(m.HEADER.pack(kind.number, m.VERSION | m.REPLY, len(body)) + body)
    return peer, sock


def u64(value: int) -> bytes:
    return m.U64(value).encode()


GOOD = [(m.GET_FEATURES, u64(VERSION_1 | m.F_PROTOCOL_FEATURES)), (m.GET_PROTOCOL_FEATURES, u64(m.F_CONFIG))]


@pytest.mark.parametrize(
    ("replies", "complaint"),
    [
        ([], "the reply to GET_FEATURES: not within"),
        ([(m.GET_FEATURES, b"1234")], "GET_FEATURES: 4 bytes of payload"),
        ([(m.GET_PROTOCOL_FEATURES, u64(0))], "in place of the reply to GET_FEATURES"),
        (GOOD[:1], "the reply to GET_PROTOCOL_FEATURES: not within"),
    ],
)
def test_a_peer_that_is_no_backend_is_an_error(replies: list[tuple[m.Kind, bytes]], complaint: str) -> None:
    peer, sock = answers(replies)
    with peer, pytest.raises(VhostUserError, match=complaint):
        Frontend(sock, timeout=0.05)


@pytest.mark.parametrize(
    ("reply", "method", "complaint"),
    [
        ((m.GET_CONFIG, m.Config(0, 0, b"").encode()), lambda f: f.get_config(0, 4), "0 bytes at 0, not 4 at 0"),
        ((m.GET_VRING_BASE, m.VringState(1, 0).encode()), lambda f: f.stop_ring(0), "for queue 0"),
        ((m.GET_VRING_BASE, m.VringState(0, 1 << 16).encode()), lambda f: f.stop_ring(0), "for queue 0"),
    ],
)
def test_an_answer_to_something_else_is_an_error(
    guest: Guest, reply: tuple[m.Kind, bytes], method: Callable[[Frontend], object], complaint: str
) -> None:
    peer, sock = answers([*GOOD, reply])
    frontend = Frontend(sock, timeout=0.05)
    guest.start(frontend)
    with peer, pytest.raises(VhostUserError, match=complaint):
        method(frontend)
    frontend.close()


def test_a_backend_that_refuses_is_an_error() -> None:
    replies = [*GOOD[:1], (m.GET_PROTOCOL_FEATURES, u64(m.F_REPLY_ACK)), (m.SET_FEATURES, u64(22))]
    peer, sock = answers(replies)
    frontend = Frontend(sock)
    with peer, pytest.raises(VhostUserError, match=r"SET_FEATURES: the backend refuses \(22\)"):
        frontend.set_features(VERSION_1)
    frontend.close()


def test_inflight_without_a_descriptor_is_an_error() -> None:
    replies = [*GOOD[:1], (m.GET_PROTOCOL_FEATURES, u64(m.F_INFLIGHT_SHMFD)), (m.GET_INFLIGHT_FD, bytes(24))]
    peer, sock = answers(replies)
    frontend = Frontend(sock)
    with peer, pytest.raises(VhostUserError, match="the reply has no descriptor"):
        frontend.share_inflight(2, 16)
    frontend.close()


def test_an_old_backend_knows_no_protocol_features(guest: Guest) -> None:
    peer, sock = answers([(m.GET_FEATURES, u64(VERSION_1))])
    frontend = Frontend(sock)
    guest.start(frontend)
    assert frontend.queues is None
    frontend.close()
    told = b"".join(iter(lambda: peer.recv(1 << 16), b""))
    peer.close()
    assert struct.pack("<3I", m.SET_VRING_ENABLE.number, 1, 8) not in told
    assert struct.pack("<3IQ", m.SET_FEATURES.number, 1, 8, VERSION_1) in told
    rings = [guest.host + at for at in (DESC, USED, AVAIL)]
    assert struct.pack("<3I2I4Q", m.SET_VRING_ADDR.number, 1, 40, 0, 0, *rings, 0) in told


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What a channel takes for the time."""
    made = Clock(0)
    monkeypatch.setattr("vhost_user.channel.monotonic", made)
    return made


@pytest.mark.parametrize(
    "call",
    [
        lambda frontend, guest, sock: frontend.start_ring(0, guest.ring(0)),
        lambda frontend, guest, sock: frontend.share_inflight(2, SIZE),
        lambda frontend, guest, sock: frontend.reconnect(sock, {}),
    ],
    ids=["start_ring", "share_inflight", "reconnect"],
)
def test_all_answers_to_one_call_share_its_time(
    guest: Guest, clock: Clock, call: Callable[[Frontend, Guest, socket.socket], object]
) -> None:
    """A backend that takes a bit less than that for each is one that does not answer."""
    backends = [BackendThread(Upper()) for _ in range(2)]
    frontend = Frontend(backends[0].sock)
    frontend.set_features(frontend.features)
    frontend.share_memory(guest.regions())
    clock.step = 0.8
    with pytest.raises(VhostUserError, match="not within 5 s"):
        call(frontend, guest, backends[1].sock)
    frontend.close()
    for backend in backends:
        backend.sock.close()
        backend.join()


def test_calls_can_share_their_time(guest: Guest, backend: BackendThread, clock: Clock) -> None:
    frontend = Frontend(backend.sock)
    waits: list[tuple[int, bool]] = []

    def wait(fd: int, writable: bool, seconds: float) -> None:
        waits.append((fd, writable))
        clock.now += 0.5

    with frontend.within(Deadline(5, wait)):
        frontend.set_features(frontend.features)
        frontend.share_memory(guest.regions())
        with pytest.raises(VhostUserError, match="SET_VRING_BASE: not within 5 s"):
            frontend.start_ring(0, guest.ring(0))
    fd = frontend.fileno()
    exchange = [(fd, True), (fd, False), (fd, False)]  # the request, the reply's header and payload
    assert waits == [*exchange, *exchange, *exchange, (fd, True)]
    frontend.close()
