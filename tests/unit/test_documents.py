"""What the documents say about files is true."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def named(text: str) -> list[str]:
    """The files that a text names: `b.c` behind `pyvmm/a/x.c` is pyvmm/a/b.c, and `native/` is in pyvmm."""
    found: list[str] = []
    for name in re.findall(r"`([\w/]+\.(?:c|py|pas|s))`", text):
        places = [name, f"pyvmm/{name}", *(str(Path(before).parent / name) for before in reversed(found))]
        found.append(next((place for place in places if (ROOT / place).is_file()), name))
    return found


def test_the_files_in_the_architecture_are_there() -> None:
    files = named((ROOT / "docs/architecture.md").read_text())
    assert len(files) > 50
    assert not [file for file in files if not (ROOT / file).is_file()]


def test_the_reader_s_path_visits_each_file_once() -> None:
    files = named((ROOT / "docs/architecture.md").read_text().partition("## A reader's path")[2])
    assert len(files) == len({*files}) > 40


def test_every_benchmark_is_listed() -> None:
    text = (ROOT / "bench/README.md").read_text()
    assert not [path.name for path in (ROOT / "bench").glob("*.[cp]*") if f"`{path.name}`" not in text]
