"""Fixtures for the tests of boot protocols."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyvmm.boot.file import File


@pytest.fixture(autouse=True)
def _files_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes the files that a test opens."""
    opened: list[File] = []
    make = File.__init__

    def making(file: File, name: str) -> None:
        make(file, name)
        opened.append(file)

    monkeypatch.setattr(File, "__init__", making)
    yield
    for file in opened:
        file.close()
