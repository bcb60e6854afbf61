"""virtio-vsock (virtio 1.2, section 5.10): streams between guest ports and host sockets.

`native/vsock/` moves the packets, in a thread of its own. Python tells it beforehand
which sockets lead to the guest and where the guest may connect to, and logs what it
reports.
"""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError, PyvmmError
from pyvmm.virtio.device import VERSION_1, Device
from pyvmm.virtio.queue import ERRORS, QueueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from pyvmm.eventloop import Loop
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import SplitQueue

    class Tcp(Protocol):
        """The host's TCP (see `pyvmm.host.tcp`).

        Attributes:
            listeners: descriptors of listening sockets, and the guest's port that each leads to.
            ports: (address, port, guest's port) of each.
            publishes_all: each port at which the guest listens is to be published, by `publish`.
            allowed: by port of CID 2 (None: all others), the `struct sockaddr`s that it leads to,
                to be tried in order; port 0 there stands for the same port.
        """

        listeners: list[tuple[int, int]]
        ports: list[tuple[str, int, int]]
        publishes_all: bool
        allowed: dict[int | None, list[bytes]]

        def publish(self, guest_port: int) -> list[int]:
            """Publishes a port of the guest; returns the descriptors of new listeners."""

        def close(self) -> None:
            """Closes the sockets."""

    class Unix(Protocol):
        """A listening unix socket (see `pyvmm.host.unix`).

        Attributes:
            fd: its descriptor; clients write `CONNECT PORT`.
            path: its path; port P of CID 2 leads to `path`_P.
        """

        fd: int
        path: bytes

        def close(self) -> None:
            """Closes the socket."""


_EVENT_QUEUE = 2
_TCP_PORT_MAX = 0xFFFF
_TRANSPORT_RESET = bytes(4)  # struct virtio_vsock_event: VIRTIO_VSOCK_EVENT_TRANSPORT_RESET


