"""A fault ends a Toro program with registers, a backtrace and a documented status."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from guests import Result, needs_simd_exceptions

IN_HANDLER = 120
#: Free Pascal's, in a program with SysUtils: an uncaught exception, and a stack overflow
UNCAUGHT, OVERFLOW = 217, 202

_REGISTERS = "RAX RBX RCX RDX RSI RDI RBP RSP R8 R9 R10 R11 R12 R13 R14 R15 RIP CR2 FLG ERR".split()

FAULTS = [
    ("divide", "Exception 0 (divide error) on core 0", "Faults.DivideByZero"),
    ("nil", "Exception 14 (page fault) on core 0, writing to 0000000000000008: nil pointer", "Faults.WriteToNil"),
    ("text", r"Exception 14 \(page fault\) on core 0, writing to \w{16}: not allowed there", "Faults.WriteTo"),
    ("rodata", r"Exception 14 \(page fault\) on core 0, writing to \w{16}: not allowed there", "Faults.WriteTo"),
    ("stack", r"Exception 14 \(page fault\) on core 0, writing to \w{16}: stack overflow", "Faults.Recurse"),
    ("ud2", "Exception 6 (invalid opcode) on core 0", "Faults.ExecuteUD2"),
    ("data-execution", r"Exception 14 .*, executing \w{16}: not allowed there", None),
    ("heap-execution", r"Exception 14 .*, executing \w{16}: not allowed there", None),
    ("nil-execution", r"Exception 14 .*, executing 0{16}: nil pointer", None),
    ("nucleus", r"Exception 14 .*, reading from 0000000000100000: not allowed there", "Faults.ReadFrom"),
    ("nucleus-execution", r"Exception 14 .*, executing 0000000000100000: not allowed there", None),
    ("supervisor", r"Exception 14 .*, reading from \w{16}: not allowed there", "Faults.ReadFrom"),
    ("page-tables", r"Exception 14 .*, reading from \w{16}: not allowed there", "Faults.ReadFrom"),
    ("non-canonical", "Exception 13 (general protection) on core 0", None),
    ("privileged", "Exception 13 (general protection) on core 0", "Faults.LoadDescriptorTable"),
]
_FLOAT = ("float", "Exception 19 (SIMD floating-point error) on core 0", "Faults.DivideFloats")


@pytest.mark.parametrize(
    ("fault", "message", "function"),
    [
        *(pytest.param(*fault, id=fault[0]) for fault in FAULTS),
        pytest.param(*_FLOAT, id="float", marks=needs_simd_exceptions),
    ],
)
def test_a_fault_is_told(toro: Callable[..., Result], fault: str, message: str, function: str | None) -> None:
    result = toro("Faults", "--append", fault)
    first, *lines = result.stdout.decode().splitlines()
    assert result.status == (OVERFLOW if fault == "stack" else UNCAUGHT)
    assert result.stderr == ""
    assert first == message or re.fullmatch(message, first)
    dump = dict(re.findall(r"(\w+) +([0-9A-F]{16})", "\n".join(lines[:5])))
    assert sorted(dump) == sorted(_REGISTERS)
    assert lines[5] == "Backtrace:"
    if function:
        assert re.fullmatch(rf"  {dump['RIP']}  {re.escape(function)}\+\d+", lines[6])
    assert any("PASCALMAIN+" in line for line in lines[6:])


def test_a_deep_recursion_is_told_in_few_lines(toro: Callable[..., Result]) -> None:
    lines = toro("Faults", "--append", "stack").stdout.decode().splitlines()
    assert any(re.fullmatch(r"    and \d+ times more", line) for line in lines)
    assert len(lines) < 20


def test_the_registers_are_those_of_the_fault(toro: Callable[..., Result]) -> None:
    lines = toro("Faults", "--append", "nil").stdout.decode()
    dump = dict(re.findall(r"(\w+) +([0-9A-F]{16})", lines))
    assert int(dump["CR2"], 16) == 8
    assert int(dump["ERR"], 16) & 7 == 6  # a write from ring 3 to an unmapped page
    assert int(dump["FLG"], 16) & 0x200  # interrupts are on


def test_a_fault_while_telling_of_one_ends_the_guest(toro: Callable[..., Result]) -> None:
    result = toro("Faults", "--append", "exception-in-handler")
    assert result.status == IN_HANDLER
    assert result.stdout.count(b"Exception 14") == 1
    assert result.stdout.endswith(b"Toro: exception while handling an exception\n")


def test_a_fault_at_the_end_ends_the_guest_as_well(toro: Callable[..., Result]) -> None:
    result = toro("Faults", "--append", "exception-at-end")
    assert result.status == 216
    assert result.stdout.count(b"Exception 14") == 2


def test_an_uncaught_exception_has_the_status_of_free_pascal(toro: Callable[..., Result]) -> None:
    result = toro("Faults", "--append", "exception")
    assert result.status == 217
    assert b"Exception: nobody catches this\n" in result.stdout
    assert b"Faults.RaiseException+" in result.stdout


def test_a_runtime_error_is_the_status(toro: Callable[..., Result]) -> None:
    result = toro("Faults", "--append", "runtime-error")
    assert result.status == 201
    assert re.match(rb"Runtime error 201 at \$[0-9A-F]{16}\n", result.stdout)
    assert b"Faults.RaiseRuntimeError+" in result.stdout


def test_halt_gives_its_number_and_says_nothing(toro: Callable[..., Result]) -> None:
    assert toro("Faults", "--append", "halt") == Result(42, b"", "")
