"""The table of function names that an image carries for its backtraces.

FPC writes names in upper case and with their parameters' types; here they become
`Unit.Routine` or `Unit.Class.Method`, spelled as the sources spell them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_DEFINITION = re.compile(
    r"\b(?:procedure|function|constructor|destructor|unit|program)\s+([\w.]+)|(\w+)\s*=\s*(?:class|record|object)\b", re.I
)


def symbol_table(nm: str, sources: Iterable[Path]) -> str:
    """Assembly of the table (its format is described in toro/kernel/Symbols.pas).

    Args:
        nm: what `nm -n --defined-only` printed.
        sources: Pascal files to take the spelling of names from.
    """
    spelling = _spelling(path.read_text(errors="replace") for path in sources)
    by_address: dict[int, str] = {}
    for line in nm.splitlines():
        address, kind, name = line.split(maxsplit=2)
        if kind in "tT" and not name.startswith("."):
            by_address.setdefault(int(address, 16), readable(name, spelling))
    lines = ['.section .symbols, "a"', f".long {len(by_address)}"]
    names = b""
    for address, name in by_address.items():
        lines.append(f".long {address}, {len(names)}")
        names += name.encode() + b"\0"
    lines += [f".byte {','.join(map(str, names[at : at + 64]))}" for at in range(0, len(names), 64)]
    return "\n".join(lines) + "\n"


def readable(name: str, spelling: dict[str, str]) -> str:
    """A mangled name (`P$HELLO_$$_SHOW$LONGINT`) as a programmer knows it (`Hello.Show`).

    Args:
        name: the linker's.
        spelling: the sources' spelling by upper-case identifier.
    """
    scope, separator, routine = name.partition("_$$_")
    if not separator:
        return name
    # A method: UNIT$_$CLASS_$__; a nested routine: UNIT$_$OUTER$_$$_INNER.
    parts = [part for part in re.split(r"\$_\$|_\$_|_\$__", scope.removeprefix("P$")) if part]
    parts.append(routine.partition("$")[0])
    return ".".join(spelling.get(part.rstrip("_$"), part.rstrip("_$")) for part in parts)


def _spelling(texts: Iterable[str]) -> dict[str, str]:
    spelling: dict[str, str] = {}
    for text in texts:
        for match in _DEFINITION.finditer(text):
            for identifier in (match[1] or match[2]).split("."):
                spelling.setdefault(identifier.upper(), identifier)
    return spelling
