"""virtio-vsock (virtio 1.2, section 5.10): streams between guest ports and host sockets.

    guest          TX queue ──► packets ──► Connection ──► socket
                   RX queue ◄── packets ◄── Connection ◄── socket

Payload goes between the guest's buffers and the socket by writev and readv,
without a copy. Nothing is queued without bound: a socket that is slow is paid
for by the guest's credit, a guest that takes no packets stops the reading of
sockets, and when too many answers wait for it, of its own packets as well.
"""

from __future__ import annotations

from pyvmm.eventloop import FAILED, READABLE, WRITABLE
from pyvmm.virtio.device import Device
from pyvmm.virtio.queue import QueueError
from pyvmm.virtio.vsock_connection import Connection, CreditError
from pyvmm.virtio.vsock_packet import (
    HOST_CID,
    OP_CREDIT_REQUEST,
    OP_CREDIT_UPDATE,
    OP_REQUEST,
    OP_RESPONSE,
    OP_RST,
    OP_RW,
    OP_SHUTDOWN,
    SHUTDOWN_SEND,
    SIZE,
    TYPE_STREAM,
    Header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Protocol

    from pyvmm.eventloop import EventLoop
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import Chain, SplitQueue
    from pyvmm.virtio.vsock_connection import Key

    class Host(Protocol):
        """The host's side of connections."""

        def attach(self, loop: EventLoop, accept: Callable[[socket, int], None]) -> None:
            """Calls `accept` with each socket, non-blocking, that wants a port of the guest."""

        def connect(self, port: int) -> socket | None:
            """A non-blocking socket that is connecting to a port of CID 2, or None to refuse."""

        def close(self) -> None:
            """Nothing more comes."""


_RX, _TX, _EVENT = range(3)
_CONNECTIONS_MAX = 4096
_ANSWERS_MAX = 256
_FIRST_HOST_PORT, _LAST_HOST_PORT = 1 << 30, (1 << 31) - 1
_SO_ERROR = (1, 4)  # SOL_SOCKET, SO_ERROR


class Vsock(Device):
    """The device.

    Args:
        cid: the guest's context id, 3 to 2^32 - 2.
        host: where connections come from and go to; closed with the device.
    """

    name = "vsock"
    device_id = 19
    queue_sizes = (256, 256, 16)

    def __init__(self, cid: int, host: Host) -> None:
        self.cid = cid
        self.config = cid.to_bytes(8, "little")
        self._host = host
        self._connections: dict[Key, Connection] = {}
        self._answers: list[Header] = []
        self._ready: dict[Key, Connection] = {}  # sockets that have something to read
        self._spare: Chain | None = None
        self._next_port = _FIRST_HOST_PORT
        self._queues: list[SplitQueue] = []
        self._waiting: list[tuple[socket, int]] = []

    def attach(self, loop: EventLoop) -> None:
        """Serves sockets from `loop`."""
        self._loop = loop
        self._host.attach(loop, self.accept)

    # ---- what the transport calls ---------------------------------------------

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """The driver is ready: connections that came before it are made now."""
        self._transport = transport
        self._queues = queues
        waiting, self._waiting = self._waiting, []
        for sock, port in waiting:
            self.accept(sock, port)

    def reset(self) -> None:
        """All connections end with the driver."""
        self._queues = []
        self._spare = None
        self._answers.clear()
        for connection in list(self._connections.values()):
            self._drop(connection, abort=True)

    def kicked(self, index: int) -> None:
        """Serves the guest's packets, or goes on with those for it."""
        if index == _TX:
            self._take_packets()
        if index != _EVENT:
            self._give_packets()

    # ---- connections ------------------------------------------------------------

    def accept(self, sock: socket, port: int) -> None:
        """Connects a host's socket, non-blocking, to a port of the guest.

        Before the driver is ready it waits; with too many connections it is
        refused.
        """
        if len(self._connections) + len(self._waiting) >= _CONNECTIONS_MAX:
            sock.close()
        elif not self._queues:
            self._waiting.append((sock, port))
        else:
            connection = self._add((port, self._free_port(port)), sock)
            self._answer(connection.key, OP_REQUEST, **connection.credit())
            self._give_packets()

    def _free_port(self, guest_port: int) -> int:
        while True:
            port = self._next_port
            self._next_port = port + 1 if port < _LAST_HOST_PORT else _FIRST_HOST_PORT
            if (guest_port, port) not in self._connections:
                return port

    def _add(self, key: Key, sock: socket) -> Connection:
        connection = self._connections[key] = Connection(key, sock)
        self._loop.watch(connection.fd, 0, lambda events: self._socket_event(connection, events))
        return connection

    def _drop(self, connection: Connection, abort: bool) -> None:
        self._loop.remove(connection.fd)
        self._connections.pop(connection.key, None)
        self._ready.pop(connection.key, None)
        connection.close(abort)

    def _fail(self, connection: Connection) -> None:
        """Ends a connection at once, on both sides."""
        self._drop(connection, abort=True)
        self._answer(connection.key, OP_RST)

    def _watch(self, connection: Connection) -> None:
        """Asks the loop for just what can be done about the socket now."""
        events = 0
        connecting = not connection.established and connection.key[1] < _FIRST_HOST_PORT
        if connection.unsent or connecting:
            events |= WRITABLE
        if (
            connection.established
            and not connection.host_ended
            and connection.room()
            and connection.key not in self._ready
        ):
            events |= READABLE
        self._loop.change(connection.fd, events)

    def _socket_event(self, connection: Connection, events: int) -> None:
        try:
            if not connection.established:
                self._connected(connection)
            else:
                if events & WRITABLE:
                    self._flush(connection)
                if events & (READABLE | FAILED):
                    self._ready[connection.key] = connection
        except OSError:
            self._fail(connection)
        if connection.key in self._connections:
            self._watch(connection)
        self._give_packets()

    def _connected(self, connection: Connection) -> None:
        """A connection that the guest asked for is made, or refused by its host."""
        if connection.sock.getsockopt(*_SO_ERROR):
            self._fail(connection)
        else:
            connection.established = True
            self._answer(connection.key, OP_RESPONSE, **connection.credit())

    def _flush(self, connection: Connection) -> None:
        connection.flush()
        if connection.is_over():
            self._drop(connection, abort=False)
            self._answer(connection.key, OP_RST)
        elif connection.owes_credit():
            self._answer(connection.key, OP_CREDIT_UPDATE, **connection.credit())

    # ---- from the guest -----------------------------------------------------------

    def _take_packets(self) -> None:
        queue = self._queues[_TX]
        while len(self._answers) < _ANSWERS_MAX:
            chain = queue.pop()
            if not chain:
                if not queue.watch():
                    break
                continue
            data, payload = _split(chain.readable)
            if data is not None:
                self._packet(Header.decode(data), payload)
            queue.push(chain, 0)
        if queue.must_interrupt():
            self._transport.interrupt()

    def _packet(self, header: Header, payload: list[memoryview]) -> None:
        if header.src_cid != self.cid or header.dst_cid != HOST_CID:
            return
        key = header.src_port, header.dst_port
        connection = self._connections.get(key)
        if header.kind != TYPE_STREAM or not connection:
            if header.op == OP_REQUEST and header.kind == TYPE_STREAM:
                self._request(header)
            elif header.op != OP_RST:
                self._answer(key, OP_RST)
            return
        connection.peer_credit(header.buf_alloc, header.fwd_cnt)
        try:
            self._on_connection(connection, header, payload)
        except (OSError, CreditError):
            self._fail(connection)
        if key in self._connections:
            self._watch(connection)

    def _request(self, header: Header) -> None:
        """The guest connects to a port of the host."""
        key = header.src_port, header.dst_port
        sock = None
        if len(self._connections) < _CONNECTIONS_MAX and header.dst_port < _FIRST_HOST_PORT:
            sock = self._host.connect(header.dst_port)
        if not sock:
            self._answer(key, OP_RST)
            return
        connection = self._add(key, sock)
        connection.peer_credit(header.buf_alloc, header.fwd_cnt)
        self._watch(connection)

    def _on_connection(self, connection: Connection, header: Header, payload: list[memoryview]) -> None:
        op = header.op
        if op == OP_RST:
            self._drop(connection, abort=not connection.guest_ended)
        elif op == OP_RESPONSE and not connection.established and connection.key[1] >= _FIRST_HOST_PORT:
            connection.established = True
        elif not connection.established:
            self._fail(connection)
        elif op == OP_RW:
            if sum(map(len, payload)) < header.length:
                raise CreditError
            connection.receive(_limit(payload, header.length))
            if connection.owes_credit():
                self._answer(connection.key, OP_CREDIT_UPDATE, **connection.credit())
        elif op == OP_SHUTDOWN:
            connection.guest_shuts_down(header.flags)
            self._flush(connection)
        elif op == OP_CREDIT_REQUEST:
            self._answer(connection.key, OP_CREDIT_UPDATE, **connection.credit())
        elif op != OP_CREDIT_UPDATE:
            self._fail(connection)

    # ---- to the guest ---------------------------------------------------------------

    def _answer(self, key: Key, op: int, **fields: int) -> None:
        self._answers.append(self._header(key, op, **fields))

    def _header(self, key: Key, op: int, **fields: int) -> Header:
        return Header(
            src_cid=HOST_CID, dst_cid=self.cid, src_port=key[1], dst_port=key[0], kind=TYPE_STREAM, op=op, **fields
        )

    def _give_packets(self) -> None:
        """Fills the guest's receive buffers as long as there are any, and something for them."""
        if not self._queues:
            return
        queue = self._queues[_RX]
        while self._answers or self._ready:
            chain = self._spare or queue.pop()
            self._spare = None
            if chain:
                self._give(queue, chain)
            elif not queue.watch():
                break
        if queue.must_interrupt():
            self._transport.interrupt()

    def _give(self, queue: SplitQueue, chain: Chain) -> None:
        room, payload = _split(chain.writable)
        if room is None:
            raise QueueError("a receive buffer has no room for a header (5.10.6.1)")
        if self._answers:
            full = len(self._answers) == _ANSWERS_MAX
            _fill(chain.writable, self._answers.pop(0).encode())
            queue.push(chain, SIZE)
            if full:
                self._take_packets()
            return
        key, connection = next(iter(self._ready.items()))
        del self._ready[key]
        header = self._read(connection, payload)
        if header:
            header.buf_alloc, header.fwd_cnt = connection.credit().values()
            _fill(chain.writable, header.encode())
            queue.push(chain, SIZE + header.length)
        else:
            self._spare = chain
        if key in self._connections:
            self._watch(connection)

    def _read(self, connection: Connection, payload: list[memoryview]) -> Header | None:
        """The packet for what the socket has; None when it has nothing that may be sent."""
        if connection.host_ended or not connection.room():
            return None
        try:
            count = connection.read(_limit(payload, connection.room()))
        except BlockingIOError:
            return None
        except OSError:
            self._drop(connection, abort=False)
            return self._header(connection.key, OP_RST)
        if count:
            return self._header(connection.key, OP_RW, length=count)
        connection.host_ended = True
        if connection.is_over():
            self._drop(connection, abort=False)
            return self._header(connection.key, OP_RST)
        return self._header(connection.key, OP_SHUTDOWN, flags=SHUTDOWN_SEND)

    def close(self) -> None:
        """Ends all connections, and listens for no more."""
        self.reset()
        self._host.close()
        while self._waiting:
            self._waiting.pop()[0].close()


def _split(views: list[memoryview]) -> tuple[bytes | None, list[memoryview]]:
    """A copy of the first SIZE bytes, or None if there are fewer, and views of the rest."""
    head, rest = b"", []
    for view in views:
        part = bytes(view[: SIZE - len(head)])
        head += part
        if len(part) < len(view):
            rest.append(view[len(part) :])
    return (head if len(head) == SIZE else None), rest


def _limit(views: list[memoryview], size: int) -> list[memoryview]:
    """The views as far as `size` bytes."""
    limited = []
    for view in views:
        if size:
            limited.append(view[:size])
            size -= len(limited[-1])
    return limited


def _fill(views: list[memoryview], data: bytes) -> None:
    """Writes `data` to the beginning of the views."""
    for view in views:
        part = data[: len(view)]
        view[: len(part)] = part
        data = data[len(part) :]
