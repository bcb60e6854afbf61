"""A unix socket that carries messages and descriptors, with time limits for both directions."""

from __future__ import annotations

import _socket  # `socket` takes 20 ms to import
import posix as os
from time import monotonic

from vhost_user.messages import (
    FDS_MAX,
    HEADER,
    NEED_REPLY,
    PAYLOAD_MAX,
    REPLY,
    U64,
    VERSION,
    VERSION_MASK,
    Kind,
    VhostUserError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from vhost_user.messages import Payload

    P = TypeVar("P", bound=Payload)

_FD_SIZE = 4
#: The peer may share the open file description and clear its O_NONBLOCK.
_NO_WAIT = _socket.MSG_DONTWAIT
_FLAGS = VERSION_MASK | REPLY | NEED_REPLY


class Message:
    """A received message. The receiver owns its descriptors: `take_fd` or `close` them.

    Attributes:
        kind: the request, or the request that is answered.
        flags: the header's flags.
        body: the payload as bytes.
        fds: descriptors.
    """

    def __init__(self, kind: Kind, flags: int, body: bytes, fds: list[int]) -> None:
        self.kind, self.flags, self.body, self.fds = kind, flags, body, fds

    def __enter__(self) -> Message:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def payload(self, expected: type[P]) -> P:
        """Decodes the payload.

        Raises:
            VhostUserError: it is malformed.
        """
        try:
            return expected.decode(self.body)
        except VhostUserError as error:
            raise VhostUserError(f"{self.kind}: {error}") from None

    def take_fd(self) -> int | None:
        """Removes and returns the first descriptor; the caller owns it."""
        return self.fds.pop(0) if self.fds else None

    def close(self) -> None:
        """Closes the descriptors that were not taken."""
        while self.fds:
            os.close(self.fds.pop())


class Deadline:
    """The time by which a peer must have done all that is asked of it, in however many messages.

    Args:
        seconds: from now.
        wait: called before each system call that may block, with a descriptor, whether to wait until it
            is writable (or else readable), and the seconds left. It may serve other events meanwhile and
            returns once the descriptor is readable or writable or the time is up. An exception from it
            ends the operation.

    Attributes:
        seconds: as given.
    """

    def __init__(self, seconds: float, wait: Callable[[int, bool, float], object] | None = None) -> None:
        self.seconds = seconds
        self._end = monotonic() + seconds
        self._wait = wait

    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._end - monotonic())

    def wait(self, fd: int, writable: bool = False) -> float:
        """Calls `wait`, if given, for a descriptor; returns the seconds left."""
        if self._wait:
            self._wait(fd, writable, self.left())
        return self.left()


