"""The compiler of C: what it says when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyvmm.errors import BuildError
from pyvmm.toolchain import c
from pyvmm.toolchain.pascal import toro_tree


def test_musl_is_missed_by_the_name_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "HEADERS", tmp_path / "absent")
    with pytest.raises(BuildError, match=r"^musl, the C library, is not installed: `apt install musl-dev`$"):
        c.Compiler(toro_tree(), debug=False).command()


def test_gcc_is_missed_by_the_name_of_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BuildError, match=r"^gcc is not installed: `apt install gcc binutils`$"):
        c.Compiler(toro_tree(), debug=False)
