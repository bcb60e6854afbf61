"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guests import Assembler, Result, pyvmm
from hypothesis import settings

from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory

pytest_plugins = ["bundles", "containers"]  # their fixtures

settings.register_profile("pyvmm", deadline=None, max_examples=100)
settings.load_profile("pyvmm")


@pytest.fixture(scope="session", autouse=True)
def _registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The guests of tests are not listed among the user's."""
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def assemble(tmp_path_factory: pytest.TempPathFactory) -> Assembler:
    """Makes an image of a guest's assembly source."""
    for tool in ("as", "ld"):
        if not shutil.which(tool):
            pytest.skip(f"`{tool}` (GNU binutils) is not installed")
    return Assembler(tmp_path_factory.mktemp("guests"))


@pytest.fixture
def boot(assemble: Assembler) -> Callable[..., Result]:
    """Boots a guest: `boot(source, "--mem", "1G", stdin=b"...")`."""

    def run(source: str, *options: str, **how: object) -> Result:
        return pyvmm("boot", assemble(source), *options, **how)  # type: ignore[arg-type]

    return run


@pytest.fixture
def make_memory() -> Iterator[Callable[[int], GuestMemory]]:
    """Makes guest memories that end with the test."""
    made: list[GuestMemory] = []

    def make(size: int) -> GuestMemory:
        made.append(GuestMemory(Ram(size)))
        return made[-1]

    yield make
    for memory in made:
        memory.close()


@pytest.fixture
def image_file(tmp_path: Path) -> Callable[[bytes], str]:
    """Writes bytes to a file `guest.elf`, and tells its path."""

    def write(data: bytes) -> str:
        path = tmp_path / "guest.elf"
        path.write_bytes(data)
        return str(path)

    return write
