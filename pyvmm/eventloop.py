"""The main thread's loop: file descriptors that become readable, and their callbacks."""

from __future__ import annotations

from select import EPOLLIN, epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class EventLoop:
    """An epoll set. Callbacks run one after another and must not block."""

    def __init__(self) -> None:
        self._epoll = epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._running = False

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Calls `callback` whenever `fd` is readable.

        Raises:
            PermissionError: it is a regular file, which always is.
        """
        self._epoll.register(fd, EPOLLIN)
        self._callbacks[fd] = callback

    def remove(self, fd: int) -> None:
        """Forgets `fd`; nothing happens if it was not known."""
        if self._callbacks.pop(fd, None):
            self._epoll.unregister(fd)

    def run(self) -> None:
        """Serves events until `stop`."""
        self._running = True
        while self._running:
            for fd, _ in self._epoll.poll():
                callback = self._callbacks.get(fd)
                if callback and self._running:
                    callback()

    def stop(self) -> None:
        """Makes `run` return after the callback that is running."""
        self._running = False

    def close(self) -> None:
        """Closes the epoll set, not what was added to it."""
        self._epoll.close()
