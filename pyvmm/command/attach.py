"""`pyvmm attach`: the console of a guest that was started with `--detach`."""

from __future__ import annotations

import os
import select
import socket
import sys

from pyvmm.command.options import only_operand, parse
from pyvmm.control.client import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STDIN, _STDOUT = 0, 1
_CHUNK = 64 << 10
_LEAVE = b"\x1d"  # Ctrl-]


def attach(words: list[str]) -> int:
    """Shows what the guest prints, and types for it; returns the exit status.

    Raises:
        PyvmmError: there is no such guest, or it was not detached.
    """
    name = only_operand("attach", parse("attach", words)[0])
    with connect(name, "console") as server:
        saved = _raw()
        try:
            if saved:
                sys.stderr.write("pyvmm: attached; Ctrl-] leaves\r\n")
            _relay(server, bool(saved))
        finally:
            if saved:
                import termios

                termios.tcsetattr(_STDIN, termios.TCSADRAIN, saved)
    return 0


def _raw() -> list[Any]:
    """Switches the terminal's line editing and signals off; returns how it was, empty if stdin is none."""
    if not os.isatty(_STDIN):
        return []
    import termios
    import tty

    saved = termios.tcgetattr(_STDIN)
    tty.setraw(_STDIN)
    return saved


def _relay(server: socket.socket, is_terminal: bool) -> None:
    """Until the guest ends, nobody reads, or Ctrl-] is typed at a terminal."""
    poller = select.poll()
    for fd in (server.fileno(), _STDIN):
        poller.register(fd, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            try:
                data = os.read(fd, _CHUNK)
            except ConnectionResetError:
                data = b""
            if fd == _STDIN and not data:
                poller.unregister(_STDIN)
                continue
            if fd != _STDIN and not data:
                return
            typed, left, _ = data.partition(_LEAVE) if fd == _STDIN and is_terminal else (data, b"", b"")
            try:
                _write(_STDOUT if fd != _STDIN else server.fileno(), typed)
            except OSError:  # nobody is there
                return
            if left:
                return


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