class Vsock(Device):
    """The device.

    Args:
        cid: the guest's context id, 3 to 2^32 - 2.
        log: called with a line about each connection that is refused.
        tcp, unix: the host's ends; closed with the device.
        capture: descriptor of an empty regular file, to which all packets are written (`native/vsock/capture.c`);
            closed with the device. None: they are not.

    Raises:
        HostError: the host has no descriptors, or no memory, for it.
    """

    #: Seconds in which clients must take what the guest has sent before its end.
    patience = 5.0
    name = "vsock"
    device_id = 19
    queue_sizes = (256, 256, 16)
    own_thread = True
    serves = True

    def __init__(
        self, cid: int, log: Callable[[str], None], tcp: Tcp, unix: Unix | None = None, capture: int | None = None
    ) -> None:
        self.config = cid.to_bytes(8, "little")
        self.ports = tcp.ports
        self.told_of_ports = tcp.publishes_all
        self._tcp = tcp
        self._log = log
        self._hosts = [host for host in (tcp, unix) if host]
        self._capture = capture
        self._transport: Transport | None = None
        self._queues: list[SplitQueue] = []
        self._is_thawed = False
        self.native = ffi.new("struct vsock *")
        if lib.vsock_init(self.native, cid) < 0 or (
            capture is not None and lib.vsock_capture(self.native, capture) < 0
        ):
            errno = ffi.errno
            self._close_hosts()
            raise HostError("vsock", errno)
        for fd, port in tcp.listeners:
            lib.vsock_listen(self.native, fd, port)
        for wanted, addresses in tcp.allowed.items():
            for address in addresses:
                lib.vsock_allow(self.native, lib.VSOCK_ANY_PORT if wanted is None else wanted, address, len(address))
        if unix:
            lib.vsock_listen_unix(self.native, unix.fd, unix.path)

    def confine(self) -> None:
        """Makes the thread, confined."""
        error = lib.vsock_confine(self.native)
        if error:
            raise HostError("thread of vsock", error)

    def attach(self, loop: Loop) -> None:
        """Logs from `loop` what the thread reports."""
        loop.add(self.native.note_fd, self.noted)

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """Starts the thread. Clients have waited in the sockets' backlogs until now."""
        self._transport, self._queues = transport, queues
        lib.vsock_activate(self.native, transport.native, not features & VERSION_1)
        if self._is_thawed:  # before a client can connect anew
            self._is_thawed = False
            self._announce_reset(transport)
        self.resume()

    def pause(self) -> None:
        """Ends the thread; connections persist."""
        lib.vsock_pause(self.native)

    def resume(self) -> None:
        """Starts the thread again.

        Raises:
            HostError: the host cannot provide the thread.
        """
        error = lib.vsock_start(self.native)
        if error:
            raise HostError("thread of vsock", error)

    def reset(self) -> None:
        """Ends all connections. The thread goes on until what the guest has sent is passed on."""
        self._queues = []
        lib.vsock_reset(self.native)
        self._transport = None
        try:
            self.resume()
        except HostError:
            lib.vsock_end_streams(self.native)

    def state(self) -> bytes:
        """The next port of a host's end: a late packet for an old one must not meet a new one."""
        return int(self.native.next_port).to_bytes(4, "little")

    def restore(self, state: bytes) -> None:
        """Goes on with that port. The driver's connections are gone."""
        self._is_thawed = True
        port = int.from_bytes(state[:4], "little")
        if lib.VSOCK_FIRST_PORT <= port <= lib.VSOCK_LAST_PORT:
            self.native.next_port = port

    def reset_transport(self) -> None:
        """Resets all connections, and tells the driver that they are gone (5.10.6.7).

        Raises:
            HostError: the host cannot provide the thread.
        """
        if self._transport and self._queues:
            self.pause()
            lib.vsock_end_streams(self.native)
            self._announce_reset(self._transport)
            self.resume()

    def _announce_reset(self, transport: Transport) -> None:
        """The driver then reads its CID again, and goes on with the same queues.

        One that has offered no buffer for events learns it by a reset from each connection that
        it uses.
        """
        queue = self._queues[_EVENT_QUEUE]
        try:
            chain = queue.pop()
        except QueueError as error:
            transport.needs_reset(f"queue {_EVENT_QUEUE}: {error}")
            return
        if chain:
            event = _TRANSPORT_RESET
            for view in chain.writable:
                part, event = event[: len(view)], event[len(view) :]
                view[: len(part)] = part
            queue.push(chain, len(_TRANSPORT_RESET) - len(event))
            if queue.must_interrupt():
                transport.interrupt()

    def listens(self, port: int) -> None:
        """Publishes the port; a failure is logged."""
        if not 0 < port <= _TCP_PORT_MAX:
            self._log(f"port {port} of the guest is not published: it is none of TCP's")
            return
        try:
            for fd in self._tcp.publish(port):
                lib.vsock_listen(self.native, fd, port)
        except PyvmmError as error:
            self._log(str(error))

    def counts(self) -> dict[str, int]:
        """Connections now and in all, resets, uses of all of the guest's credit, and bytes in each direction."""
        native, counts = self.native, self.native.counts
        return {
            "streams": native.stream_count,
            "connections": counts.connections,
            "resets": counts.resets,
            "stalls": counts.stalls,
            "to_guest": counts.to_guest,
            "from_guest": counts.from_guest,
        }

    def kicked(self, index: int) -> None:
        """Does nothing: the thread is notified itself."""

    def noted(self) -> None:
        """Logs what the thread has reported."""
        os.read(self.native.note_fd, 8)
        note = ffi.new("struct vsock_note *")
        while lib.vsock_take_note(self.native, note):
            if note.kind == lib.VSOCK_NOTE_FORBIDDEN:
                self._log(f"the guest may not connect to port {note.value}; allow the port to let it")
            elif note.kind == lib.VSOCK_NOTE_BROKEN:
                assert self._transport  # a reset drops such a note
                reason = ERRORS.get(note.error, "a receive buffer has no room for a header (5.10.6.1)")
                self._transport.needs_reset(f"queue {note.value}: {reason}")
            elif note.kind == lib.VSOCK_NOTE_CAPTURE:
                self._log(f"packets are captured no more: {os.strerror(note.value)}")
            elif note.value:
                self._log(f"a connection is refused: {os.strerror(note.value)}")
            else:
                self._log(f"a connection is refused: the guest has {lib.VSOCK_STREAMS} already")

    def finish(self, loop: Loop) -> None:
        """Passes on what the guest has sent; waits for slow clients for `patience` seconds at most."""
        if self._transport:
            self.reset()
        if not self.native.stream_count:
            return
        from time import monotonic

        from pyvmm.eventloop import LoopStopped

        end = monotonic() + self.patience
        while self.native.stream_count and (left := end - monotonic()) > 0:
            try:
                loop.wait(self.native.note_fd, False, left)
            except LoopStopped:
                if not lib.wait_readable(self.native.note_fd, 0):  # but a signal, for example
                    break
            if lib.wait_readable(self.native.note_fd, 0):
                self.noted()
        if count := lib.vsock_end_streams(self.native):
            reason = "because their clients did not take in time what the guest had sent"
            self._log(f"connections that are reset, {reason}: {count}")

    def close(self) -> None:
        """Ends all connections and stops listening."""
        lib.vsock_close(self.native)
        self._close_hosts()

    def _close_hosts(self) -> None:
        if self._capture is not None:
            os.close(self._capture)
            self._capture = None
        while self._hosts:
            self._hosts.pop().close()
