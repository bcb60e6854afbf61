"""The CPU as applications see it: exception and interrupt handlers, time; and text routines."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from guests import Result, needs_simd_exceptions
from test_kernel import assert_all_ok

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
def test_exceptions_and_interrupts_of_the_application(toro: Callable[..., Result], cpus: int) -> None:
    assert_all_ok(toro("Catching", "--cpus", str(cpus)), 13)


@needs_simd_exceptions
def test_a_floating_point_exception_is_one_of_the_application(toro: Callable[..., Result]) -> None:
    assert_all_ok(toro("Catching", "--append", "float"), 1)


def test_small_routines(toro: Callable[..., Result]) -> None:
    before = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    result = toro("Utilities", "--append", " first,second  ,third, ", "--cpus", "2")
    after = datetime.now(UTC).replace(tzinfo=None)
    lines = result.stdout.decode().splitlines()
    checks, (time, *parameters) = lines[:17], lines[17:]
    assert all(line.startswith("ok ") for line in checks)
    assert before <= datetime(*map(int, time.split()[1:])) <= after  # type: ignore[arg-type]
    assert parameters == ["parameter first", "parameter second", "parameter third"]


def test_a_program_without_parameters_has_none(toro: Callable[..., Result]) -> None:
    assert b"parameter" not in toro("Utilities").stdout.rpartition(b"time")[2]


def test_nucleus_and_kernel_mean_the_same_core(toro: Callable[..., Result]) -> None:
    source = (ROOT / "toro/boot/nucleus.s").read_text()
    offsets = dict(re.findall(r"\.set CORE_(\w+), (\w+)", source))
    says = dict(line.split() for line in toro("CoreOffsets", "--cpus", "8").stdout.decode().splitlines())
    assert says.pop("APART") == "1", "two cores write to one cache line"
    assert len(says) == 15
    assert says == {name: str(int(offset, 0)) for name, offset in offsets.items()}
