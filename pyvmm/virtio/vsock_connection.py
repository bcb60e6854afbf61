"""One stream between a port of the guest and a socket of the host.

Credit (virtio 1.2, section 5.10.6.3), both ways alike: a sender knows how large
the receiver's buffer is (`buf_alloc`) and how much has been taken out of it since
the beginning (`fwd_cnt`, modulo 2^32), so at most

    buf_alloc - (sent - fwd_cnt)

bytes may be under way. Towards the guest that bounds what is read from the
socket; from the guest it bounds what must be kept here when the socket is slow,
and a guest that sends more is cut off.

Each direction ends by itself: end of file on the socket becomes SHUTDOWN(SEND)
to the guest, that of the guest becomes shutdown(2) on the socket; when both have
ended, RST.
"""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond

from pyvmm.virtio.vsock_packet import SHUTDOWN_RECEIVE, SHUTDOWN_SEND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

#: What this side's `buf_alloc` says: bytes kept for a socket that is slow.
BUFFER_SIZE = 256 << 10
#: The guest hears of its credit when this much has become free.
_CREDIT_STEP = BUFFER_SIZE // 4
_WRAP = 1 << 32

#: (guest's port, host's port)
Key = tuple[int, int]


class CreditError(Exception):
    """The guest sent more than it had credit for."""


class Connection:
    """The stream's state; `vsock.Vsock` moves its packets.

    Args:
        key: its ports.
        sock: the host's end, non-blocking; closed by `close`.

    Attributes:
        established: both sides know of it.
        host_ended: the socket has given its end of file, or nobody wants more.
        guest_ended: the guest sends no more.
    """

    def __init__(self, key: Key, sock: socket) -> None:
        self.key = key
        self.sock = sock
        self.fd = sock.fileno()
        self.established = False
        self.host_ended = False
        self.guest_ended = False
        self._told_end = False
        self._unsent = bytearray()  # from the guest, for the socket
        self._received = self._forwarded = self._told = 0
        self._sent = self._peer_taken = self._peer_buffer = 0

    # ---- guest to host ------------------------------------------------------

    def receive(self, views: list[memoryview]) -> None:
        """Takes payload from the guest: to the socket as far as it goes, the rest is kept.

        Raises:
            CreditError: it is more than there was credit for.
            OSError: the socket failed.
        """
        size = sum(map(len, views))
        if size > BUFFER_SIZE - (self._received - self._forwarded):
            raise CreditError
        self._received += size
        written = 0 if self._unsent else self._write(views)
        for view in views:
            if written >= len(view):
                written -= len(view)
            else:
                self._unsent += view[written:]
                written = 0

    def flush(self) -> None:
        """Writes what is kept, and ends the direction when that is all.

        Raises:
            OSError: the socket failed.
        """
        if self._unsent:
            with memoryview(self._unsent) as view:
                written = self._write([view])
            del self._unsent[:written]
        if self.guest_ended and not self._unsent and not self._told_end:
            self._told_end = True
            self.sock.shutdown(1)  # SHUT_WR

    def _write(self, views: list[memoryview]) -> int:
        try:
            written = os.writev(self.fd, views)
        except BlockingIOError:
            return 0
        self._forwarded += written
        return written

    @property
    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return len(self._unsent)

    def credit(self) -> dict[str, int]:
        """The header fields that tell the guest of its credit; it counts as told."""
        self._told = self._forwarded
        return {"buf_alloc": BUFFER_SIZE, "fwd_cnt": self._forwarded % _WRAP}

    def owes_credit(self) -> bool:
        """Whether so much has become free that the guest should hear of it."""
        return self._forwarded - self._told >= _CREDIT_STEP

    # ---- host to guest ------------------------------------------------------

    def peer_credit(self, buf_alloc: int, fwd_cnt: int) -> None:
        """Takes the credit of any header that the guest sends."""
        self._peer_buffer = buf_alloc
        self._peer_taken = fwd_cnt

    def room(self) -> int:
        """Bytes that the guest can take now."""
        under_way = (self._sent - self._peer_taken) % _WRAP
        if under_way >= _WRAP // 2:  # it says to have taken more than there was
            under_way = 0
        return max(self._peer_buffer - under_way, 0)

    def read(self, views: list[memoryview]) -> int:
        """Reads from the socket straight into the guest's buffers.

        Returns:
            How many bytes it was; 0 is the end of the file.

        Raises:
            BlockingIOError: there are none.
            OSError: the socket failed.
        """
        count = os.readv(self.fd, views)
        self._sent += count
        return count

    # ---- the end --------------------------------------------------------------

    def guest_shuts_down(self, flags: int) -> None:
        """What a SHUTDOWN of the guest says; `flush` acts on it."""
        if flags & SHUTDOWN_RECEIVE:
            self.host_ended = True
        if flags & SHUTDOWN_SEND:
            self.guest_ended = True

    def is_over(self) -> bool:
        """Both directions have ended and everything has been passed on."""
        return self.host_ended and self.guest_ended and not self._unsent

    def close(self, abort: bool = False) -> None:
        """Closes the socket.

        Args:
            abort: the peer gets a reset instead of an end of file.
        """
        if abort:
            self.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SOL_SOCKET, SO_LINGER: on, 0 s
        self.sock.close()
