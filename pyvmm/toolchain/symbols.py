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
    r"\b(?:procedure|function|constructor|destructor|unit|program)\s+([\w.]+)|(\w+)\s*=\s*(?:class|record|object)\b",
    re.I,
)
#: Between unit and class, class and method, outer and nested routine, unit and routine.
_SEPARATOR = re.compile(r"_\$__\$\$_|_\$\$_|_\$_|\$_\$")


def symbol_table(nm: str, sources: Iterable[Path]) -> str:
    """The table as assembly source; toro/kernel/Symbols.pas describes its format.

    Args:
        nm: output of `nm -n --defined-only`.
        sources: Pascal files that show how names are spelled.
    """
    spelling = _spelling(path.read_text(errors="replace") for path in sources)
    by_address: dict[int, str] = {}
    for line in nm.splitlines():
        address, kind, name = line.split(maxsplit=2)
        if kind in "tT" and not name.startswith("."):
            by_address.setdefault(int(address, 16), readable(name, spelling))
    lines = ['.section .symbols, "a"', f".long {len(by_address)}"]
    names = b""
    for start, name in by_address.items():
        lines.append(f".long {start}")
        names += name.encode() + b"\0"
    lines += [f".byte {','.join(map(str, names[at : at + 64]))}" for at in range(0, len(names), 64)]
    return "\n".join(lines) + "\n"


def readable(name: str, spelling: dict[str, str]) -> str:
    """A mangled name (`P$HELLO_$$_SHOW$LONGINT`) as the sources spell it (`Hello.Show`).

    Args:
        name: as the linker knows it.
        spelling: the sources' spelling by upper-case identifier.
    """
    if "_$$_" not in name:
        return name
    parts = (part.partition("$")[0] for part in _SEPARATOR.split(name.removeprefix("P$")))
    return ".".join(spelling.get(part, part) for part in parts if part)


def _spelling(texts: Iterable[str]) -> dict[str, str]:
    spelling: dict[str, str] = {}
    for text in texts:
        for match in _DEFINITION.finditer(text):
            for identifier in (match[1] or match[2]).split("."):
                spelling.setdefault(identifier.upper(), identifier)
    return spelling
