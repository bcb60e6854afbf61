"""Programs in C: their library, their variables, their ends, and how they are built."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import PYVMM, Result, needs_compiler, pyvmm
from test_library import needs_virtiofsd

HERE = Path(__file__).parent


@pytest.mark.parametrize("cpus", [1, 2, 3])
def test_each_rank_has_its_own_variables_and_library(toro: Callable[..., Result], cpus: int) -> None:
    result = toro(HERE / "CLibrary.c", "--cpus", str(cpus), "--append", "NAME='a value'")
    assert result == Result(0, b"bye\n", "")


@needs_virtiofsd
def test_files_are_those_of_shares(toro: Callable[..., Result], tmp_path: Path) -> None:
    share = f"--share={tmp_path}:share"
    result = toro(HERE / "CLibrary.c", "--cpus", "2", share, "--append", "files NAME='a value'")
    assert result == Result(0, b"bye\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("exit", 7, ""),
        ("abort", 134, "rank 1: ended by signal 6 (Aborted)\n"),
        ("mpi-abort", 9, ""),
        ("rank", 1, "rank 1: MPI_Send: invalid rank\n"),
        ("truncate", 1, "rank 1: MPI_Recv: the message is longer than the buffer\n"),
    ],
)
def test_the_end_of_one_rank_is_that_of_all(toro: Callable[..., Result], how: str, status: int, said: str) -> None:
    assert toro(HERE / "CDeaths.c", "--cpus", "2", "--append", how) == Result(status, said.encode(), "")


def test_a_stack_that_is_too_small_is_told(toro: Callable[..., Result]) -> None:
    result = toro(HERE / "CDeaths.c", "--cpus", "2", "--append", "stack")
    assert result.status == 202
    assert b"stack overflow" in result.stdout


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


@needs_compiler
def test_several_files_an_archive_and_options(tmp_path: Path) -> None:
    write(
        tmp_path,
        main_c='#include <stdio.h>\n#include "part.h"\nint main(void) { printf("%d %.3f\\n", part(), rest(0.25)); }\n',
        part_c='#include "part.h"\nint part(void) { return NUMBER; }\n',
        rest_c='#include <math.h>\n#include "part.h"\ndouble rest(double x) { return sqrt(x); }\n',
    )
    (tmp_path / "include").mkdir()
    (tmp_path / "include/part.h").write_text("int part(void);\ndouble rest(double);\n")
    here = {name: str(tmp_path / name) for name in ("main.c", "part.c", "rest.c", "rest.o", "librest.a", "main.elf")}
    assert pyvmm("cc", f"-I{tmp_path}/include", "-c", here["rest.c"], "-o", here["rest.o"]) == Result(0, b"", "")
    subprocess.run(["ar", "rc", here["librest.a"], here["rest.o"]], check=True)
    options = [f"-I{tmp_path}/include", "-O3", "-DNUMBER=12", "-lm"]
    built = pyvmm("build", here["main.c"], here["part.c"], here["librest.a"], "--", *options)
    assert built == Result(0, b"", "")
    assert pyvmm("boot", here["main.elf"]) == Result(0, b"12 0.500\n", "")


@needs_compiler
def test_a_main_in_an_archive(tmp_path: Path) -> None:
    write(
        tmp_path,
        main_c='#include <stdio.h>\nint part(void);\nint main(void) { printf("%d\\n", part()); }\n',
        part_c="int part(void) { return 12; }\n",
    )
    made, library, image = (str(tmp_path / name) for name in ("main.o", "libmain.a", "part.elf"))
    assert pyvmm("cc", "-c", str(tmp_path / "main.c"), "-o", made) == Result(0, b"", "")
    subprocess.run(["ar", "rc", library, made], check=True)
    without = pyvmm("cc", str(tmp_path / "part.c"), "-o", image)
    assert (without.status, "undefined reference to `main'" in without.stderr) == (125, True)
    assert pyvmm("cc", str(tmp_path / "part.c"), library, "-o", image) == Result(0, b"", "")
    assert pyvmm("boot", image) == Result(0, b"12\n", "")


@needs_compiler
def test_cc_works_for_make(tmp_path: Path) -> None:
    write(
        tmp_path,
        hello_c='#include <mpi.h>\n#include <stdio.h>\nint main(int n, char **w) { MPI_Init(&n, &w); puts("made"); }\n',
        Makefile="hello: hello.o\n\t$(CC) $(LDFLAGS) -o $@ hello.o -lm -lmpi\n",
    )
    subprocess.run(["make", "-s", "-C", str(tmp_path), f"CC={PYVMM} cc"], check=True)
    assert pyvmm("boot", str(tmp_path / "hello")) == Result(0, b"made\n", "")
