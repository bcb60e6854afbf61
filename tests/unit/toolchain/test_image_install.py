"""Where an image goes: files are replaced whole, and what is no file stays what it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyvmm.errors import BuildError
from pyvmm.toolchain.build import _check_place, _install


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """What the linker has made."""
    made = tmp_path / "built"
    made.write_bytes(b"image")
    return made


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_is_replaced(built: Path, tmp_path: Path, before: bytes | None) -> None:
    image = tmp_path / "image.elf"
    if before:
        image.write_bytes(before)
    with open(image, "rb") if before else open(os.devnull, "rb") as reader:
        _install(built, image)
        assert reader.read() == (before or b"")  # whoever has it open keeps the old one
    assert image.read_bytes() == b"image"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["built", "image.elf"]


def test_a_link_leads_to_the_image_afterwards(built: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "target.elf"
    target.write_bytes(b"old")
    link = tmp_path / "link.elf"
    link.symlink_to("folder/target.elf")
    _install(built, link)
    assert link.is_symlink()
    assert target.read_bytes() == b"image"


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for place in (Path("/dev/null"), fifo):
        with pytest.raises(BuildError, match="not a regular file"):
            _check_place(place)
    assert Path("/dev/null").is_char_device()


def test_a_folder_is_one_line(built: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="Is a directory"):
        _install(built, tmp_path)
