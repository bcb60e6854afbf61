"""Threads on one core and on many: checked from inside by programs, and how a failure is reported."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile
from resource import RUSAGE_CHILDREN, getrusage

import pytest
from guests import Result, in_emulator
from test_kernel import assert_all_ok

CPUS = [1, 2, 4, 8]
EXCEPTION = 120
UNCAUGHT, OVERFLOW = 217, 202


@pytest.mark.parametrize("cpus", CPUS)
def test_threads(toro: Callable[..., Result], cpus: int) -> None:
    assert_all_ok(toro("Threads", "--cpus", str(cpus)), 36 + 2 * cpus)


@pytest.mark.parametrize("cpus", CPUS)
def test_wakeups(toro: Callable[..., Result], cpus: int) -> None:
    assert_all_ok(toro("Wakeups", "--cpus", str(cpus)), 19 if cpus == 1 else 20)


@pytest.mark.parametrize("memory", ["16M", "3G", "5G"])
def test_threads_with_little_memory_and_with_much(toro: Callable[..., Result], memory: str) -> None:
    assert_all_ok(toro("Threads", "--cpus", "2", "--mem", memory), 40)


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_stack_overflow_names_its_thread(toro: Callable[..., Result], cpus: int) -> None:
    result = toro("Faults", "--append", "thread-stack", "--cpus", str(cpus))
    first, *lines = result.stdout.decode().splitlines()
    where = rf"on core {cpus - 1} in thread 3 Faults.OverflowThread"
    assert re.fullmatch(rf"Exception 14 \(page fault\) {where}, writing to \w{{16}}: stack overflow", first)
    assert re.fullmatch(r"  \w{16}  Faults.Recurse\+\d+", lines[6])
    assert "Faults.OverflowThread+" in lines[-2]
    assert "ThreadLife.ThreadMain+" in lines[-1]
    assert result.status == OVERFLOW


@pytest.mark.parametrize(
    ("fault", "name"), [("thread-divide", "Faults.DivideThread"), ("thread-named", "Divider")], ids=["function", "name"]
)
def test_an_exception_names_its_thread(toro: Callable[..., Result], fault: str, name: str) -> None:
    result = toro("Faults", "--append", fault, "--cpus", "2")
    first, *lines = result.stdout.decode().splitlines()
    assert first == f"Exception 0 (divide error) on core 1 in thread 3 {name}"
    backtrace = takewhile(lambda line: line.startswith("  "), lines[6:])
    functions = [line.split()[1].partition("+")[0] for line in backtrace]
    assert functions == ["Faults.DivideByZero", "Faults.DivideThread", "ThreadLife.ThreadMain"]
    assert result.status == UNCAUGHT


@pytest.mark.parametrize(
    ("fault", "status", "text", "function"),
    [
        ("thread-exception", 217, b"Exception: nobody catches this\n", b"Faults.RaiseThread+"),
        ("thread-runtime-error", 201, b"Runtime error 201 at $", b"Faults.ErrorThread+"),
        ("thread-panic", EXCEPTION, b"Panic: number 5\nBacktrace:\n", b"Faults.PanicThread+"),
    ],
    ids=["exception", "runtime-error", "panic"],
)
def test_a_thread_ends_the_program(
    toro: Callable[..., Result], fault: str, status: int, text: bytes, function: bytes
) -> None:
    result = toro("Faults", "--append", fault, "--cpus", "2")
    assert result.status == status
    assert text in result.stdout
    assert function in result.stdout
    assert result.stdout.rstrip().splitlines()[-1].lstrip().split()[1].startswith(b"ThreadLife.ThreadMain+")


@pytest.mark.skipif(in_emulator(), reason="what an emulated CPU does takes 50 times as long")
def test_an_idle_guest_uses_next_to_nothing(toro: Callable[..., Result]) -> None:
    def used(seconds: int) -> float:
        before = getrusage(RUSAGE_CHILDREN)
        assert toro("Faults", "--append", f"sleep-{seconds}", "--cpus", "4").status == 0
        after = getrusage(RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    used(0)  # compiles the program
    assert (used(4) - used(0)) / 4 < 0.02
