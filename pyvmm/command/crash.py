"""`pyvmm crash`: prints a crash report again."""

from __future__ import annotations

from pyvmm.command.options import only_operand, parse
from pyvmm.crash.storage import encoded, read
from pyvmm.crash.text import full


def crash(words: list[str]) -> str:
    """What to print.

    Raises:
        UsageError: the words make no sense.
        PyvmmError: there is no such report.
    """
    operands, options, _ = parse("crash", words)
    report = read(only_operand("crash", operands))
    if "--json" in options:
        return encoded(report).decode() + "\n"
    return "".join(f"{_shown(line)}\n" for line in full(report))


def _shown(line: str) -> str:
    """Without what a terminal would take for a command: the file may be anybody's."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
