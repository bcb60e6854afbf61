"""`--sandbox` and what other options mean for it."""

from __future__ import annotations

import pytest
from guests import Assembler, Result, pyvmm

from pyvmm.command.confined import allowed_ports


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--sandbox=yes", "--sandbox=yes: not off, on, require"),
        ("--user=root", "--user root: not UID, UID-UID or UID:GID, in numbers"),
    ],
)
def test_mistakes_are_one_line(assemble: Assembler, word: str, message: str) -> None:
    assert pyvmm("boot", assemble("1: jmp 1b"), word) == Result(125, b"", f"pyvmm: {message}\n")


@pytest.mark.parametrize(
    ("targets", "ports"),
    [([], []), (["80=127.0.0.1:8080", "81=[::1]:81"], [8080, 81]), (["all"], None)],
)
def test_ports_of_targets(targets: list[str], ports: list[int] | None) -> None:
    assert allowed_ports(targets) == ports
