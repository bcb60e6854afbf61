"""Toro programs as guests: compiled once, booted with one call."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import MADE, Result, pyvmm
from programs import Programs


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Makes images of Toro programs."""
    if not MADE and not shutil.which("ppcx64"):
        pytest.skip("Free Pascal (fp-compiler) is not installed")
    return Programs(tmp_path_factory.mktemp("toro"))


@pytest.fixture
def toro(programs: Programs) -> Callable[..., Result]:
    """Boots a Toro program: `toro("Heap", "--mem", "1G")`."""

    def run(source: Path | str, *options: str, **how: object) -> Result:
        return pyvmm("boot", programs.image(source), *options, **how)  # type: ignore[arg-type]

    return run
