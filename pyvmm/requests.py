"""What other threads ask of the thread that runs a guest."""

from __future__ import annotations

import posix as os
from _thread import allocate_lock

from pyvmm.bus import eventfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.eventloop import Loop


class Requests:
    """Calls that the thread of an event loop makes for others, in order.

    Args:
        waits: whether those that have not been made yet are to wait for `end`.
    """

    def __init__(self, waits: Callable[[], bool]) -> None:
        self._waits = waits
        self._calls: list[Callable[[], None]] = []
        self._fd = -1  # an eventfd that tells the loop
        self._lock = allocate_lock()
        self.is_over = False

    def attach(self, loop: Loop) -> None:
        """Serves them from `loop`, also those from before.

        Raises:
            HostError: there is no descriptor for it.
        """
        self._fd = eventfd()
        loop.add(self._fd, self._serve, urgent=True)
        self._tell()

    def add(self, call: Callable[[], None]) -> None:
        """Has `call` made. May be called from any thread, at any time."""
        with self._lock:
            over = self.is_over
            if not over:
                self._calls.append(call)
        if over:  # as it finds out
            call()
        else:
            self._tell()

    def end(self) -> None:
        """Makes the calls that are left, and lets others make theirs: all too late, as they find out."""
        with self._lock:
            self.is_over = True
        while self._calls:
            self._calls.pop(0)()

    def close(self) -> None:
        """Closes its descriptor. A second call does nothing."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    def _tell(self) -> None:
        with self._lock:  # or `close` has closed it, and another file has its number
            if self._fd >= 0:
                os.write(self._fd, (1).to_bytes(8, "little"))

    def _serve(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # served while a callback was waiting
            return
        while self._calls and not self._waits():
            self._calls.pop(0)()