class Channel:
    """One connection.

    Args:
        sock: connected; closed with the channel.
        known: the requests that the peer may send, by number.
        timeout: seconds for sending a message, or for receiving one from its first byte on, unless a
            `Deadline` is given.
    """

    def __init__(self, sock: _socket.socket, known: dict[int, Kind], timeout: float) -> None:
        self._sock = sock
        self._known = known
        self._timeout = timeout

    def fileno(self) -> int:
        """The socket's descriptor, -1 after `close`."""
        return self._sock.fileno()

    def close(self) -> None:
        """Closes the socket. A second call does nothing."""
        self._sock.close()

    def send(
        self, kind: Kind, payload: Payload, flags: int = 0, fds: Sequence[int] = (), deadline: Deadline | None = None
    ) -> None:
        """Sends a message, with copies of `fds`.

        Raises:
            VhostUserError: the peer is gone, or does not accept it in time.
        """
        body = payload.encode()
        data = memoryview(HEADER.pack(kind.number, VERSION | flags, len(body)) + body)
        ancillary = []
        if fds:
            numbers = b"".join(fd.to_bytes(_FD_SIZE, "little") for fd in fds)
            ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)]
        deadline = deadline or Deadline(self._timeout)
        while data:
            self._limit(deadline, kind, writable=True)
            try:
                sent = self._sock.sendmsg([data], ancillary, _socket.MSG_NOSIGNAL | _NO_WAIT)
            except TimeoutError:
                continue
            except OSError as error:
                raise VhostUserError(f"{kind}: {error.strerror}") from None
            data, ancillary = data[sent:], []

    def _limit(self, deadline: Deadline, what: object, writable: bool = False) -> None:
        left = deadline.wait(self._sock.fileno(), writable)
        if not left:
            raise VhostUserError(f"{what}: not within {deadline.seconds:g} s")
        self._sock.settimeout(left)

    def receive(self) -> Message | None:
        """The next request of the peer; None if it has closed the connection.

        Raises:
            VhostUserError: it is malformed, or incomplete after the time limit.
        """
        return self._receive("a request", Deadline(self._timeout))

    def receive_reply(self, kind: Kind, deadline: Deadline | None = None) -> Message:
        """The reply to a request of this kind.

        Raises:
            VhostUserError: something else is received, or nothing in time.
        """
        message = self._receive(f"the reply to {kind}", deadline or Deadline(self._timeout), kind)
        if not message:
            raise VhostUserError(f"{kind}: the peer is gone")
        return message

    def _receive(self, what: str, deadline: Deadline, reply_to: Kind | None = None) -> Message | None:
        fds: list[int] = []
        try:
            head = self._exactly(HEADER.size, deadline, what, fds)
            if not head:
                return None
            number, flags, size = HEADER.unpack(head)
            kind = self._check(number, flags, size, reply_to)
            body = self._exactly(size, deadline, f"{kind}'s payload", None) if size else b""
            if len(body) != size:
                raise VhostUserError(f"{kind}: the connection ended within it")
            most = kind.reply_fds if reply_to else kind.fds
            if len(fds) > most:
                raise VhostUserError(f"{kind}: {len(fds)} descriptors, at most {most} are expected")
            return Message(kind, flags, body, fds)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise

    def _check(self, number: int, flags: int, size: int, reply_to: Kind | None) -> Kind:
        if flags & VERSION_MASK != VERSION or flags & ~_FLAGS:
            raise VhostUserError(f"message {number}: flags {flags:#x}")
        if size > PAYLOAD_MAX:
            raise VhostUserError(f"message {number}: {size} bytes of payload, more than {PAYLOAD_MAX}")
        if reply_to:
            if number != reply_to.number or not flags & REPLY:
                raise VhostUserError(f"message {number} with flags {flags:#x} in place of the reply to {reply_to}")
            return reply_to
        if number not in self._known:
            raise VhostUserError(f"message {number}: there is no such request")
        if flags & REPLY:
            raise VhostUserError(f"{self._known[number]}: an unexpected reply")
        return self._known[number]

    def _exactly(self, size: int, deadline: Deadline, what: str, fds: list[int] | None) -> bytes:
        """Reads exactly that many bytes; none if the peer closed the connection before the first."""
        data = b""
        while len(data) < size:
            self._limit(deadline, what)
            try:
                if fds is None or data:
                    part = self._sock.recvmsg(size - len(data), 0, _NO_WAIT)[0]
                else:
                    part = self._first_part(size, fds)
            except TimeoutError:
                continue
            except ConnectionResetError:
                part = b""
            except OSError as error:
                raise VhostUserError(f"{what}: {error.strerror}") from None
            if not part:
                if data:
                    raise VhostUserError(f"{what}: the connection ended within it")
                return b""
            data += part
        return data

    def _first_part(self, size: int, fds: list[int]) -> bytes:
        # Room for one descriptor more than allowed: a kernel that drops some reports it.
        space = _socket.CMSG_SPACE(_FD_SIZE * (FDS_MAX + 1))
        part, ancillary, flags, _ = self._sock.recvmsg(size, space, _socket.MSG_CMSG_CLOEXEC | _NO_WAIT)
        for level, kind, numbers in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                whole = len(numbers) - len(numbers) % _FD_SIZE
                fds += [
                    int.from_bytes(numbers[at : at + _FD_SIZE], "little", signed=True)
                    for at in range(0, whole, _FD_SIZE)
                ]
        if flags & _socket.MSG_CTRUNC:
            raise VhostUserError(f"more than {FDS_MAX} descriptors, or this process may open no more")
        return bytes(part)

    def reply(self, message: Message, payload: Payload, fds: Sequence[int] = ()) -> None:
        """Answers a request.

        Raises:
            VhostUserError: as `send`.
        """
        self.send(message.kind, payload, REPLY, fds)

    def acknowledge(self, message: Message, error: int = 0) -> None:
        """Acknowledges a request without a reply of its own, if it asks for that; 0 is success.

        Raises:
            VhostUserError: as `send`.
        """
        if message.flags & NEED_REPLY and not message.kind.reply:
            self.reply(message, U64(error))
