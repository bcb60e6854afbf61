"""pyvmm/_kvm.pyi declares what the module has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyvmm
from pyvmm._kvm import lib

ROOT = Path(pyvmm.__file__).parent


def test_the_stub_is_what_its_program_makes() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import stubs; print(stubs.stub(), end='')"
    made = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "native")], capture_output=True, text=True, check=True
    )
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", "_kvm.pyi", "-"],
        input=made.stdout, capture_output=True, text=True, check=True, cwd=ROOT.parent,
    ).stdout  # fmt: skip
    assert formatted == (ROOT / "_kvm.pyi").read_text()


def test_all_that_is_declared_is_there() -> None:
    stub = (ROOT / "_kvm.pyi").read_text()
    assert [name for name in dir(lib) if f"    {name}: int" not in stub and f"    def {name}(" not in stub] == []
