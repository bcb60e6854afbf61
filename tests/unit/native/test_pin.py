"""pyvmm/native/pin.c: which host CPUs a list names."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib

ALLOWED = sorted(os.sched_getaffinity(0))


def read(text: str, cpus: int) -> tuple[int, list[int], int]:
    """The result, the CPUs and the detail."""
    pins, detail = ffi.new("int[]", [-1] * cpus), ffi.new("uint32_t *")
    return lib.pin_read(text.encode(), cpus, pins, detail), [*pins], detail[0]


@pytest.mark.parametrize(
    "text", ["", ",", "0,", "-", "1-", "-1", "a", "0-b", "0--1", " 0", "٣", "123456", "0 ", "AUTO"]
)
def test_what_is_not_a_list_is_refused(text: str) -> None:
    assert read(text, 1)[0] == lib.PIN_NO_LIST


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9)), min_size=1, max_size=5))
def test_lists_are_read_back(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in ranges)
    wanted = [cpu for first, more in ranges for cpu in range(first, first + more + 1)]
    result, cpus, detail = read(text, len(wanted))
    assert cpus == wanted
    refused = [cpu for cpu in wanted if cpu not in ALLOWED]
    assert (result, detail) == ((lib.PIN_NOT_ALLOWED, refused[0]) if refused else (lib.PIN_READ, len(wanted)))


@given(st.text(alphabet="0123456789,-a", max_size=12), st.integers(1, 4))
def test_any_text_is_read_or_refused(text: str, cpus: int) -> None:
    assert read(text, cpus)[0] in (lib.PIN_READ, lib.PIN_NO_LIST, lib.PIN_NOT_ALLOWED, lib.PIN_TOO_FEW)


def test_a_list_may_be_longer_but_not_shorter() -> None:
    first = ALLOWED[0]
    assert read(f"{first},{first},{first}", 2) == (lib.PIN_READ, [first, first], 3)
    assert read(f"{first}", 2)[::2] == (lib.PIN_TOO_FEW, 1)


def test_auto_takes_allowed_cpus_in_turn() -> None:
    first = (os.getpid() * 2654435761 % (1 << 32) >> 16) * 5
    assert read("auto", 5)[1] == [ALLOWED[(first + i) % len(ALLOWED)] for i in range(5)]
    os.sched_setaffinity(0, {ALLOWED[-1]})
    try:
        assert read("auto", 2)[1] == [ALLOWED[-1]] * 2
    finally:
        os.sched_setaffinity(0, ALLOWED)


@pytest.mark.skipif(len(ALLOWED) < 2, reason="two CPUs are needed")
def test_auto_takes_other_cpus_for_the_next_process() -> None:
    ask = "from pyvmm.config import MachineConfig; print(*MachineConfig('x', pin='auto').pins(1))"
    taken = set()
    while len(taken) < 2:  # the ids of processes go up
        taken.add(subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True).stdout)
