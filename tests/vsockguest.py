"""A guest of the vsock device in plain Python: its driver and its applications.

The device is the real one, with its transport and rings in guest memory; the test
decides when it takes a turn.
"""

from __future__ import annotations

import socket

from guests import MIB

from pyvmm._kvm import lib
from pyvmm.host.tcp import BACKLOG_MAX, Publish, TcpHost
from pyvmm.host.unix import UnixHost
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing.registers import (
    DRIVER_FEATURES,
    DRIVER_FEATURES_SEL,
    QUEUE_DESC,
    QUEUE_DEVICE,
    QUEUE_DRIVER,
    QUEUE_NOTIFY,
    QUEUE_NUM,
    QUEUE_READY,
    QUEUE_SEL,
    STATUS,
    Registers,
)
from pyvmm.testing.virtqueue import AVAIL, DESC, USED, Driver
from pyvmm.testing.vsockpacket import HOST_CID, SIZE, Header
from pyvmm.virtio.device import VERSION_1
from pyvmm.virtio.vsock import Vsock

CID = 5
WINDOW = 64 << 10
RX, TX, EVENT = 0, 1, 2
QUEUE_SIZE = 256
_SIZES = {RX: QUEUE_SIZE, TX: QUEUE_SIZE, EVENT: 16}
_BUFFERS = {RX: (4 * MIB, 16 << 10), TX: (8 * MIB, 64 << 10)}  # where, and how far apart
EVENT_AT = 3 * MIB


class SteppedVsock(Vsock):
    """The device without its thread."""

    def resume(self) -> None: ...


