"""The choice of memory slots for the largest RAM: never too many, whatever a guest touches."""

from __future__ import annotations

from collections.abc import Iterable

from guests import GIB, MIB, PAGE
from hypothesis import given
from hypothesis import strategies as st
from touches import Slots, many_touches

from pyvmm._kvm import lib
from pyvmm.layout import MEMORY_MAX, Ram

TOP = Ram(MEMORY_MAX).end


def count_all(touches: Iterable[int]) -> int:
    """How many slots there are once these, and then all the rest of RAM, were touched."""
    slots = Slots(MEMORY_MAX)
    for address in touches:
        slots.touch(address)
        assert slots.count + len(slots.gaps()) <= lib.SLOTS_MAX
    for start, _ in slots.gaps():
        slots.touch(start)
    while gaps := slots.gaps():
        slots.touch(gaps[0][0])
    return slots.count


@given(touches=st.lists(st.integers(0, TOP // PAGE).map(lambda page: page * PAGE), max_size=400))
def test_any_touches(touches: list[int]) -> None:
    assert count_all(touches) <= lib.SLOTS_MAX


@given(sizes=st.lists(st.integers(0, 200), max_size=400), data=st.data())
def test_touches_that_split_a_gap(sizes: list[int], data: st.DataObject) -> None:
    """Each within a gap that there is, some at its ends."""
    slots = Slots(MEMORY_MAX)
    for size in sizes:
        gaps = slots.gaps()
        if not gaps:
            break
        start, end = gaps[size % len(gaps)]
        slots.touch(data.draw(st.integers(start // (128 * MIB), (end - 1) // (128 * MIB))) * 128 * MIB)
        assert slots.count + len(slots.gaps()) <= lib.SLOTS_MAX


def test_the_worst_that_is_known() -> None:
    touches = many_touches(MEMORY_MAX)
    assert 128 < count_all(touches) <= lib.SLOTS_MAX


def test_a_guest_that_touches_everything_in_order_needs_few() -> None:
    assert count_all(range(0, TOP, GIB // 8)) < 100
