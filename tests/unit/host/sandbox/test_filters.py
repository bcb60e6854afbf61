"""The compiled filters: each decides as libseccomp's does, which is made of the same table."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from ctypes.util import find_library
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.host.sandbox.bpf import ALLOW, ARCH, Insn, program, variants
from pyvmm.host.sandbox.calls import NUMBERS
from pyvmm.host.sandbox.generate import filters
from pyvmm.host.sandbox.policy import FEATURES, THREADS, VARIABLES, allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.host.sandbox.policy import Rule

VALUES = {"PID": 4711, "VCPU": 17, "VM": 11, "ENTRY": 21, "REGISTRY": 23}
#: With each feature alone, and with all.
VARIANTS = [
    (thread, features)
    for thread in THREADS
    for features in variants(thread)
    if len(features) <= 1 or len(features) == len(FEATURES[thread])
]
CALLS = range(480)  # Linux has 470
FOREIGN = 0x40000003  # AUDIT_ARCH_I386


def number(value: int | str) -> int:
    """What stands for a name when the filter is loaded."""
    return VALUES[value] if isinstance(value, str) else value


def decides(code: list[Insn], call: int, arguments: tuple[int, ...], arch: int = ARCH) -> int:
    """What a filter returns (Linux, Documentation/networking/filter.rst)."""
    data = struct.pack("<IIQ6Q", call, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    at = accumulator = 0
    while True:
        op, true, false, constant = code[at]
        k = number(constant)
        at += 1
        if op == 0x20:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif op == 0x54:
            accumulator &= k
        elif op == 0x05:
            at += k
        elif op == 0x06:
            return k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x25: accumulator > k, 0x45: accumulator & k}[op]
            at += true if holds else false


def interesting(rules: tuple[Rule, ...]) -> Iterator[tuple[int, ...]]:
    """Arguments that meet rules, and such that nearly do."""
    values: list[set[int]] = [{0, 1} for _ in range(4)]
    for rule in rules:
        for condition in rule:
            index = condition[0]
            if len(condition) == 3:
                bits, value = condition[1:]
                values[index] |= {value, value | bits & -bits, bits, ~bits & 0xFFFFFFFF, 0xFFFFFFFF}
            else:
                values[index] |= {number(value) + more for value in condition[1] for more in (0, 1)}
    yield from product(*values)


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


MASKED_EQ = 7
NO_CONDITION: tuple[Rule, ...] = ((),)


def reference(thread: str, features: frozenset[str]) -> list[Insn]:
    """libseccomp's filter for the same table."""
    name = find_library("seccomp")
    if not name:
        pytest.skip("needs libseccomp2")
    lib = ctypes.CDLL(name)
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(0x80000000))  # SCMP_ACT_KILL_PROCESS
    for call, rules in allowed(thread, features).items():
        for rule in rules or NO_CONDITION:
            choices = [
                [(condition[0], condition[1], condition[2])] if len(condition) == 3
                else [(condition[0], 0xFFFFFFFF, number(value)) for value in condition[1]]
                for condition in rule
            ]  # fmt: skip
            for chosen in product(*choices):
                array = (Comparison * max(1, len(chosen)))(
                    *(Comparison(index, MASKED_EQ, mask, value) for index, mask, value in chosen)
                )
                assert lib.seccomp_rule_add_array(context, ALLOW, NUMBERS[call], len(chosen), array) == 0
    fd = os.memfd_create("filter")
    assert lib.seccomp_export_bpf(context, fd) == 0
    data = os.pread(fd, 1 << 20, 0)
    os.close(fd)
    lib.seccomp_release(context)
    return list(struct.iter_unpack("<HBBI", data))


@pytest.mark.parametrize(("thread", "features"), VARIANTS)
def test_each_call_is_decided_as_by_libseccomp(thread: str, features: frozenset[str]) -> None:
    ours, theirs = program(thread, features), reference(thread, features)
    rules = {NUMBERS[name]: rules for name, rules in allowed(thread, features).items()}
    seen = set()
    for call in CALLS:
        for arguments in interesting(rules.get(call, ())):
            decision = decides(ours, call, arguments) == ALLOW
            assert decision == (decides(theirs, call, arguments) == ALLOW), (call, arguments)
            seen.add(decision)
            assert not decision or call in rules
    assert seen == {True, False}


@pytest.mark.parametrize("thread", THREADS)
def test_calls_of_other_architectures_are_refused(thread: str) -> None:
    code = program(thread)
    write = NUMBERS["write"]
    assert decides(code, write, ()) == ALLOW
    assert decides(code, write, (), FOREIGN) != ALLOW
    assert decides(code, write | 0x40000000, ()) != ALLOW  # x32


@given(st.sampled_from(VARIANTS), st.integers(0, 0xFFFFFFFF), st.tuples(*[st.integers(0, (1 << 64) - 1)] * 6))
def test_only_what_is_in_the_table_is_allowed(
    variant: tuple[str, frozenset[str]], call: int, args: tuple[int, ...]
) -> None:
    if decides(program(*variant), call, args) == ALLOW:
        assert call in {NUMBERS[name] for name in allowed(*variant)}


def test_the_generated_table_has_each_variant() -> None:
    text = filters()
    assert text.count("static const struct sock_filter") == sum(len(variants(thread)) for thread in THREADS)
    assert VARIABLES == ("PID", "VCPU", "VM", "ENTRY", "REGISTRY")  # sandbox.c
