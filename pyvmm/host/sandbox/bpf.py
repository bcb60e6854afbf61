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


def _tree(first: int, codes: list[tuple[int, int]], at: int, places: list[int]) -> list[Insn]:
    """Looks up a number: binary search over the numbers from which on what is to be done changes.

    Args:
        first: what is to be done with the least numbers, an index of `places`.
        codes: from which number on, and what then, in order.
        at: where the result will be.
        places: where each thing to be done is.
    """
    if not codes:
        return []
    half = len(codes) // 2
    middle, then = codes[half]
    low = _tree(first, codes[:half], at + 1, places)
    high = _tree(then, codes[half + 1 :], at + 1 + len(low), places)
    true = at + 1 + len(low) if high else places[then]
    false = at + 1 if low else places[first]
    return [(AT_LEAST, true - at - 1, false - at - 1, middle), *low, *high]


def _look_up(rules: dict[int, tuple[Rule, ...] | None]) -> list[Insn]:
    """Decides by the number in the accumulator: behind the search come its common ends, and what looks at arguments."""
    ends = [(RETURN, 0, 0, TRAP), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NO_CALL)]
    checks = [number for number in rules if rules[number]]
    what = {number: 2 if rule is None else 3 + checks.index(number) if rule else 1 for number, rule in rules.items()}
    codes: list[tuple[int, int]] = []
    for number in sorted({each + more for each in rules for more in (0, 1)}):
        then = what.get(number, 0)
        if then != (codes[-1][1] if codes else 0):
            codes.append((number, then))
    start = len(codes)  # of the ends
    bodies = [[*chain.from_iterable(map(_rule, rules[number] or ())), (RETURN, 0, 0, TRAP)] for number in checks]
    jumps: list[Insn] = []
    for index in range(len(checks)):
        jumps.append((JUMP, 0, 0, len(checks) - index - 1 + sum(map(len, bodies[:index]))))
    search = _tree(0, codes, 0, [*range(start, start + len(ends) + len(jumps))])
    assert len(search) == start
    assert max(max(true, false) for _, true, false, _ in search) <= _FAR
    return [*search, *ends, *jumps, *chain.from_iterable(bodies)]


def program(thread: str, features: frozenset[str] = frozenset()) -> list[Insn]:
    """The filter of a thread (see `policy.allowed`)."""
    rules: dict[str, tuple[Rule, ...] | None] = {**dict.fromkeys(MISSING.get(thread, ())), **allowed(thread, features)}
    return [
        (LOAD, 0, 0, _ARCH_AT),
        (EQUAL, 1, 0, ARCH),
        (RETURN, 0, 0, TRAP),
        (LOAD, 0, 0, _NUMBER_AT),
        *_look_up({NUMBERS[name]: rule for name, rule in rules.items()}),
    ]


def variants(thread: str) -> list[frozenset[str]]:
    """Each combination of what may be asked for, in the order of the number that its bits make."""
    names = FEATURES[thread]
    return [frozenset(name for bit, name in enumerate(names) if number >> bit & 1) for number in range(1 << len(names))]
