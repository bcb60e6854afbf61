"""The guest's serial console, on two descriptors of the host.

C writes output as it comes. Until the guest looks for input at its UART, none is
read, and the terminal keeps its settings.

Other processes may use the same pipe or terminal: guests that share an input, the shell
after Ctrl-Z. So descriptors that could block are opened anew, without blocking, which
leaves those of the others as they are.
"""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyvmm._kvm import Serial
    from pyvmm.eventloop import Loop

_EPIPE, _EOPNOTSUPP = 32, 95
_CHUNK = 4096
_IER_RX = 1  # the UART interrupts while it has received bytes
_FILE_TYPE, _FIFO, _CHARACTER_DEVICE, _SOCKET = 0o170000, 0o010000, 0o020000, 0o140000


class Console:
    """The 16550 at port 0x3f8 and its two descriptors on the host.

    Args:
        serial: the C side (`struct serial *`), which writes the output.
        source: the descriptor to read input from; it stays the caller's.
        log: called with a line when output is lost.
        drop_late: output that nobody reads for a second is discarded, and the guest goes on. For
            one that does not run yet.
    """

    def __init__(
        self, serial: Serial, source: int, log: Callable[[str], None] = lambda _: None, drop_late: bool = False
    ) -> None:
        self._source = source
        self._log = log
        self._serial = serial
        self._input = -1  # what `source` was opened anew as
        self._pending = b""
        self._ended = self._is_watched = False
        self._is_file = self._is_terminal = False
        self._group = 0  # the process's
        self._saved: list[Any] | None = None  # the terminal's settings, while it has ours
        self._opened: list[int] = []
        if drop_late:
            fd, kind = self._open_anew(serial.out_fd, os.O_WRONLY)
            if self._opened or kind == _SOCKET:
                lib.serial_drop_late(serial, fd, kind == _SOCKET)

    def attach(self, loop: Loop) -> None:
        """Serves input from `loop` once the guest wants it."""
        self._loop = loop
        loop.add(self._serial.input_fd, self._guest_wants_input)

    def has_input(self) -> bool:
        """Whether the guest wants input, and there is some that it has not taken yet."""
        uart = ffi.new("struct serial_state *")
        lib.serial_save(self._serial, uart)
        if self._pending or (uart.rx_len and uart.ier & _IER_RX):  # its interrupt may still be on its way
            return True
        is_wanted = self._is_watched or lib.wait_readable(self._serial.input_fd, 0)
        return bool(is_wanted and not self._ended and lib.wait_readable(self._source, 0))

    def _open_anew(self, fd: int, flags: int) -> tuple[int, int]:
        """A descriptor for the same file that does not block, or `fd` if there is none; and the file's type."""
        try:
            kind = os.fstat(fd).st_mode & _FILE_TYPE
            if kind == _FIFO or (kind == _CHARACTER_DEVICE and os.isatty(fd)):
                flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                fd = os.open(f"/proc/self/fd/{fd}", flags)
                self._opened.append(fd)
        except OSError:  # closed; or a pipe of another user
            kind = 0
        return fd, kind

    def _guest_wants_input(self) -> None:
        os.read(self._serial.input_fd, 8)
        self._report()
        self._push()

    def _report(self) -> None:
        """Logs, once, that output is lost; but not if a pipe was closed by its reader."""
        errno, self._serial.out_error = self._serial.out_error, 0
        if errno not in (0, _EPIPE):
            self._log(f"{HostError('console', errno)}; the guest's output is discarded")
        if lost := lib.serial_lost(self._serial):
            self._log(f"console: {lost} bytes of the guest's output were discarded, because nobody read it")

    def _push(self) -> None:
        """Moves input to the UART until that is full or there is none left."""
        while not self._ended:
            if self._pending:
                taken = lib.serial_input(self._serial, self._pending, len(self._pending))
                self._pending = self._pending[taken:]
                if self._pending:
                    self._loop.remove(self._input)
                    return
            if not self._is_file:
                try:
                    self._watch_source()
                    return
                except PermissionError:  # a regular file: always readable
                    self._is_file = True
            self._read()

    def prepare(self) -> None:
        """Opens the input anew: at the latest when the guest wants it, and before the process is confined."""
        self._input = self._open_anew(self._source, os.O_RDONLY)[0]
        self._is_terminal = os.isatty(self._source)
        self._group = os.getpgrp()
        if self._is_terminal:
            import termios  # noqa: F401

    def _watch_source(self) -> None:
        if self._input < 0:
            self.prepare()
        if not self._is_watched:
            self._is_watched = True
            self.use_terminal()
        try:
            self._loop.add(self._input, self._source_readable)
        except FileExistsError:
            pass

    def _source_readable(self) -> None:
        if self._is_terminal and not self._saved:
            self.use_terminal()  # the shell may put a job into the foreground without a signal
        self._read()
        self._push()

    def _read(self) -> None:
        try:
            self._pending = self._read_now()
        except BlockingIOError:  # another process was faster
            return
        except OSError:  # a terminal that is gone, or not ours
            self._pending = b""
        if not self._pending:
            self._ended = True
            self._loop.remove(self._input)
            lib.serial_hang_up(self._serial)

    def _read_now(self) -> bytes:
        if not self._is_file:
            data = bytearray(_CHUNK)
            try:
                return bytes(data[: os.preadv(self._input, [data], -1, os.RWF_NOWAIT)])
            except OSError as error:
                if error.errno != _EOPNOTSUPP:
                    raise
        return os.read(self._input, _CHUNK)

    def use_terminal(self) -> None:
        """Switches off the terminal's line editing and echo, if this is its foreground job.

        To be called again after the process was stopped. Ctrl-C stays a signal.
        """
        if not (self._is_terminal and self._is_watched and self._is_foreground()):
            return
        import termios

        try:
            if self._saved is None:
                self._saved = termios.tcgetattr(self._source)
            mode = termios.tcgetattr(self._source)
            mode[0] &= ~termios.ISTRIP
            mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            mode[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._source, termios.TCSANOW, mode)
        except termios.error:  # it has hung up
            pass

    def release_terminal(self) -> None:
        """Restores the terminal, unless it is the shell's by now. To be called before the process is stopped."""
        if self._saved is None:
            return
        saved, self._saved = self._saved, None
        if self._is_foreground():
            import termios

            try:
                termios.tcsetattr(self._source, termios.TCSANOW, saved)  # TCSADRAIN would wait for Ctrl-Q
            except termios.error:
                pass

    def _is_foreground(self) -> bool:
        """Whether this process may use the terminal: its group is in the foreground, or there is no job control."""
        try:
            return os.tcgetpgrp(self._source) == self._group
        except OSError:
            return True

    def close(self) -> None:
        """Restores the terminal. All vCPUs must have stopped."""
        self._report()
        self.release_terminal()
        while self._opened:
            os.close(self._opened.pop())