class Guest:
    """The driver's and the guest applications' side: sends packets, collects those that come.

    Args:
        legacy: it does not know VERSION_1, as existing Toro drivers.
        unix: path of the device's unix socket.
        event_idx: it negotiates EVENT_IDX.
        guest_port: what the published port leads to.
        capture: descriptor of a file to which the device writes all packets; it closes it.

    Attributes:
        server: where the guest's connections to port 80 of CID 2 arrive.
        published: the host's TCP port that leads to the guest.
    """

    def __init__(
        self, legacy: bool = False, unix: str | None = None, event_idx: bool = False, guest_port: int = 80,
        capture: int | None = None,
    ) -> None:  # fmt: skip
        self._legacy = legacy
        self._event_idx = event_idx
        self.server = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG_MAX)
        self.server.settimeout(10)
        tcp = TcpHost([Publish(f"0:{guest_port}")], [(80, self.server.getsockname())], BACKLOG_MAX)
        self.published = tcp.ports[0][1]
        self.log: list[str] = []
        self.device = SteppedVsock(CID, self.log.append, tcp, UnixHost(unix, 16) if unix else None, capture)
        self.memory = GuestMemory(Ram(32 * MIB))
        self.registers = Registers(self.memory, self.device)
        self._chains: dict[int, list[tuple[int, int]]] = {}

    def close(self) -> None:
        self.device.close()
        self.server.close()
        self.registers.transport.close()
        self.memory.close()

    def start(self, buffers: int = 16) -> None:
        """DRIVER_OK, with receive buffers in the queue."""
        write = self.registers.write
        for status in (0, 1, 3):
            write(STATUS, status)
        features = (0 if self._legacy else VERSION_1) | (self._event_idx << 29)
        for half in (0, 1):
            write(DRIVER_FEATURES_SEL, half)
            write(DRIVER_FEATURES, features >> 32 * half & 0xFFFF_FFFF)
        write(STATUS, 11)
        self.queues: dict[int, Driver] = {}
        for index in _SIZES:
            self.set_up_queue(index)
        write(STATUS, 15)
        self.offer(buffers)

    def set_up_queue(self, index: int, buffers: int = 0) -> None:
        """Gives the device a queue, in place of one that it has; the receive queue with `buffers` in it."""
        write = self.registers.write
        write(QUEUE_SEL, index)
        write(QUEUE_READY, 0)
        queue = self.queues[index] = Driver(self.memory, _SIZES[index], self._event_idx, base=index * MIB)
        queue.set_interrupts(True)
        write(QUEUE_NUM, _SIZES[index])
        for register, at in ((QUEUE_DESC, DESC), (QUEUE_DRIVER, AVAIL), (QUEUE_DEVICE, USED)):
            write(register, queue.base + at)
        write(QUEUE_READY, 1)
        if buffers:
            self.offer(buffers)

    def turn(self, wait_ms: int = 0) -> None:
        """Lets the device do all that it can without waiting, or with one wait for something to happen."""
        while lib.vsock_turn(self.device.native, wait_ms) == 0:
            wait_ms = 0
        lib.vsock_turn(self.device.native, 0)  # what new sockets have already

    def _notify(self, index: int, before: int) -> None:
        if self.queues[index].must_notify(before):
            self.registers.write(QUEUE_NOTIFY, index)
        self.turn()

    def offer(self, count: int = 1, sizes: tuple[int, ...] = (SIZE, 4096)) -> None:
        """Gives the device receive buffers."""
        queue = self.queues[RX]
        start, stride = _BUFFERS[RX]
        before = queue.avail_idx
        for _ in range(count):
            at = start + queue.free[-1] * stride
            buffers = [(at + sum(sizes[:i]), size) for i, size in enumerate(sizes)]
            self._chains[queue.add([(*buffer, True) for buffer in buffers])] = buffers
        self._notify(RX, before)

    def send(self, op: int, key: tuple[int, int], payload: bytes = b"", notify: bool = True, **fields: int) -> None:
        """A packet from guest port key[0] to host port key[1]. The device need not have seen it yet."""
        fields = {"src_cid": CID, "dst_cid": HOST_CID, "kind": 1, "buf_alloc": WINDOW, "length": len(payload)} | fields
        self.send_raw([Header(src_port=key[0], dst_port=key[1], op=op, **fields).encode(), payload], notify)

    def send_raw(self, parts: list[bytes], notify: bool = True) -> None:
        """A chain of these buffers; those that are empty are left out. The device need not have seen it yet."""
        queue = self.queues[TX]
        queue.take()
        start, stride = _BUFFERS[TX]
        before, at = queue.avail_idx, start + queue.free[-1] * stride
        buffers = []
        for part in filter(None, parts):
            self.memory.write(at, part)
            buffers.append((at, len(part), False))
            at += len(part)
        queue.add(buffers)
        if notify:
            self._notify(TX, before)

    def packets(self) -> list[tuple[Header, bytes]]:
        """What has come since the last call; as many new buffers are offered."""
        found = []
        came = self.queues[RX].take()
        for head, written in came:
            data = b"".join(self.memory.read(*buffer) for buffer in self._chains[head])[:written]
            header = Header.decode(data)
            assert (header.src_cid, header.dst_cid, header.kind) == (HOST_CID, CID, 1)
            assert len(data) == SIZE + header.length
            found.append((header, data[SIZE:]))
        if came:
            self.offer(len(came))
        return found

    def expect(self, op: int) -> Header:
        """Waits for one packet, which must be this one."""
        for _ in range(100):
            if found := self.packets():
                assert [header.op for header, _ in found] == [op]
                return found[0][0]
            self.turn(100)
        raise AssertionError(f"no packet with op {op}")

    def expect_data(self, size: int) -> bytes:
        """Waits for so much payload, and for nothing else."""
        data = b""
        while len(data) < size:
            found = self.packets()
            assert all(header.op == 5 for header, _ in found)
            data += b"".join(payload for _, payload in found)
            if not found:
                self.turn(100)
        return data

    def streams(self) -> int:
        """How many connections the device has."""
        return int(self.device.native.stream_count)

    def client(self) -> socket.socket:
        """A client of the published port."""
        made = socket.create_connection(("127.0.0.1", self.published))
        made.settimeout(10)
        return made

    def accept(self) -> socket.socket:
        """The host's end of a connection that the guest has asked for."""
        made = self.server.accept()[0]
        made.settimeout(10)
        return made
