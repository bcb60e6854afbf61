"""What signals do to the guest of `pyvmm boot`."""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond

from pyvmm._kvm import ffi, lib
from pyvmm.errors import STATUS_INTERRUPTED, STATUS_TERMINATED, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine

_SIGNALS = _SIGHUP, _SIGINT, _SIGTERM, _SIGCONT, _SIGTSTP = 1, 2, 15, 18, 20
_GRACE = 1.0  # seconds


class Signals:
    """Takes signals out of their usual course while it is open.

    SIGTERM asks a guest that knows how for its end, and is the end of one that is still there
    after a second; so is a second SIGTERM. SIGINT and SIGHUP end it at once. SIGTSTP (Ctrl-Z)
    restores the terminal before it stops the process.

    Args:
        machine: the guest's.

    Raises:
        HostError: there is no descriptor for them.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._fd: int = lib.signal_fd(_SIGNALS, len(_SIGNALS))
        if self._fd < 0:
            raise HostError("signalfd", ffi.errno)

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *_: object) -> None:
        lib.signal_fd_close(self._fd, _SIGNALS, len(_SIGNALS))

    def attach(self, loop: Loop) -> None:
        """Obeys them from `loop`."""
        loop.add(self._fd, self._signalled, urgent=True)

    def _signalled(self) -> None:
        try:
            number = int.from_bytes(os.read(self._fd, 128)[:4], "little")
        except BlockingIOError:  # served while a callback was waiting
            return
        if number == _SIGTERM:
            self._machine.stop(STATUS_TERMINATED, _GRACE)
        elif number == _SIGTSTP:
            self._machine.release_terminal()
            lib.process_stop()  # until it is continued
        elif number == _SIGCONT:
            self._machine.use_terminal()
        else:
            self._machine.stop(STATUS_INTERRUPTED if number == _SIGINT else STATUS_TERMINATED, 0)
