"""How MPI waits (toro/mpi/wait.c)."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ROUNDS = 10000


@pytest.fixture
def code(tmp_path: Path) -> ctypes.CDLL:
    path = tmp_path / "waits.so"
    places = [f"-I{ROOT / 'toro' / name}" for name in ("mpi", "c")]
    command = ["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *places]
    subprocess.run([*command, str(HERE / "waits.c"), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))


@pytest.mark.parametrize("announced", [True, False])
def test_a_rank_leaves_a_cpu_that_it_shares(code: ctypes.CDLL, announced: bool) -> None:
    assert code.wait_for(announced, ROUNDS, ctypes.c_uint64(0)) == 0
    assert code.wait_for(announced, ROUNDS, ctypes.c_uint64(100)) == 0  # its own wake-up
    assert code.wait_for(announced, ROUNDS, ctypes.c_uint64(3000)) > 0
    assert code.wait_for(announced, ROUNDS, ctypes.c_uint64(0)) > 0  # it remembers
