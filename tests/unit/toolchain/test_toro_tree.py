"""toro/: every unit is compiled, and a wheel carries every file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pyvmm.toolchain.pascal import _UNITS

ROOT = Path(__file__).parents[3]
TORO = ROOT / "toro"


def test_every_unit_is_in_a_directory_that_the_build_searches() -> None:
    directories = {str(path.parent.relative_to(TORO)) for path in TORO.rglob("*.pas")}
    assert directories - {"c", "rtl/packages"} == set(_UNITS)  # a program, and what is compiled when it is used


def test_unit_names_are_unique() -> None:
    names = [path.stem.lower() for path in TORO.rglob("*.pas")]
    assert len(names) == len(set(names))


def test_package_data_is_all_of_toro() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["pyvmm.toro"]
    carried = {path for pattern in patterns for path in TORO.glob(pattern)}
    assert carried == {path for path in TORO.rglob("*") if path.is_file()}
