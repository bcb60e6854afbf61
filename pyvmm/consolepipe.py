"""The other end of a guest's console, for a program that talks to it."""

from __future__ import annotations

import os
import select
from time import monotonic

_CHUNK = 65536


class ConsolePipe:
    """Two pipes: one for what the guest prints, one for what it reads.

    A guest that prints blocks while 64 KiB are unread; one with a vsock device for a second at
    most, and then the rest is discarded until it is read. Nothing is read ahead, so the reader
    sets the pace.

    Attributes:
        guest_input, guest_output: descriptors of the guest's ends.

    Example::

        machine.console.read_until(b"name? ")
        machine.console.write(b"Toro\\n")
    """

    def __init__(self) -> None:
        self.guest_input, self._input = os.pipe2(os.O_CLOEXEC)
        try:
            self._output, self.guest_output = os.pipe2(os.O_CLOEXEC)
        except BaseException:
            os.close(self.guest_input)
            os.close(self._input)
            raise
        self._came = bytearray()
        self._ended = False

    def write(self, data: bytes) -> None:
        """Writes `data` for the guest to read; blocks while the pipe is full."""
        while data:
            data = data[os.write(self._input, data) :]

    def read_until(self, text: bytes, timeout: float = 10.0) -> bytes:
        """Returns what the guest prints, up to and including `text`.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: the guest has not printed it by then.
            EOFError: the guest has ended without printing it.
        """
        end = monotonic() + timeout
        while (at := self._came.find(text)) < 0:
            if self._ended:
                raise EOFError(f"the guest ended before it printed {text!r}; it printed {bytes(self._came)!r}")
            if not self._fill(end):
                raise TimeoutError(f"no {text!r} within {timeout} s; the guest printed {bytes(self._came)!r}")
        return self._take(at + len(text))

    def read(self) -> bytes:
        """Returns what the guest has printed and was not read yet; possibly nothing. Does not block."""
        while not self._ended and self._fill(0):
            pass
        return self._take(len(self._came))

    def drain(self, timeout: float | None) -> None:
        """Buffers what the guest prints, for `timeout` seconds (None: no limit) or until it ends."""
        end = None if timeout is None else monotonic() + timeout
        while not self._ended and self._fill(end):
            pass

    def _take(self, size: int) -> bytes:
        taken = bytes(self._came[:size])
        del self._came[:size]
        return taken

    def _fill(self, end: float | None) -> bool:
        """Waits for more until `end` on the monotonic clock; returns False if nothing came."""
        left = None if end is None else max(0, end - monotonic()) * 1000
        poller = select.poll()
        poller.register(self._output, select.POLLIN)
        if not poller.poll(left):
            return False
        data = os.read(self._output, _CHUNK)
        self._came += data
        self._ended = not data
        return True

    def guest_has_ended(self) -> None:
        """Closes the guest's end, so that readers see the end. A second call does nothing."""
        if self.guest_output >= 0:
            os.close(self.guest_output)
            self.guest_output = -1

    def close(self) -> None:
        """Closes both pipes. A second call does nothing."""
        self.guest_has_ended()
        for fd in (self.guest_input, self._input, self._output):
            if fd >= 0:
                os.close(fd)
        self.guest_input = self._input = self._output = -1
        self._ended = True
