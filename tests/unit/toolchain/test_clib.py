"""The C library of Toro, on the host."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def test_printf_writes_what_the_hosts_writes(tmp_path: Path) -> None:
    program = tmp_path / "printf"
    options = ["-O1", "-w", "-fno-builtin", "-fsanitize=address,undefined", f"-I{ROOT / 'toro/c'}"]
    subprocess.run(["gcc", *options, str(HERE / "compare_printf.c"), "-o", str(program)], check=True)
    result = subprocess.run([str(program)], capture_output=True, text=True)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
