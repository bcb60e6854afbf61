"""A reset of the vsock transport: Toro's connections end, and its servers serve on."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread

import pytest
from programs import Programs

from pyvmm._kvm import ffi, lib
from pyvmm.api import vsock
from pyvmm.config import MachineConfig
from pyvmm.machine import Machine

ECHO, FLOOD, DEAF, QUIT, SLOW, PROXY = 80, 83, 84, 85, 86, 87
_EVENT_QUEUE = 2
_PORTS = (ECHO, FLOOD, DEAF, QUIT, SLOW, PROXY)


class Server:
    """The program SocketEcho on its machine, and the host's end of its connections to port 90."""

    def __init__(self, machine: Machine, listener: socket.socket) -> None:
        self.machine, self._listener = machine, listener
        self.device = machine._devices[0]
        self.reset_fd = os.eventfd(0)
        self.before_reset: Callable[[], None] = lambda: None

    def connect(self, port: int) -> socket.socket:
        return socket.create_connection(self.machine.ports[port], timeout=60)

    def accept(self) -> socket.socket:
        made = self._listener.accept()[0]
        made.settimeout(60)
        return made

    def reset(self) -> None:
        """Resets the transport, in the thread that serves the device."""
        os.read(self.reset_fd, 8)
        self.device.pause()
        self.before_reset()
        self.device.reset_transport()  # type: ignore[attr-defined]


@pytest.fixture(params=[1, 2, 4])
def server(programs: Programs, request: pytest.FixtureRequest) -> Iterator[Server]:
    config = MachineConfig(programs.image("SocketEcho"), cpus=request.param, vsock=5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        device = vsock(5, [f"0:{port}" for port in _PORTS], [f"90=127.0.0.1:{listener.getsockname()[1]}"])
        with Machine(config, [device]) as machine:
            made = Server(machine, listener)
            thread = Thread(target=machine.run, args=(lambda loop: loop.add(made.reset_fd, made.reset),))
            thread.start()
            yield made
            with made.connect(QUIT) as client:
                client.sendall(b"\7")
                thread.join(60)
            assert machine.status == 7
            os.close(made.reset_fd)


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """What comes back of `data`, which is sent meanwhile."""
    sender = Thread(target=sock.sendall, args=(data,))
    sender.start()
    got = b""
    while len(got) < len(data) and (part := sock.recv(1 << 18)):
        got += part
    sender.join()
    return got


def is_reset(sock: socket.socket) -> bool:
    """Reads until the end; whether that is a reset."""
    try:
        while sock.recv(1 << 18):
            pass
    except ConnectionResetError:
        return True
    return False


def test_connections_end_and_new_ones_are_served(server: Server) -> None:
    """Threads of the guest wait for data, for credit, and for a peer; then the CID is another."""
    data = random.Random(1).randbytes(1 << 20)
    for cid in range(6, 12):
        with ExitStack() as stack:
            clients = [stack.enter_context(server.connect(port)) for port in (ECHO, FLOOD, DEAF, SLOW, PROXY) * 4]
            proxied = [stack.enter_context(server.accept()) for _ in range(4)]
            assert exchange(clients[0], data[:1000]) == data[:1000]
            waiting: list[socket.socket] = []

            def change(cid: int = cid, waiting: list[socket.socket] = waiting) -> None:
                waiting.append(server.connect(ECHO))
                ffi.buffer(server.device.native)[:8] = cid.to_bytes(8, "little")  # type: ignore[attr-defined]
                lib.virtio_mmio_set_config(server.machine.transports[0].native, cid.to_bytes(8, "little"), 8)

            server.before_reset = change
            os.eventfd_write(server.reset_fd, 1)
            assert all(map(is_reset, clients + proxied))
            # A client that came before the guest knew is the first to be served after it.
            with waiting[0] as client:
                assert exchange(client, data) == data


def test_a_reset_in_the_middle_of_much_traffic_loses_no_buffer(server: Server) -> None:
    for _ in range(20):
        with ExitStack() as stack:
            clients = [stack.enter_context(server.connect(FLOOD)) for _ in range(8)]
            for client in clients:
                client.recv(1 << 16)
            os.eventfd_write(server.reset_fd, 1)
            assert all(map(is_reset, clients))
    data = random.Random(2).randbytes(1 << 20)
    with server.connect(ECHO) as client:
        assert exchange(client, data) == data


def test_an_event_has_a_buffer_from_the_first_moment(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was frozen while its driver started learns its new CID before a client connects."""
    buffers = []
    with Machine(MachineConfig(programs.image("SocketEcho")), [vsock(5)]) as machine:
        transport = machine.transports[0]
        write = transport.write

        def written(offset: int, size: int, value: int) -> None:
            write(offset, size, value)
            if lib.virtio_mmio_runs(transport.native):
                available = machine.memory.read(transport.queues[_EVENT_QUEUE].native.avail, 4)
                buffers.append(int.from_bytes(available[2:], "little"))
                machine.end(0)

        monkeypatch.setattr(transport, "write", written)
        assert machine.run() == 0
    assert buffers == [4]
