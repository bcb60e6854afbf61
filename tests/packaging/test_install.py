"""What users install: the sdist builds into a wheel, and the wheel works outside the source tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import pytest
from guests import Assembler, needs_compiler, pyvmm

from pyvmm.command.executable.build import libpython

ROOT = Path(__file__).parents[2]
VERSION = f"3.{sys.version_info[1]}"
#: The versions of Python that the metadata promises.
VERSIONS = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
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


class Installed(NamedTuple):
    """A wheel, and the command in the virtual environment that it was installed in."""

    wheel: Path
    command: Path


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Runs a command that must succeed, and returns its standard output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, env=inherited | environment, timeout=500
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def interpreter(version: str) -> Path:
    """A Python of that version that extensions can be built for: ours, pyenv's or the one on PATH."""
    if version == VERSION:
        return Path(sys.executable)
    code = "import ensurepip, os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')"
    places = [*Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python3")]
    for path in [*map(str, places), shutil.which(f"python{version}")]:
        if path and subprocess.run([path, "-c", code], capture_output=True).returncode == 0:
            return Path(path)
    pytest.skip(f"no Python {version} with its headers here")


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


@pytest.fixture(scope="module", params=VERSIONS)
def installed(request: pytest.FixtureRequest, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel made of the sdist, and a new virtual environment that has it."""
    python = interpreter(request.param)
    folder = tmp_path_factory.mktemp("install")
    run(python, "-m", "venv", folder / "venv", cwd=folder)
    pip = folder / "venv/bin/pip"
    run(pip, "wheel", "--no-deps", "--wheel-dir", folder, sdist, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(pip, "install", wheel, cwd=folder)
    return Installed(wheel, folder / "venv/bin/pyvmm")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pyvmm build` keeps: the kernel is compiled once, as all wheels have the same."""
    return tmp_path_factory.mktemp("cache")


def test_sdist_has_the_whole_source_tree(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked() if not name.startswith(".")} <= packed
    assert not {name for name in packed if name.endswith((".elf", ".so", ".pyc"))}


def test_wheel_has_every_module_and_all_of_toro(installed: Installed) -> None:
    with ZipFile(installed.wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    names = [name for name in tracked() if not name.endswith("README.md")]
    toro = {f"pyvmm/{name}" for name in names if name.startswith("toro/")}
    modules = {name for name in names if name.startswith(("pyvmm/", "vhost_user/")) and name.endswith(".py")}
    builds = {name for name in modules if name.startswith(("pyvmm/native/", "pyvmm/command/executable/"))}
    assert toro | (modules - builds) <= packed
    assert not {name for name in packed if name.startswith("tests/")}


@needs_compiler
def test_installed_command_builds_and_boots(installed: Installed, tmp_path: Path, cache: Path) -> None:
    for source, text, said in (("hello.pas", HELLO, "hello\n"), ("ranks.c", RANKS, "rank 0\n")):
        (tmp_path / source).write_text(text)
        run(installed.command, "build", source, cwd=tmp_path, XDG_CACHE_HOME=str(cache))
        assert run(installed.command, "boot", Path(source).with_suffix(".elf"), cwd=tmp_path) == said


def test_manual_and_completions_are_installed(installed: Installed) -> None:
    share = installed.command.parents[1] / "share"
    assert "pyvmm boot" in (share / "man/man1/pyvmm.1").read_text()
    for name in (
        "bash-completion/completions/pyvmm",
        "zsh/site-functions/_pyvmm",
        "fish/vendor_completions.d/pyvmm.fish",
    ):
        assert "vsock-uds" in (share / name).read_text()


@needs_compiler
def test_installed_benchmarks_run(installed: Installed, tmp_path: Path, cache: Path) -> None:
    """The one of boot is linked with pyvmm's own C parts."""
    command = ("bench", "boot", "--runs", "2", "--against", "c-floor")
    assert "| c-floor | " in run(installed.command, *command, cwd=tmp_path, XDG_CACHE_HOME=str(cache))


@pytest.mark.skipif(not libpython(), reason="this Python is not there as a library")
def test_python_without_a_known_core_phase_boots_too(checkout: Path, assemble: Assembler, tmp_path: Path) -> None:
    """As a version of Python does that main.c does not know, whose core phase may be another."""
    run(sys.executable, "setup.py", "build", cwd=checkout, CFLAGS="-DCORE_PHASE=0")
    (main,) = checkout.rglob("main.o")
    assert "_Py_InitializeMain" not in run("nm", main, cwd=tmp_path)
    (tmp_path / "lib").symlink_to(Path(sys.prefix, "lib"))
    (tmp_path / "bin").mkdir()
    shutil.copy(checkout / "build/executable/bin/pyvmm", tmp_path / "bin")
    command = str(tmp_path / "bin/pyvmm")
    guest = assemble('print hello, 3\n exit 7\nhello: .ascii "hi\\n"')
    done = pyvmm("boot", guest, executable=command)
    assert (done.status, done.stdout, done.stderr) == (7, b"hi\n", "")
    done = pyvmm("boot", "/no/such", executable=command)
    assert (done.status, done.stdout, done.stderr) == (125, b"", "pyvmm: /no/such: No such file or directory\n")
