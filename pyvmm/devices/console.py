"""The guest's serial console, on two descriptors of the host.

C writes output as it comes. Until the guest looks for input at its UART, none is
read, and the terminal keeps its settings.
"""

from __future__ import annotations

import posix as os

from pyvmm._kvm import lib
from pyvmm.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyvmm._kvm import Serial
    from pyvmm.eventloop import Loop

_EPIPE = 32


class Console:
    """The 16550 at port 0x3f8 and its two descriptors on the host.

    Args:
        serial: the C side (`struct serial *`), which writes the output.
        source: the descriptor to read input from; it stays the caller's.
        log: called with a line when the output cannot be written.
    """

    def __init__(self, serial: Serial, source: int, log: Callable[[str], None] = lambda _: None) -> None:
        self._source = source
        self._log = log
        self._serial = serial
        self._pending = b""
        self._ended = False
        self._is_file = False
        self._terminal: list[Any] | None = None

    def attach(self, loop: Loop) -> None:
        """Serves input from `loop` once the guest wants it."""
        self._loop = loop
        loop.add(self._serial.input_fd, self._guest_wants_input)

    def _guest_wants_input(self) -> None:
        os.read(self._serial.input_fd, 8)
        self._report()
        self._push()

    def _report(self) -> None:
        """Logs, once, that output is lost; but not if a pipe was closed by its reader."""
        errno, self._serial.out_error = self._serial.out_error, 0
        if errno not in (0, _EPIPE):
            self._log(f"{HostError('console', errno)}; the guest's output is discarded")

    def _push(self) -> None:
        """Moves input to the UART until that is full or there is none left."""
        while not self._ended:
            if self._pending:
                taken = lib.serial_input(self._serial, self._pending, len(self._pending))
                self._pending = self._pending[taken:]
                if self._pending:
                    self._loop.remove(self._source)
                    return
            if not self._is_file:
                try:
                    self._watch_source()
                    return
                except PermissionError:  # a regular file: always readable
                    self._is_file = True
            self._read()

    def _watch_source(self) -> None:
        try:
            self._loop.add(self._source, self._source_readable)
        except FileExistsError:
            return
        if os.isatty(self._source) and self._terminal is None:
            self._raw_terminal()

    def _source_readable(self) -> None:
        self._read()
        self._push()

    def _read(self) -> None:
        try:
            self._pending = os.read(self._source, 4096)
        except OSError:  # a terminal that is gone
            self._pending = b""
        if not self._pending:
            self._ended = True
            self._loop.remove(self._source)

    def _raw_terminal(self) -> None:
        """Switches off line editing and echo; Ctrl-C stays a signal."""
        import termios

        self._terminal = termios.tcgetattr(self._source)
        mode = termios.tcgetattr(self._source)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(self._source, termios.TCSANOW, mode)

    def close(self) -> None:
        """Restores the terminal. All vCPUs must have stopped."""
        self._report()
        if self._terminal is not None:
            import termios

            try:
                termios.tcsetattr(self._source, termios.TCSADRAIN, self._terminal)
            except termios.error:  # it has hung up
                pass
            self._terminal = None
