"""The main thread's loop: file descriptors that become ready, and their callbacks."""

from __future__ import annotations

from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Loop(Protocol):
        """What `EventLoop` offers to those that it runs."""

        def add(self, fd: int, callback: Callable[[], None]) -> None: ...
        def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None: ...
        def change(self, fd: int, events: int) -> None: ...
        def remove(self, fd: int) -> None: ...


READABLE, WRITABLE = EPOLLIN, EPOLLOUT
#: With these: edge-triggered.
CHANGES = EPOLLET
#: The peer is gone, or the descriptor failed; reported whether asked for or not.
FAILED = EPOLLERR | EPOLLHUP


class EventLoop:
    """An epoll set. Callbacks run one after another and must not block."""

    def __init__(self) -> None:
        self._epoll = epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._registered: set[int] = set()
        self._running = False

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Calls `callback` whenever `fd` is readable.

        Raises:
            PermissionError: it is a regular file, which always is.
        """
        self.watch(fd, READABLE, lambda _: callback())

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Calls `callback` with what has come true of `events` (READABLE, WRITABLE) or FAILED.

        Raises:
            FileExistsError: it is watched already.
            PermissionError: it is a regular file.
        """
        if fd in self._callbacks:
            raise FileExistsError(fd)
        self.change(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        """Watches for other events; 0 is for none at all, not even FAILED, which would repeat."""
        if fd not in self._registered:
            if events:
                self._epoll.register(fd, events)
                self._registered.add(fd)
        elif events:
            self._epoll.modify(fd, events)
        else:
            self._epoll.unregister(fd)
            self._registered.discard(fd)

    def remove(self, fd: int) -> None:
        """Forgets `fd`; nothing happens if it was not known."""
        if self._callbacks.pop(fd, None):
            self.change(fd, 0)

    def run(self) -> None:
        """Serves events until `stop`."""
        self._running = True
        while self._running:
            for fd, events in self._epoll.poll():
                callback = self._callbacks.get(fd)
                if callback and self._running:
                    callback(events)

    def stop(self) -> None:
        """Makes `run` return after the callback that is running."""
        self._running = False

    def close(self) -> None:
        """Closes the epoll set, not what was added to it."""
        self._epoll.close()


class GuardedLoop:
    """An event loop whose callbacks cannot end the program by an exception.

    Args:
        loop: runs them.
        failed: called with what one of them has raised.
    """

    def __init__(self, loop: Loop, failed: Callable[[Exception], None]) -> None:
        self._loop = loop
        self._failed = failed
        self.change, self.remove = loop.change, loop.remove

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """As `EventLoop.add`."""
        self.watch(fd, READABLE, lambda _: callback())

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """As `EventLoop.watch`."""

        def guarded(events: int) -> None:
            try:
                callback(events)
            except Exception as error:
                self._failed(error)

        self._loop.watch(fd, events, guarded)
