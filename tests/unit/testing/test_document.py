"""The examples in docs/testing.md work as they are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/testing.md").read_text()


def blocks() -> list[str]:
    """The indented blocks of Python."""
    found = re.findall(r"(?:^    .*\n|^\n)+", TEXT, re.MULTILINE)
    texts = ("".join(line[4:] or "\n" for line in block.splitlines(True)) for block in found)
    return [text for text in texts if "def " in text]


def test_the_tests_in_it_pass(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/python/entropy.py", tmp_path)
    for number, text in enumerate(blocks()):
        (tmp_path / f"test_{number}.py").write_text(text)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert f"{TEXT.count('    def test_')} passed" in done.stdout


def test_the_finding_in_it_is_that_of_the_example() -> None:
    line = int(re.findall(r"checksum\.py:(\d+)", TEXT)[0])
    assert "writable[0]" in (ROOT / "examples/python/checksum.py").read_text().splitlines()[line - 1]
