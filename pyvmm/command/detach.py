"""`pyvmm boot --detach`: the guest goes on in a process of its own, without a terminal."""

from __future__ import annotations

import posix as os

from pyvmm.errors import HostError

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_READY = b"\0"


class Detached:
    """The new process. The one that was started waits until the guest runs, and ends with its status if it never does.

    Raises:
        HostError: there can be no process.
    """

    def __init__(self) -> None:
        try:
            waits, self._told = os.pipe2(os.O_CLOEXEC)
            child = os.fork()
        except OSError as error:
            raise HostError("--detach", error.errno or 0) from None
        if child:
            os.close(self._told)
            os._exit(0 if os.read(waits, 1) == _READY else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.close(waits)
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nothing, _STDIN)
        os.close(nothing)

    def runs(self, name: str, output: int) -> None:
        """Prints the guest's name, and lets the first process end. What is written from now on goes to `output`."""
        try:
            os.write(_STDOUT, f"{name}\n".encode())
        except OSError:  # nobody wants to know
            pass
        os.dup2(output, _STDOUT)
        os.dup2(output, _STDERR)
        os.write(self._told, _READY)
        os.close(self._told)
