"""examples/python: each does what its folder says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from guests import MADE
from programs import Programs

PYTHON = Path(__file__).parents[3] / "examples/python"

pytestmark = pytest.mark.skipif(bool(MADE), reason="they compile their guests")


@pytest.fixture(autouse=True)
def _needs_compiler(programs: Programs) -> None: ...


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=PYTHON, capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_talk() -> None:
    size = (PYTHON / "talk.py").stat().st_size
    assert run("talk.py").splitlines() == [f"200: {size} bytes of this program", "the guest's console: listening"]


def test_clones() -> None:
    size = (PYTHON / "clones.py").stat().st_size
    assert run("clones.py", "4").splitlines() == [f"clone {index}: 200, {size} bytes" for index in range(4)]


def test_entropy() -> None:
    dice, status = run("entropy.py").splitlines()
    assert re.fullmatch("([1-6] ){10}", dice)
    assert status == "exit status 0"


def test_histogram() -> None:
    *rows, median = run("histogram.py", "5").splitlines()
    assert sum(row.count("#") for row in rows) == 5
    assert re.fullmatch(r"median \d+\.\d\d ms", median)


def test_pytest_fixture() -> None:
    assert "2 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_guest.py")
