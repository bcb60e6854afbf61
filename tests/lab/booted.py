"""A plugin of pytest: which guests were booted by the `pyvmm` command, and how long their tests took."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

_here: list[str] = []  # guests of the test that runs
_boots: dict[str, int] = defaultdict(int)
_seconds: dict[str, float] = defaultdict(float)


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event != "subprocess.Popen" or not isinstance(arguments[1], list):
        return
    words = [os.fsdecode(word) for word in arguments[1]]
    if len(words) > 2 and Path(words[0]).name == "pyvmm" and words[1] == "boot":
        name = Path(words[2]).name.removesuffix(".elf")
        _here.append("(assembly)" if re.fullmatch("[0-9a-f]{16}", name) else name)  # guests.Assembler


sys.addaudithook(_listen)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What was booted belongs to this test; a guest of a fixture to the first that uses it."""
    for guest in set(_here):
        _seconds[guest] += report.duration
    if report.when == "teardown":
        for guest in _here:
            _boots[guest] += 1
        _here.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The list, the slowest first."""
    terminalreporter.section("guests")
    for guest, seconds in sorted(_seconds.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{guest:32} booted {_boots[guest]:4} times, {seconds:7.1f} s")
