"""Which options of `pyvmm boot` go with `--sandbox`."""

from __future__ import annotations

import os

import pytest
from guests import Assembler, Result, pyvmm

from pyvmm.command.confined import allowed_ports


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "guest"],
        ["--detach"],
        ["--metrics", "0"],
        ["--ready-fd", "2"],
        ["--json-events", "2"],
        ["--net", "lan"],
        ["--netns", "guest"],
        ["--log-format", "text"],
        ["-p", "*", "--vsock", "3"],
    ],
)
def test_one_that_does_not_is_refused_by_one_line(assemble: Assembler, words: list[str]) -> None:
    done = pyvmm("boot", assemble("1: jmp 1b"), *words, "--sandbox=on")
    name = "-p *" if words[0] == "-p" else words[0]
    assert done == Result(125, b"", f"pyvmm: --sandbox=on does not go with {name} yet\n")


def test_systemd_is_not_told(assemble: Assembler) -> None:
    done = pyvmm("boot", assemble("1: jmp 1b"), "--sandbox=require", env=os.environ | {"NOTIFY_SOCKET": "@there"})
    assert done == Result(125, b"", "pyvmm: --sandbox=require does not go with notifications of systemd yet\n")


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
