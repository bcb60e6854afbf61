"""Compiles the policy to filters of seccomp(2): programs of classic BPF over `struct seccomp_data`.

A call is looked up by binary search, which the kernel, when it loads a filter, does for each
number: calls that are allowed with any arguments never run a filter afterwards.
"""

from __future__ import annotations

from itertools import chain

from pyvmm.host.sandbox.calls import NUMBERS
from pyvmm.host.sandbox.policy import FEATURES, MISSING, allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.host.sandbox.policy import Rule

#: An instruction: code, jump if true, jump if false, constant; a name is put in when it is loaded.
Insn = tuple[int, int, int, "int | str"]

#: <linux/bpf_common.h>, <linux/seccomp.h>, <linux/audit.h>.
LOAD, JUMP, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, TRAP, NO_CALL = 0x7FFF0000, 0x00030000, 0x00050000 | 38  # SECCOMP_RET_ERRNO, ENOSYS
ARCH = 0xC000003E  # AUDIT_ARCH_X86_64
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_FAR = 255


def _rule(rule: Rule) -> list[Insn]:
    """Allows a call whose arguments meet a rule, and else runs into what follows."""
    code: list[Insn] = [(RETURN, 0, 0, ALLOW)]
    for condition in reversed(rule):
        if len(condition) == 3:
            index, bits, value = condition
            test: list[Insn] = [(AND, 0, 0, bits), (EQUAL, 0, len(code), value)]
        else:
            index, values = condition
            last = len(values) - 1
            test = [(EQUAL, last - i, 0 if i < last else len(code), value) for i, value in enumerate(values)]
        code = [(LOAD, 0, 0, _ARGUMENTS_AT + 8 * index), *test, *code]
    return code


def _leaf(number: int, rules: tuple[Rule, ...] | None) -> list[Insn]:
    body = (
        list(chain.from_iterable(map(_rule, rules))) if rules else [(RETURN, 0, 0, NO_CALL if rules is None else ALLOW)]
    )
    if rules:
        body.append((RETURN, 0, 0, TRAP))
    test: list[Insn] = (
        [(EQUAL, 0, len(body), number)] if len(body) <= _FAR else [(EQUAL, 1, 0, number), (JUMP, 0, 0, len(body))]
    )
    return [*test, *body, (RETURN, 0, 0, TRAP)]


def _tree(calls: list[tuple[int, tuple[Rule, ...] | None]]) -> list[Insn]:
    if len(calls) == 1:
        return _leaf(*calls[0])
    half = len(calls) // 2
    low, high = _tree(calls[:half]), _tree(calls[half:])
    middle = calls[half][0]
    if len(low) <= _FAR:
        return [(AT_LEAST, len(low), 0, middle), *low, *high]
    return [(AT_LEAST, 0, 1, middle), (JUMP, 0, 0, len(low)), *low, *high]


def program(thread: str, features: frozenset[str] = frozenset()) -> list[Insn]:
    """The filter of a thread (see `policy.allowed`)."""
    rules: dict[str, tuple[Rule, ...] | None] = {**dict.fromkeys(MISSING.get(thread, ())), **allowed(thread, features)}
    calls = [(NUMBERS[name], rules[name]) for name in sorted(rules, key=NUMBERS.__getitem__)]
    return [
        (LOAD, 0, 0, _ARCH_AT),
        (EQUAL, 1, 0, ARCH),
        (RETURN, 0, 0, TRAP),
        (LOAD, 0, 0, _NUMBER_AT),
        *_tree(calls),
    ]


def variants(thread: str) -> list[frozenset[str]]:
    """Each combination of what may be asked for, in the order of the number that its bits make."""
    names = FEATURES[thread]
    return [frozenset(name for bit, name in enumerate(names) if number >> bit & 1) for number in range(1 << len(names))]
