"""`pyvmm bench`: which script it becomes, and what the scripts share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import PYVMM, pyvmm

from pyvmm.benchmarks import SCRIPTS

BENCH = Path(__file__).parent.parent.parent / "bench"
sys.path.append(str(BENCH))

import exits  # noqa: E402
import measure  # noqa: E402

# ---- the command ---------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_benchmark_tells_its_options(name: str) -> None:
    done = pyvmm("bench", name, "--help")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: pyvmm bench {name} [-h]".encode())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], f"which benchmark? {', '.join(SCRIPTS)}"),
        (["vsok"], "vsok: no such benchmark; did you mean vsock?"),
        (["x"], f"x: no such benchmark; there are {', '.join(SCRIPTS)}"),
        (["boot", "--runs", "x"], "bench boot: argument --runs: at least 2; 30 or more for the record"),
        (["kernel", "--nosuch"], "bench kernel: unrecognized arguments: --nosuch"),
        (["fs", "--pyvmm", "/no/such"], "bench fs: argument --pyvmm: /no/such: no such command"),
        (["boot", "--against", "x", "--mem", "16M"], "bench boot: --against x: not qemu, c-floor, python, solo5,"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], told: str) -> None:
    done = pyvmm("bench", *words)
    assert (done.status, done.stdout) == (125, b"")
    assert done.stderr.splitlines()[-1].startswith(f"pyvmm: {told}")


def test_pyvmm_that_was_called_is_measured_with_the_python_beside_it(tmp_path: Path) -> None:
    (tmp_path / "pyvmm").write_bytes(Path(PYVMM).read_bytes())
    (tmp_path / "pyvmm").chmod(0o755)
    (tmp_path / "python3").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    done = pyvmm("bench", "fs", "--runs", "3", "--help", executable=str(tmp_path / "pyvmm"))
    assert done.stdout.decode().split() == [
        *(str(BENCH / "virtiofs.py"), "--pyvmm", str(tmp_path / "pyvmm")),
        *("--runs", "3", "--help"),
    ]


# ---- statistics ----------------------------------------------------------------------


def test_summary() -> None:
    assert measure.summarize([float(n) for n in range(101)]) == measure.Summary(50, 95, 0)


def test_interval_of_a_ratio_holds_it() -> None:
    low, high = measure.ratio_interval([20.0, 21, 22, 23, 24], [10.0, 11, 12, 13, 14])
    assert low <= 22 / 12 <= high
    assert measure.ratio([6.0] * 3, [2.0] * 3) == "3.00 [3.00, 3.00]"


@pytest.mark.parametrize(
    ("parse", "text", "value"), [(measure.parse_size, "2g", 2 << 30), (measure.parse_runs, "2", 2)]
)
def test_numbers_of_the_command_line(parse: Callable[[str], int], text: str, value: int) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "M", "128", "17M", "14M", "1T", "xM"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{text}: not "):
        measure.parse_size(text)


@pytest.mark.parametrize("text", ["", "0", "1", "-2", "2.5"])
def test_runs_that_medians_cannot_be_taken_of(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at least 2"):
        measure.parse_runs(text)


# ---- exits ---------------------------------------------------------------------------


def test_system_calls_are_counted_from_main_to_the_first_kvm_run() -> None:
    trace = """\
7 execve("pyvmm", ["pyvmm"], 0x7ff /* 36 vars */) = 0
7 brk(NULL) = 0x1000
7 openat(AT_FDCWD, "/dev/null", O_RDWR) = 3
7 close(3) = 0
7 clone3({flags=CLONE_VM} <unfinished ...>
8 set_robust_list(0x7f, 24) = 0
7 <... clone3 resumed>) = 8
7 --- SIGCHLD {si_signo=SIGCHLD} ---
8 ioctl(7, KVM_RUN <unfinished ...>
7 read(9, "", 8) = 0
"""
    assert exits.calls_before_run(trace.splitlines()) == (4, 2)
    with pytest.raises(measure.BenchError, match="no KVM_RUN"):
        exits.calls_before_run(trace.splitlines()[:8])


def test_table_of_counts_says_what_is_not_known() -> None:
    counts: exits.Counts = {
        "exits": {"io": 3, "mmio": 1},
        "first_line_exits": {},
        "interpreted": None,
        "first_line_interpreted": None,
        "system_calls": None,
        "loader_calls": None,
        "modules": ["pyvmm", "pyvmm.cli"],
        "other_modules": ["gc"],
        "image_bytes": 1000,
    }
    cells = [line.split("|")[2].strip() for line in exits.table(counts)[2:]]
    untold, untraced = "KVM does not tell", "strace is not installed"
    assert cells == ["none", "3 io, 1 mmio", untold, untold, untraced, untraced, "2", "1: gc", "1000"]
