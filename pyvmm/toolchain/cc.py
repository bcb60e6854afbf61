"""`pyvmm cc`: a compiler of C for Toro, as `mpicc` is one for Linux.

What it is told is gcc's. Without `-c`, `-S`, `-E` or the like, it links an image.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from pyvmm.errors import BuildError
from pyvmm.toolchain.build import link_c
from pyvmm.toolchain.c import Compiler
from pyvmm.toolchain.pascal import toro_tree

#: Options with which gcc does not link.
_NO_LINK = ("-c", "-S", "-E", "-M", "-MM", "-fsyntax-only", "--version", "-v", "-dumpmachine", "-dumpversion")
#: Options whose value is the next word.
_WITH_VALUE = ("-o", "-I", "-L", "-D", "-U", "-include", "-isystem", "-MF", "-MT", "-MQ", "-x", "-l", "-Xlinker", "-u")
#: Libraries that are part of every image.
_OURS = ("-lmpi", "-lmpich", "-lpthread", "-pthread", "-lrt", "-ldl", "-static", "-pie", "-no-pie", "-rdynamic")


def cc(words: list[str]) -> Path | None:
    """Compiles or links.

    Args:
        words: as for gcc.

    Returns:
        The image's path; None if gcc is asked to show what would be done.

    Raises:
        BuildError: it cannot be; the compiler's output is on stderr.
    """
    if any(word in _NO_LINK or word.startswith("-print-") for word in words):
        _become([*Compiler(toro_tree(), False).command(), *words])
    if words in (["-show"], ["-compile-info"]):
        print(*Compiler(toro_tree(), False).command())
        return None
    image, inputs = Path("a.out"), []
    rest = iter(words)
    for word in rest:
        if word == "-o":
            image = Path(next(rest, ""))
        elif word.startswith("-o") and len(word) > 2:
            image = Path(word[2:])
        elif word in _WITH_VALUE:
            inputs += [word, next(rest, "")]
        elif word not in _OURS:
            inputs.append(word)
    if not any(not word.startswith("-") for word in inputs):
        raise BuildError("cc: no input files")
    return link_c(inputs, image, image)


def _become(command: list[str]) -> NoReturn:
    os.execvp(command[0], command)
