"""Clients on the event loop: bounded, whatever they do or leave undone."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest
from guests import descriptors_left, open_fds

from pyvmm.control.connection import CLIENTS_MAX, UNSENT_MAX, Connection, Listener
from pyvmm.eventloop import EventLoop


class Server:
    """Echoes what it gets, up to a `.`, after which it ends the connection."""

    def __init__(self, path: str) -> None:
        self.loop = EventLoop()
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        made.bind(path)
        made.listen(64)
        self.path = path
        self.listener = Listener(made, self._accepted)
        self.listener.attach(self.loop)
        self.fds: list[int] = []
        self.gone = 0

    def _accepted(self, client: socket.socket, gone: Callable[[Connection], None]) -> Connection:
        def received(data: bytes, fds: list[int]) -> None:
            self.fds += fds
            connection.send(data)
            if data.endswith(b"."):
                connection.finish()

        def ended(connection: Connection) -> None:
            self.gone += 1
            gone(connection)

        connection = Connection(client, self.loop, received, ended)
        return connection

    def turn(self) -> None:
        """Serves what there is."""
        ready = [(fd, events, self.loop._callbacks.get(fd)) for fd, events in self.loop._epoll.poll(0)]
        for _, events, callback in ready:
            if callback:
                callback(events)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(self.path)
        self.turn()
        return client


@pytest.fixture
def server(tmp_path: object) -> Iterator[Server]:
    before = open_fds()
    made = Server(f"{tmp_path}/socket")
    yield made
    made.listener.close()
    made.listener.close()
    made.loop.close()
    assert open_fds() == before


def test_data_and_descriptors_come_and_go(server: Server) -> None:
    with server.connect() as client, open("/dev/null") as null:
        socket.send_fds(client, [b"hello."], [null.fileno()])
        server.turn()
        assert client.recv(100) == b"hello."
        assert client.recv(100) == b""
    (fd,) = server.fds
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert (server.gone, server.listener.clients) == (1, [])


def test_a_client_that_does_not_read_is_given_up(server: Server) -> None:
    with server.connect() as client:
        (connection,) = server.listener.clients
        connection.send(bytes(UNSENT_MAX // 2))
        assert connection.is_open
        connection.send(bytes(UNSENT_MAX))
        assert not connection.is_open
        assert client.recv(1)
    assert server.gone == 1


def test_all_of_it_comes_when_the_client_reads(server: Server) -> None:
    data = os.urandom(UNSENT_MAX - 1)
    with server.connect() as client:
        (connection,) = server.listener.clients
        connection.send(data)
        connection.finish()
        got = b""
        while part := client.recv(1 << 16):
            got += part
            server.turn()
        assert got == data


def test_clients_beyond_the_most_are_turned_away(server: Server) -> None:
    clients = [server.connect() for _ in range(CLIENTS_MAX + 1)]
    assert clients[-1].recv(1) == b""
    assert len(server.listener.clients) == CLIENTS_MAX
    for client in clients:
        client.close()
    server.turn()
    assert server.listener.clients == []


def test_without_descriptors_a_client_is_turned_away(server: Server) -> None:
    client = socket.socket(socket.AF_UNIX)
    client.connect(server.path)
    with descriptors_left(0):
        server.turn()
    assert client.recv(1) == b""
    client.close()
    with server.connect() as after:
        after.sendall(b"x")
        server.turn()
        assert after.recv(1) == b"x"


def test_a_paused_client_is_not_read(server: Server) -> None:
    with server.connect() as client:
        (connection,) = server.listener.clients
        connection.pause(True)
        client.sendall(b"x")
        server.turn()
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        connection.pause(False)
        server.turn()
        assert client.recv(1) == b"x"


def test_a_client_that_cannot_be_served_is_turned_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Connection:
        raise ImportError("no descriptor")

    monkeypatch.setattr(server.listener, "_accepted", fail)
    with server.connect() as client:
        assert client.recv(1) == b""
    assert server.listener.clients == []
