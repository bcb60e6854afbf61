"""`pyvmm freeze`: freezes a guest that runs."""

from __future__ import annotations

import os

from pyvmm.command.options import only_operand, parse
from pyvmm.control.client import ask
from pyvmm.control.place import socket_path
from pyvmm.errors import UsageError
from pyvmm.state.request import open_folder


def freeze(words: list[str]) -> int:
    """Does what the words say; returns the exit status.

    Raises:
        PyvmmError: it cannot.
    """
    operands, options, _ = parse("freeze", words)
    name = only_operand("freeze", operands)
    socket_path(name)  # or it is no name
    path = options.get("-o", f"{name}.frozen")
    directory, file = open_folder(path)
    try:
        if not file:
            raise UsageError(f"-o {path}: not a file")
        ask(name, {"do": "freeze", "name": file, "end": "--end" in options}, [directory])
    finally:
        os.close(directory)
    return 0
