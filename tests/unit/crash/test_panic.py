"""pyvmm.crash.panic: the record of an exception is that of the kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyvmm.crash import panic
from pyvmm.crash.report import of_exception

ROOT = Path(__file__).parents[3]


def test_the_record_is_the_kernels() -> None:
    source = (ROOT / "toro/kernel/Arch.pas").read_text()
    record = re.search(r"TExceptionFrame = packed record\s+(.*?)\s+end;", source, re.S)
    assert record
    names = [name.lower() for line in record[1].split(";") if line for name in re.findall(r"\w+", line.split(":")[0])]
    assert ["error" if name == "errorcode" else name for name in names] == list(panic._FIELDS)
    assert set(re.findall(r": (\w+);", record[1] + ";")) == {"QWord"}
    assert panic._RECORD.size == 8 * len(panic._FIELDS)


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        (14, "exception 14, page fault at the address 0x10"),
        (6, "exception 6, invalid opcode"),
        (200, "exception 200, unknown"),
    ],
)
def test_an_exception_is_named(vector: int, said: str) -> None:
    crash = of_exception(2, dict.fromkeys(panic._FIELDS, 0) | {"vector": vector, "cr2": 16, "rip": 0x1000})
    assert (crash.kind, crash.message) == ("exception", f"vCPU 2 at 0x1000: {said}")


def test_only_a_crash_is_told_of() -> None:
    told: list[int] = []
    device = panic.Panic(told.append)
    for value in (0, 4, 1, 2, 0x80):
        device.write(0, 1, value)
    assert told == [1, 2]
    assert device.read(0, 1) == 3
