"""`pyvmm bench`: the script that it runs, and what the scripts share."""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import PYVMM, pyvmm

from pyvmm.command.bench import NAMES

BENCH = Path(__file__).parents[3] / "bench"
sys.path.append(str(BENCH))

import density  # noqa: E402
import exits  # noqa: E402
import measure  # noqa: E402

# ---- the command ---------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_tells_its_options(name: str) -> None:
    done = pyvmm("bench", name, "--help")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: pyvmm bench {name} [-h]".encode())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], f"which benchmark? {', '.join(NAMES)}"),
        (["vsok"], "vsok: no such benchmark; did you mean vsock?"),
        (["x"], f"x: no such benchmark; there are {', '.join(NAMES)}"),
        (["boot", "--runs", "x"], "bench boot: argument --runs: at least 2; 30 or more for the record"),
        (["kernel", "--nosuch"], "bench kernel: unrecognized arguments: --nosuch"),
        (["fs", "--pyvmm", "/no/such"], "bench fs: argument --pyvmm: /no/such: no such command"),
        (["boot", "--against", "x", "--mem", "16M"], "bench boot: --against x: not qemu, c-floor, no-sandbox,"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], told: str) -> None:
    done = pyvmm("bench", *words)
    assert (done.status, done.stdout) == (125, b"")
    assert done.stderr.splitlines()[-1].startswith(f"pyvmm: {told}")


@pytest.mark.parametrize("limit", [4, 5, 8, 14, 63])
def test_a_shortage_of_descriptors_is_one_line(limit: int) -> None:
    done = pyvmm("bench", "boot", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    assert (done.status, done.stdout) == (125, b"")
    assert done.stderr == "pyvmm: bench boot: Too many open files; raise the limit of open files (`ulimit -n`)\n"


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
        "cached_calls": None,
        "loader_calls": None,
        "modules": ["pyvmm", "pyvmm.command.cli"],
        "other_modules": ["gc"],
        "image_bytes": 1000,
    }
    cells = [line.split("|")[2].strip() for line in exits.table(counts)[2:]]
    untold, untraced = "KVM does not tell", "strace is not installed"
    assert cells == ["none", "3 io, 1 mmio", untold, untold, untraced, untraced, untraced, "2", "1: gc", "1000"]


# ---- density -------------------------------------------------------------------------

SMAPS = """\
00400000-0041e000 r-xp 00000000 fd:00 5    /usr/bin/pyvmm
Rss:                 120 kB
Pss:                  60 kB
7f0ea8000000-7f0eb0000000 rw-p 00000000 00:00 0
Pss:                 548 kB
Pss_Dirty:           548 kB
7f8eacd66000-7f8eace66000 rw-p 00000000 00:00 0
Pss:                 520 kB
7f8ead09c000-7f8ead0a9000 rw-p 00000000 00:00 0
Pss:                  20 kB
"""


def test_memory_is_guest_memory_and_the_rest() -> None:
    memory = density.Memory()
    memory.add(SMAPS)
    memory.add(SMAPS)
    kib = 1 << 10
    assert (memory.vmm, memory.guest) == (1200 * kib, 1096 * kib)
    assert memory.by_mapping == {"/usr/bin/pyvmm": 120 * kib, "anonymous": 1080 * kib}


def test_table_of_guests() -> None:
    mib = 1 << 20
    rows = [
        density.Row(1, [10.0], density.Memory(8 * mib, mib), 1000 * mib, 0),
        density.Row(3, [10.0, 12, 14], density.Memory(16 * mib, 3 * mib, {"/x/pyvmm": 12 * mib}), 980 * mib, 0.5),
    ]
    assert density.table(rows)[2:] == [
        "| 1 | 10.0 (10.0) 10.0 |  | 1.00 |  | 0.000 |",
        "| 3 | 12.0 (14.0) 10.0 | 4.00 | 1.00 | 10.00 | 0.500 |",
    ]
    assert density.mappings(rows[1]) == "of each of 3, KiB: pyvmm 4096"


def test_numbers_of_guests_ascend_from_one() -> None:
    assert density.parse_guests("100,10,10") == [1, 10, 100]
    for text in ("", "0", "1,x", "1,,2", "-1"):
        with pytest.raises(argparse.ArgumentTypeError, match="not numbers"):
            density.parse_guests(text)


def test_host_that_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert density.thread_limits()["pid_max"] > 0
    monkeypatch.setattr(density, "available_memory", lambda: 10 << 30)
    monkeypatch.setattr(density, "thread_limits", lambda: {"pid_max": 1600})
    density.check_room(500, 3, 5 << 20)
    with pytest.raises(density.BenchError, match=r"^501 guests are 1503 threads, and pid_max leaves 1600$"):
        density.check_room(501, 3, 5 << 20)
    with pytest.raises(density.BenchError, match=r"^500 guests take 10000 MiB, and the host has 10240 MiB left$"):
        density.check_room(500, 3, 20 << 20)
