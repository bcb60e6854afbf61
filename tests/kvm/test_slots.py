"""Memory slots on demand: touched memory is covered, once, and nothing outside RAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from guests import GIB, MIB, Result, in_emulator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from touches import many_touches

from pyvmm._kvm import ffi, lib
from pyvmm.kvm import Kvm, Vm
from pyvmm.layout import MMIO_HOLE_END, MMIO_HOLE_START, Ram
from pyvmm.memory import GuestMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import Slots

SIZE = 20 * GIB
TOP = MMIO_HOLE_END + SIZE - MMIO_HOLE_START


@pytest.fixture(scope="module")
def memory() -> Iterator[GuestMemory]:
    """RAM on both sides of the hole."""
    with GuestMemory(Ram(SIZE)) as made:
        yield made


@pytest.fixture
def vm(kvm: Kvm) -> Iterator[Vm]:
    """A VM without memory."""
    with kvm.create_vm() as made:
        yield made


def slots_of(vm: Vm, memory: GuestMemory, end: int) -> Slots:
    """Slots for [0, end)."""
    slots = ffi.new("struct slots *")
    lib.slots_init(slots, vm.fd, memory.native)
    at = 0
    while at < end:
        assert lib.slots_cover(slots, at) == 0
        at = lib.slots_end(slots, at)
    return slots


def is_ram(address: int) -> bool:
    return address < MMIO_HOLE_START or MMIO_HOLE_END <= address < TOP


def test_what_is_asked_for_is_covered_at_once(vm: Vm, memory: GuestMemory) -> None:
    slots = slots_of(vm, memory, 300 * MIB)
    assert lib.slots_end(slots, 300 * MIB - 1) >= 300 * MIB
    assert slots.count < 5


def test_all_of_it_takes_a_slot_a_gap(vm: Vm, memory: GuestMemory) -> None:
    slots = slots_of(vm, memory, 1)
    assert lib.slots_cover(slots, 6 * GIB) == 0
    assert lib.slots_cover_all(slots) == 3  # the rest below the hole; above it, before and behind 6 GiB
    assert lib.slots_cover_all(slots) == 0
    for address in (0, MMIO_HOLE_START - 1, MMIO_HOLE_END, TOP - 1):
        assert lib.slots_end(slots, address) > address


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(addresses=st.lists(st.integers(0, TOP + GIB) | st.integers(0, 2**64 - 1), max_size=60))
def test_any_address_is_covered_if_it_is_ram(kvm: Kvm, memory: GuestMemory, addresses: list[int]) -> None:
    with kvm.create_vm() as vm:
        slots = slots_of(vm, memory, 1)
        for address in addresses:
            known, before = lib.slots_end(slots, address), slots.count
            assert lib.slots_cover(slots, address) == 0
            assert (lib.slots_end(slots, address) > address) == is_ram(address)
            assert slots.count - before == (is_ram(address) and not known)


def test_touching_everything_in_order_takes_few_slots(vm: Vm, memory: GuestMemory) -> None:
    slots = slots_of(vm, memory, 1)
    for address in [*range(0, MMIO_HOLE_START, MIB), *range(MMIO_HOLE_END, TOP, MIB)]:
        assert lib.slots_cover(slots, address) == 0
    assert slots.count < 64


@pytest.mark.skipif(in_emulator(), reason="needs more memory for KVM's tables than a lab has")
def test_a_guest_that_makes_as_many_slots_as_it_can(boot: Callable[..., Result]) -> None:
    touches = many_touches(512 * GIB)
    source = f"""
        lea rsi, list[rip]
        mov ecx, {len(touches)}
    1:  lodsq
        mov byte ptr [rax], 1
        loop 1b
        exit 6
    .data
    list: .quad {", ".join(map(hex, touches))}
    """
    result = boot(source, "--mem", "512G")
    assert (result.status, result.stderr) == (6, "")
