"""Files that are there as a whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyvmm.host import errands
from pyvmm.host.newfile import NewFile, write


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "guest").write_bytes(b"old")
    before = [*errands._errands]
    yield fd
    os.close(fd)
    assert errands._errands == before


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("nameless", [True, False])
def test_it_replaces_the_old_one_when_it_is_kept(
    tmp_path: Path, directory: int, nameless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nameless:
        monkeypatch.setattr("posix.O_TMPFILE", os.O_CREAT | os.O_EXCL)  # as a file system without
    file = NewFile(directory, "guest")
    write(file.fd, [b"n", memoryview(b"ew")])
    assert contents(tmp_path)["guest"] == b"old"
    file.keep(sync=True)
    file.close()
    file.close()
    assert contents(tmp_path) == {"guest": b"new"}


@pytest.mark.parametrize("nameless", [True, False])
def test_nothing_is_left_of_one_that_is_not_kept(
    tmp_path: Path, directory: int, nameless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nameless:
        monkeypatch.setattr("posix.O_TMPFILE", os.O_CREAT | os.O_EXCL)
    file = NewFile(directory, "guest")
    write(file.fd, [b"new"])
    file.close()
    assert contents(tmp_path) == {"guest": b"old"}
