"""`pyvmm bench`: runs one of the benchmarks, which are scripts for an ordinary Python."""

from __future__ import annotations

import os
from difflib import get_close_matches
from errno import EMFILE
from pathlib import Path
from typing import NoReturn

from pyvmm.command.options import COMMANDS
from pyvmm.command.python import become, programs
from pyvmm.errors import HostError, UsageError

NAMES = COMMANDS["bench"][1].split()
#: An ordinary Python does not start with 4 open files, nor a linker link with 14.
_FILES_MIN = 64


def bench(words: list[str]) -> NoReturn:
    """Becomes the benchmark.

    Args:
        words: its name, and its options.

    Raises:
        UsageError: there is no such benchmark, or it is not installed.
        HostError: it could not open its files.
    """
    names = ", ".join(NAMES)
    if not words:
        raise UsageError(f"which benchmark? {names}")
    name, *options = words
    if name not in NAMES:
        close = get_close_matches(name, NAMES, 1)
        raise UsageError(f"{name}: no such benchmark; {f'did you mean {close[0]}?' if close else f'there are {names}'}")
    here = Path(__file__).resolve().parents[1]
    places = (here / "bench", here.parent / "bench")
    file = "virtiofs.py" if name == "fs" else f"{name}.py"
    script = next((path for path in (place / file for place in places) if path.is_file()), None)
    if not script:
        raise UsageError(f"{places[0] / file}: not installed")
    if os.sysconf("SC_OPEN_MAX") < _FILES_MIN:
        raise HostError(f"bench {name}", EMFILE)
    ours, _ = programs()
    become([str(script), "--pyvmm", ours, *options], "benchmarks")
