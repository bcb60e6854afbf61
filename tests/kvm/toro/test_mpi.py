"""MPI in Pascal and in C."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import Result, needs_compiler, pyvmm
from test_kernel import assert_all_ok

HERE = Path(__file__).parent


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 8])
def test_mpi_in_pascal(toro: Callable[..., Result], cpus: int) -> None:
    assert_all_ok(toro("Mpi", "--cpus", str(cpus)), 9)


def ranks(cpus: int, words: str) -> list[str]:
    return sorted(f"rank {i} of {cpus}: {words}" for i in range(cpus))


@pytest.mark.parametrize("cpus", [2, 4, 8])
def test_an_ordinary_mpi_program_in_c(toro: Callable[..., Result], cpus: int) -> None:
    result = toro(HERE / "Ranks.c", "--cpus", str(cpus), "--append", "these 'are words' words")
    lines = result.stdout.decode().splitlines()
    assert sorted(lines[:cpus]) == ranks(cpus, "4 words, the last is words")
    assert lines[cpus:] == ["pi is 3.141592654", f"once around, {cpus * (cpus - 1) // 2}, good"]
    assert (result.status, result.stderr) == (3, "")


@pytest.mark.parametrize("cpus", [1, 2, 3, 4])
def test_the_calls_of_the_standard(toro: Callable[..., Result], cpus: int) -> None:
    assert toro(HERE / "MpiCalls.c", "--cpus", str(cpus)) == Result(0, b"all right\n", "")


def test_messages_to_a_rank_that_does_not_receive_meanwhile(toro: Callable[..., Result]) -> None:
    assert toro(HERE / "Unread.c", "--cpus", "2") == Result(0, b"0 wrong\n", "")


@pytest.mark.parametrize("cpus", [2, 3, 4])
def test_messages_of_all_sizes_at_once_and_in_turn(toro: Callable[..., Result], cpus: int) -> None:
    assert toro(HERE / "Rings.c", "--cpus", str(cpus)) == Result(0, b"all in order\n", "")


def test_calls_that_a_program_has_in_the_place_of_those_of_mpi(toro: Callable[..., Result]) -> None:
    assert toro(HERE / "Profiled.c", "--cpus", "2") == Result(0, b"sent 1, got 5\n", "")


@pytest.mark.parametrize("cpus", [1, 2, 3])
def test_counts_that_are_larger_than_int(toro: Callable[..., Result], cpus: int) -> None:
    assert toro(HERE / "LargeCounts.c", "--cpus", str(cpus)) == Result(0, b"all right\n", "")


@pytest.mark.parametrize("cpus", [1, 2, 3, 4])
def test_topologies_and_operations_of_neighbours(toro: Callable[..., Result], cpus: int) -> None:
    assert toro(HERE / "Topologies.c", "--cpus", str(cpus)) == Result(0, b"all right\n", "")


def test_packing_for_other_machines(toro: Callable[..., Result]) -> None:
    assert toro(HERE / "External.c") == Result(0, b"all right\n", "")


@pytest.mark.parametrize("cpus", [1, 2, 3, 4])
def test_to_begin_to_duplicate_waits_for_nobody(toro: Callable[..., Result], cpus: int) -> None:
    result = toro(HERE / "Duplicates.c", "--cpus", str(cpus))
    assert sorted(result.stdout.decode().splitlines()) == [f"rank {i}: right" for i in range(cpus)]


@needs_compiler
@pytest.mark.parametrize("options", [[], ["-g", "-fPIE"], ["-O2", "-fno-pic"]], ids=["plain", "pie", "optimized"])
def test_an_object_of_the_existing_toro(toro: Callable[..., Result], tmp_path: Path, options: list[str]) -> None:
    shutil.copy(HERE / "Existing.pas", tmp_path)
    command = ["gcc", *options, "-w", "-nostdlib", "-c", str(HERE / "ExistingC.c"), "-o", str(tmp_path / "ExistingC.o")]
    subprocess.run(command, check=True)
    result = toro(tmp_path / "Existing.pas", "--cpus", "4")
    minus_77 = 2**32 - 77  # PrintDecimal takes a number without a sign
    assert result == Result(0, b"4 ranks called, parts of 4 bytes from 6 to 18, %d, time 1\n" % minus_77, "")


@needs_compiler
def test_c_that_is_wrong_is_told_with_file_and_line(tmp_path: Path) -> None:
    program = tmp_path / "Wrong.c"
    program.write_text("int main(void)\n{\n    return nothing;\n}\n")
    result = pyvmm("build", str(program))
    assert result.status == 125
    assert f"{program}:3:12: error: " in result.stderr
    assert result.stderr.splitlines()[-1] == f"pyvmm: {program}: not built, gcc failed"


@needs_compiler
@pytest.mark.parametrize(
    ("call", "message"),
    [("fork()", "_Fork calls fork: Toro has no such system call"), ("absent()", "undefined reference to `absent'")],
)
def test_a_function_that_toro_does_not_have(tmp_path: Path, call: str, message: str) -> None:
    program = tmp_path / "Missing.c"
    program.write_text(f"#include <unistd.h>\nint absent(void);\nint main(void) {{ return {call}; }}\n")
    result = pyvmm("build", str(program))
    assert result.status == 125
    assert message in result.stderr


def test_main_c_is_a_main_too(toro: Callable[..., Result], tmp_path: Path) -> None:
    program = tmp_path / "Old.c"
    program.write_text('#include <stdio.h>\nvoid mainC(void) { printf("it runs\\n"); }\n')
    assert toro(program) == Result(0, b"it runs\n", "")
