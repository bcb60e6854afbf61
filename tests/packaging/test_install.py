"""What a user installs: the sdist builds into a wheel, and the wheel works outside the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from guests import needs_compiler

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: A program that a user might write.
HELLO = """\
program Hello;
uses Kernel, Console;
begin
  WriteConsoleF('hello\\n', []);
end.
"""
RANKS = """\
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    printf("rank %d\\n", rank);
    MPI_Finalize();
}
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Runs a command that must succeed, and returns its standard output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, env=inherited | environment, timeout=500
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def tracked() -> list[str]:
    """The files of the source tree, without what is built in it."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean checkout of the source tree as it is now."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    """The source distribution."""
    run(sys.executable, "-m", "build", "--sdist", cwd=checkout)
    (made,) = (checkout / "dist").iterdir()
    return made


@pytest.fixture(scope="module")
def installed(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel made of the sdist, and a new virtual environment that has it."""
    folder = tmp_path_factory.mktemp("install")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = folder / "venv/bin/pip"
    run(pip, "wheel", "--no-deps", "--wheel-dir", folder, sdist, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(pip, "install", wheel, cwd=folder)
    return wheel, folder / "venv"


def test_sdist_has_the_whole_source_tree(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked() if not name.startswith(".")} <= packed
    assert not {name for name in packed if name.endswith((".elf", ".so", ".pyc"))}


def test_wheel_has_every_module_and_all_of_toro(installed: tuple[Path, Path]) -> None:
    with ZipFile(installed[0]) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    names = [name for name in tracked() if not name.endswith("README.md")]
    toro = {f"pyvmm/{name}" for name in names if name.startswith("toro/")}
    modules = {name for name in names if name.startswith(("pyvmm/", "vhost_user/")) and name.endswith(".py")}
    builds = {name for name in modules if name.startswith(("pyvmm/native/", "pyvmm/command/executable/"))}
    assert toro | (modules - builds) <= packed
    assert not {name for name in packed if name.startswith("tests/")}


@needs_compiler
def test_installed_command_builds_and_boots(installed: tuple[Path, Path], tmp_path: Path) -> None:
    pyvmm = installed[1] / "bin/pyvmm"
    for source, text, said in (("hello.pas", HELLO, "hello\n"), ("ranks.c", RANKS, "rank 0\n")):
        (tmp_path / source).write_text(text)
        run(pyvmm, "build", source, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert run(pyvmm, "boot", Path(source).with_suffix(".elf"), cwd=tmp_path) == said


def test_installed_benchmarks_are_found(installed: tuple[Path, Path], tmp_path: Path) -> None:
    assert run(installed[1] / "bin/pyvmm", "bench", "boot", "--help", cwd=tmp_path).startswith(
        "usage: pyvmm bench boot"
    )
