"""A pytest plugin that reports to the outer half (`test`) how each test went and which guests it booted.

A line of JSON on stderr announces that a test begins, another that it is over. LAB_PART (such as
0/2) selects the files to run here. LAB_DONE lists the tests that are done: they ran in another
machine, which ended later.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

_stderr = os.dup(2)  # before pytest captures it
_guests: list[str] = []  # that were booted for the test that runs
_seconds = 0.0
_outcome = "passed"


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event != "subprocess.Popen" or not isinstance(arguments[1], list):
        return
    words = [os.fsdecode(word) for word in arguments[1]]
    if len(words) > 2 and Path(words[0]).name == "pyvmm" and words[1] == "boot":
        name = Path(words[2]).name.removesuffix(".elf")
        _guests.append("(assembly)" if re.fullmatch("[0-9a-f]{16}", name) else name)  # guests.Assembler


sys.addaudithook(_listen)


def _tell(**what: object) -> None:
    os.write(_stderr, json.dumps(what).encode() + b"\n")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is done, here or elsewhere. Each file goes to the part that has the fewest tests."""
    done = set(os.environ["LAB_DONE"].splitlines())
    part, parts = map(int, os.environ["LAB_PART"].split("/"))
    shares: list[set[Path]] = [set() for _ in range(parts)]
    sizes = [0] * parts
    for path, size in Counter(item.path for item in items).most_common():
        least = sizes.index(min(sizes))
        shares[least].add(path)
        sizes[least] += size
    wanted = [item for item in items if item.path in shares[part] and item.nodeid not in done]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins."""
    _tell(begins=nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What was booted belongs to this test; a guest of a fixture to the first that uses it."""
    global _seconds, _outcome
    _seconds += report.duration
    if report.outcome != "passed":
        _outcome = report.outcome
    if report.when == "teardown":
        _tell(test=report.nodeid, outcome=_outcome, seconds=_seconds, guests=_guests)
        _seconds, _outcome = 0.0, "passed"
        _guests.clear()
