"""A guest of the vsock device in plain Python: its driver and its applications."""

from __future__ import annotations

import socket
from collections.abc import Callable

from pyvmm.eventloop import EventLoop
from pyvmm.virtio.vsock import Vsock
from pyvmm.virtio.vsock_packet import HOST_CID, SIZE, Header

CID = 5
WINDOW = 64 << 10


class FakeChain:
    """Buffers of a guest."""

    def __init__(self, readable: list[bytes], writable: list[int]) -> None:
        self.head = 0
        self.readable = [memoryview(data) for data in readable]
        self.memory = [bytearray(size) for size in writable]
        self.writable = [memoryview(memory) for memory in self.memory]


class FakeQueue:
    """A virtqueue whose driver is the test."""

    def __init__(self) -> None:
        self.available: list[FakeChain] = []
        self.used: list[tuple[FakeChain, int]] = []

    def pop(self) -> FakeChain | None:
        return self.available.pop(0) if self.available else None

    def push(self, chain: FakeChain, written: int) -> None:
        self.used.append((chain, written))

    def watch(self) -> bool:
        return bool(self.available)

    def must_interrupt(self) -> bool:
        return False


class FakeHost:
    """Gives the device what `connect` returns for a port."""

    def __init__(self, connect: Callable[[int], socket.socket | None]) -> None:
        self.connect = connect

    def attach(self, loop: EventLoop, accept: Callable[[socket.socket, int], None]) -> None: ...

    def close(self) -> None: ...


class Guest:
    """The driver's and the guest applications' side: sends packets, collects those that come."""

    def __init__(self, connect: Callable[[int], socket.socket | None]) -> None:
        self.loop = EventLoop()
        self.device = Vsock(CID, FakeHost(connect))
        self.device.attach(self.loop)
        self.rx, self.tx = FakeQueue(), FakeQueue()

    def start(self, buffers: int = 16) -> None:
        """DRIVER_OK, with receive buffers in the queue."""
        queues = [self.rx, self.tx, FakeQueue()]
        self.device.activate(self, queues, 0)  # type: ignore[arg-type]
        self.offer(buffers)

    def interrupt(self) -> None: ...

    def needs_reset(self, reason: str) -> None: ...

    def offer(self, count: int = 1, sizes: tuple[int, ...] = (SIZE, 4096)) -> None:
        """Gives the device receive buffers."""
        self.rx.available += [FakeChain([], list(sizes)) for _ in range(count)]
        self.device.kicked(0)

    def send(self, op: int, key: tuple[int, int], payload: bytes = b"", **fields: int) -> None:
        """A packet from guest port key[0] to host port key[1]."""
        fields = {"src_cid": CID, "dst_cid": HOST_CID, "kind": 1, "buf_alloc": WINDOW, "length": len(payload)} | fields
        header = Header(src_port=key[0], dst_port=key[1], op=op, **fields)
        self.tx.available.append(FakeChain([header.encode(), payload] if payload else [header.encode()], []))
        self.device.kicked(1)

    def turn(self) -> None:
        """One round of the event loop, without waiting."""
        for fd, events in self.loop._epoll.poll(0):
            if fd in self.loop._callbacks:
                self.loop._callbacks[fd](events)

    def packets(self) -> list[tuple[Header, bytes]]:
        """What has come since the last call; as many new buffers are offered."""
        came, self.rx.used = self.rx.used, []
        found = []
        for chain, written in came:
            data = b"".join(chain.memory)[:written]
            header = Header.decode(data)
            assert (header.src_cid, header.dst_cid, header.kind) == (HOST_CID, CID, 1)
            assert len(data) == SIZE + header.length
            found.append((header, data[SIZE:]))
        self.offer(len(came))
        return found

    def expect(self, op: int) -> Header:
        """Waits for one packet, which must be this one."""
        for _ in range(100):
            if found := self.packets():
                assert [header.op for header, _ in found] == [op]
                return found[0][0]
            self.turn()
        raise AssertionError(f"no packet with op {op}")
