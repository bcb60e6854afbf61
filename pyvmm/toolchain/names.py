"""Names of units that both the user and the kernel have.

The compiler knows one unit of a name in a program. So where the user has a unit, or a program,
that is called like one of the kernel's, the kernel is compiled with that unit renamed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SUFFIXES = (".pas", ".pp", ".p", ".lpr")
_PROGRAM = re.compile(r"^\s*program\s+(\w+)", re.IGNORECASE | re.MULTILINE)
_USES = re.compile(r"^\s*uses\b[^;]*;", re.IGNORECASE | re.MULTILINE)


def taken(program: Path, places: Iterable[Path], kernel: Iterable[Path]) -> list[str]:
    """The kernel's units whose names the user has given to others, sorted.

    Args:
        program: the user's source.
        places: the directories in which the compiler looks for the user's units.
        kernel: the sources of the kernel's units.
    """
    own = {path.stem.lower() for place in places for path in place.glob("*") if path.suffix.lower() in _SUFFIXES}
    declared = _PROGRAM.search(program.read_text(errors="replace"))
    if declared:
        own.add(declared[1].lower())
    return sorted({path.stem for path in kernel if path.stem.lower() in own})


def renamed(text: str, names: Iterable[str]) -> str:
    """A kernel unit's source with these units called `ToroNAME`."""
    for name in names:
        word = re.compile(rf"\b{name}\b", re.IGNORECASE)
        text = re.sub(rf"^unit {name};", f"unit Toro{name};", text, count=1, flags=re.IGNORECASE | re.MULTILINE)
        for clause in set(_USES.findall(text)):
            text = text.replace(clause, word.sub(f"Toro{name}", clause))
        text = re.sub(rf"\b{name}\.(?=[A-Za-z])", f"Toro{name}.", text)
    return text
