"""pyvmm.crash.backtrace: the chain of frame pointers, on stacks that a guest has written."""

from __future__ import annotations

from struct import pack
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from pyvmm.crash.backtrace import FRAMES_MAX, callers, read_virtual
from pyvmm.memory import GuestMemoryError

UNPAGED = SimpleNamespace(cr0=1, cr3=0, cr4=0, efer=0)


class Memory:
    """RAM from address 0 on."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, address: int, length: int) -> bytes:
        if address + length > len(self.data):
            raise GuestMemoryError(address, length)
        return self.data[address : address + length]


def test_callers_are_those_on_the_stack() -> None:
    stack = bytearray(0x1000)
    for frame, above, address in ((0x100, 0x180, 11), (0x180, 0x200, 22), (0x200, 0, 33)):
        stack[frame : frame + 16] = pack("<QQ", above, address)
    assert list(callers(Memory(bytes(stack)), UNPAGED, 0x100)) == [11, 22, 33]


def test_a_loop_ends() -> None:
    assert list(callers(Memory(pack("<QQ", 0, 5)), UNPAGED, 0)) == [5]


def test_an_endless_chain_ends() -> None:
    memory = Memory(b"".join(pack("<QQ", 16 * n + 16, 7) for n in range(1000)))
    assert list(callers(memory, UNPAGED, 0)) == [7] * FRAMES_MAX


@given(st.binary(max_size=64), st.integers(0, (1 << 64) - 1), st.integers(0, 0x3000))
def test_any_stack_and_any_frame(pattern: bytes, far: int, near: int) -> None:
    memory = Memory((pattern or b"\0") * 200)
    for frame in (far, near, near & ~7):
        assert len(list(callers(memory, UNPAGED, frame))) <= FRAMES_MAX


@given(st.integers(0, 0x3000), st.integers(0, 0x3000))
def test_reading_stops_where_nothing_is(address: int, length: int) -> None:
    data = bytes(range(256)) * 32
    assert read_virtual(Memory(data), UNPAGED, address, length) == data[address : address + length]
