"""Errands: what a guest's process does on the host besides running the guest, fixed at the start.

Each can be done by this process. Once that is confined it may do none of them, and a helper does:
a process that was forked before, which has no guest memory and no descriptors but its own, and
which is told nothing but the number of an errand and what to do about it.
"""

from __future__ import annotations

import posix as os
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Sequence

_FDS_MAX, _MESSAGE_MAX = 4, 64
_INT = 4  # bytes
_EPIPE = 32

_errands: list[Errand] = []
_helper: _socket.socket | None = None


class Errand(ABC):
    """Something to be done now and then."""

    #: Descriptors that it needs in the helper.
    fds: Sequence[int] = ()

    def __init__(self) -> None:
        _errands.append(self)

    @abstractmethod
    def do(self, what: int) -> tuple[int, list[int]]:
        """Does it, in this process.

        Args:
            what: a number from 0 to 255.

        Returns:
            A number, and descriptors that are the caller's.

        Raises:
            OSError: it cannot be done.
        """

    def ask(self, what: int) -> tuple[int, list[int]]:
        """Has it done (see `do`)."""
        if not _helper:
            return self.do(what)
        import _socket

        _helper.send(bytes([_errands.index(self), what]))
        data, ancillary, _, _ = _helper.recvmsg(_MESSAGE_MAX, _socket.CMSG_SPACE(_FDS_MAX * _INT))
        if not data:
            raise OSError(_EPIPE, "the helper is gone")
        errno, result = _numbers(data)
        if errno:
            raise OSError(errno, os.strerror(errno))
        return result, [fd for _, _, fds in ancillary for fd in _numbers(fds)]

    def end(self) -> None:  # noqa: B027 - optional
        """Undoes what is left of it, in the helper, when the guest's process is gone."""

    def forget(self) -> bool:
        """It is not needed any more; returns whether it was this process's. A second call does nothing."""
        is_own = not _helper and self in _errands
        if is_own:
            _errands.remove(self)
        return is_own


class OwnFile(Errand):
    """A file that is there now, to be removed unless another has taken its place.

    Args:
        path: its path.
        folder: a directory to be removed with it, or None.
    """

    def __init__(self, path: bytes, folder: bytes | None = None) -> None:
        super().__init__()
        self._path, self._folder, self._inode = path, folder, _inode(path)

    def do(self, what: int) -> tuple[int, list[int]]:
        try:
            if _inode(self._path) == self._inode:
                os.unlink(self._path)
            if self._folder:
                os.rmdir(self._folder)
        except OSError:  # removed already
            pass
        return 0, []

    def end(self) -> None:
        self.do(0)


def _inode(path: bytes) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _numbers(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + _INT], "little", signed=True) for at in range(0, len(data), _INT)]


def _bytes(numbers: Sequence[int]) -> bytes:
    return b"".join(number.to_bytes(_INT, "little", signed=True) for number in numbers)


def fork() -> None:
    """Makes the helper, if there are errands. No more can be added.

    Raises:
        OSError: there can be none.
    """
    global _helper
    if not _errands or _helper:
        return
    import _socket

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    if not os.fork():
        try:
            _serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    _helper = ours


def close() -> None:
    """Ends the helper; returns when it has undone what was left. A second call does nothing."""
    global _helper
    if _helper:
        import _socket

        try:
            _helper.shutdown(_socket.SHUT_WR)
            _helper.recvmsg(_MESSAGE_MAX)  # its end
        except OSError:  # it was killed
            pass
        _helper.close()
        _helper = None


def _serve(requests: _socket.socket) -> None:
    import _socket

    os.setpgid(0, 0)  # Ctrl-C is not for it
    kept = sorted({requests.fileno(), *(fd for errand in _errands for fd in errand.fds)})
    null = os.open("/dev/null", os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    for low, high in zip([2, *kept], [*kept, 1 << 20], strict=True):
        os.closerange(low + 1, high)
    while request := requests.recv(_MESSAGE_MAX):
        fds: list[int] = []
        try:
            index, what = request
            result, fds = _errands[index].do(what)
            answer = [0, result]
        except OSError as error:
            answer = [error.errno or _EPIPE, 0]
        except (IndexError, ValueError):
            continue  # not from us
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _bytes(fds))] if fds else []
        requests.sendmsg([_bytes(answer)], rights)
        for fd in fds:
            os.close(fd)
    for errand in _errands:
        try:
            errand.end()
        except OSError:
            pass
