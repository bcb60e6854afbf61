"""The Python beside the executable, for what needs one with all of its library."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyvmm.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def programs() -> tuple[str, str]:
    """The pyvmm that runs, and the Python beside it or else the one that it is made of."""
    ours = Path("/proc/self/exe").readlink() if is_executable() else Path(sys.argv[0]).absolute()
    if ours.name == "__main__.py":  # python -m pyvmm
        ours = Path(sys.executable).with_name("pyvmm")
    beside = ours.with_name("python3")
    return str(ours), str(beside) if os.access(beside, os.X_OK) else sys.executable


def is_executable() -> bool:
    """Whether this is the executable, and no ordinary Python."""
    return "pyvmm.command.launch" in sys.modules


def become(words: list[str], what: str) -> NoReturn:
    """Becomes an ordinary Python.

    Args:
        words: its arguments.
        what: is done there, in plural, for the message.

    Raises:
        UsageError: there is none.
    """
    _, python = programs()
    try:
        os.execv(python, [python, *words])
    except OSError as error:
        raise UsageError(f"{python}: {error.strerror}; {what} want the Python that pyvmm is installed for") from None
