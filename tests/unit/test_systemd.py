"""The template of systemd's unit, by systemd's own checker."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from guests import PYVMM

import pyvmm

UNIT = Path(pyvmm.__file__).parents[1] / "systemd/pyvmm@.service"
pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def analyze(*words: str | Path) -> str:
    done = subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_it_is_a_unit(tmp_path: Path) -> None:
    """All that is complained about is what is not installed here: the manual page."""
    unit = tmp_path / "pyvmm@.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/pyvmm", PYVMM))
    said = [line for line in analyze("verify", unit).splitlines() if "man pyvmm" not in line]
    assert said == []


def test_it_is_hardened() -> None:
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", analyze("security", "--offline=true", UNIT))
    assert exposure
    assert float(exposure[1]) < 2
