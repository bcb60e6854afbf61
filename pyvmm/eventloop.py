"""The control thread's loop: calls back when file descriptors become readable or writable."""

from __future__ import annotations

from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, POLLIN, POLLOUT, epoll, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Loop(Protocol):
        """What `EventLoop` offers to the code that it calls."""

        def add(self, fd: int, callback: Callable[[], None], urgent: bool = False) -> None: ...
        def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None: ...
        def change(self, fd: int, events: int) -> None: ...
        def remove(self, fd: int) -> None: ...
        def wait(self, fd: int, writable: bool, seconds: float) -> None: ...


READABLE, WRITABLE = EPOLLIN, EPOLLOUT
#: With these: edge-triggered.
CHANGES = EPOLLET
#: The peer is gone, or the descriptor failed; reported whether asked for or not.
FAILED = EPOLLERR | EPOLLHUP


class LoopStopped(BaseException):
    """Unwinds a callback that is in `EventLoop.wait` when the loop is stopped; `EventLoop.run` catches it."""


class EventLoop:
    """An epoll set with callbacks, which run one at a time and must not block except in `wait`."""

    def __init__(self) -> None:
        self._epoll = epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._registered: set[int] = set()
        self._urgent: set[int] = set()
        self._stopped = False

    def add(self, fd: int, callback: Callable[[], None], urgent: bool = False) -> None:
        """Calls `callback` whenever `fd` is readable.

        Args:
            urgent: also while another callback is in `wait`. It must expect that `fd` has been read already.

        Raises:
            FileExistsError: `fd` is watched already.
            PermissionError: it is a regular file, which is always readable.
        """
        self.watch(fd, READABLE, lambda _: callback())
        if urgent:
            self._urgent.add(fd)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Calls `callback` with those of `events` (READABLE, WRITABLE) and FAILED that have occurred.

        Raises:
            FileExistsError: `fd` is watched already.
            PermissionError: it is a regular file.
        """
        if fd in self._callbacks:
            raise FileExistsError(fd)
        self.change(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        """Changes the events that are watched for; 0 is none at all, not even FAILED."""
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
        """Stops watching `fd`, if it is watched."""
        self._urgent.discard(fd)
        if self._callbacks.pop(fd, None):
            self.change(fd, 0)

    def wait(self, fd: int, writable: bool, seconds: float) -> None:
        """Blocks, in a callback, until `fd` is writable (or else readable) or the time is up.

        Only urgent callbacks run meanwhile.

        Raises:
            LoopStopped: one of them stopped the loop.
        """
        from time import monotonic  # loaded already by whatever waits here

        end = monotonic() + seconds
        ready = False
        while not ready and (left := end - monotonic()) > 0:
            poller = poll()
            poller.register(fd, POLLOUT if writable else POLLIN)
            for each in self._urgent:
                poller.register(each, POLLIN)
            for each, events in poller.poll(left * 1000):
                if each == fd:
                    ready = True
                else:
                    self._callbacks[each](events)
                if self._stopped:
                    raise LoopStopped

    def run(self) -> None:
        """Serves events until `stop`."""
        self._stopped = False
        try:
            while not self._stopped:
                self.turn()
        except LoopStopped:
            pass

    def turn(self, seconds: float = -1) -> bool:
        """Waits for events and serves them.

        Args:
            seconds: how long to wait at most; without end if negative.

        Returns:
            Whether there were any.
        """
        ready = [(fd, events, self._callbacks.get(fd)) for fd, events in self._epoll.poll(seconds)]
        for fd, events, callback in ready:
            # An earlier callback may have removed it, and its number may be another file's by now.
            if callback and self._callbacks.get(fd) is callback and not self._stopped:
                callback(events)
        return bool(ready)

    def stop(self) -> None:
        """Makes `run` return after the current callback, or at once if that is in `wait`."""
        self._stopped = True

    def close(self) -> None:
        """Closes the epoll set, but not the descriptors in it."""
        self._epoll.close()


class GuardedLoop:
    """An event loop whose callbacks may raise.

    Args:
        loop: runs the callbacks.
        failed: called with each exception that one of them raises.
    """

    def __init__(self, loop: Loop, failed: Callable[[Exception], None]) -> None:
        self._loop = loop
        self._failed = failed
        self.change, self.remove, self.wait = loop.change, loop.remove, loop.wait

    def add(self, fd: int, callback: Callable[[], None], urgent: bool = False) -> None:
        """As `EventLoop.add`."""
        self._loop.add(fd, lambda: self._guarded(lambda _: callback(), READABLE), urgent)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """As `EventLoop.watch`."""
        self._loop.watch(fd, events, lambda events: self._guarded(callback, events))

    def _guarded(self, callback: Callable[[int], None], events: int) -> None:
        try:
            callback(events)
        except Exception as error:
            self._failed(error)
