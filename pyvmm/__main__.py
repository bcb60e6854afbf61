"""`python -m pyvmm`: the same as the `pyvmm` command."""

import os
import sys
from time import monotonic_ns

started = monotonic_ns()

from pyvmm.command.cli import run  # noqa: E402 - time before this is the interpreter's


def _open_closed_streams() -> None:
    """Opens /dev/null for each of stdin, stdout and stderr that is closed.

    Otherwise the next files opened would get their numbers, and guest memory would
    be the guest's console.
    """
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open("/dev/null", "w")  # noqa: SIM115 - as long as the process lives
    sys.stderr = sys.stderr or open("/dev/null", "w")  # noqa: SIM115


if not (sys.stdin and sys.stdout and sys.stderr):
    _open_closed_streams()
run(started)
