"""The timer that counts in the guest's TSC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib

HZ = 1_193_182
MHZ = 2000
GATE_OPEN = 6_000_000  # ticks of the TSC that existing Toro kernels wait for
GATE = 0x61
LATCH_2 = 0x80


class Pit:
    """One with a guest, whose TSC is `tsc`."""

    def __init__(self, mhz: int = MHZ) -> None:
        self.native = ffi.new("struct pit *")
        lib.pit_init(self.native, ffi.NULL)
        self.native.tsc_hz = mhz * 1_000_000
        self.tsc = 123_456_789_000

    def out(self, port: int, value: int) -> None:
        lib.pit_write(self.native, port, value, self.tsc)

    def read(self, port: int) -> int:
        return int(lib.pit_read(self.native, port, self.tsc))

    def count(self, channel: int = 2) -> int:
        """The count, by the latch."""
        self.out(0x43, channel << 6)
        return self.read(0x40 + channel) | self.read(0x40 + channel) << 8

    def load(self, mode: int, count: int, channel: int = 2) -> None:
        self.out(0x43, channel << 6 | 0x30 | mode << 1)
        self.out(0x40 + channel, count & 0xFF)
        self.out(0x40 + channel, count >> 8)

    def save(self) -> bytes:
        state = ffi.new("struct kvm_pit_state2 *")
        lib.pit_save(self.native, state)
        return bytes(ffi.buffer(state))


def measure(pit: Pit, lost: tuple[int, int, int] = (0, 0, 0), closes: bool = True) -> int:
    """What such a kernel takes for its TSC's MHz; the vCPU loses its CPU for so many ticks at three places."""
    pit.out(GATE, pit.read(GATE) & 0xFE)
    pit.load(0, 0xFFFF)
    pit.out(GATE, pit.read(GATE) | 1)
    pit.tsc += lost[0]
    end = pit.tsc + GATE_OPEN
    pit.tsc += lost[1]
    pit.tsc = max(pit.tsc, end) + lost[2]
    if closes:
        pit.out(GATE, pit.read(GATE) & 0xFE)
        pit.tsc += lost[2]
    return 11_932 * 600 // (0xFFFF - pit.count())


@given(
    mhz=st.integers(800, 6000),
    lost=st.tuples(*[st.integers(0, 10**9)] * 3),
    closes=st.booleans(),
)
def test_an_existing_toro_finds_its_frequency(mhz: int, lost: tuple[int, int, int], closes: bool) -> None:
    assert abs(measure(Pit(mhz), lost, closes) - mhz) <= mhz // 100


def test_it_finds_it_each_time() -> None:
    pit = Pit()
    assert {measure(pit, (0, 50_000_000, 0)) for _ in range(3)} == {measure(Pit())}


def test_time_goes_on_for_who_looks_again() -> None:
    pit = Pit()
    pit.out(GATE, 1)
    pit.load(0, 0xFFFF)
    counts = []
    for _ in range(10):
        pit.tsc += 2_000_000  # a millisecond
        counts.append(0xFFFF - pit.count())
    assert counts == [HZ * ms // 1000 for ms in range(1, 11)]


def test_the_output_of_channel_2_tells_the_end() -> None:
    pit = Pit()
    pit.out(GATE, 1)
    pit.load(0, 11_932)  # 10 ms
    pit.tsc += 19_900_000
    assert not pit.read(GATE) & 0x20
    pit.tsc += 200_000
    assert pit.read(GATE) & 0x20


@pytest.mark.parametrize(("mode", "counts"), [(2, [1000, 999, 1, 1000]), (3, [1000, 998, 2, 1000])])
def test_periodic_modes(mode: int, counts: list[int]) -> None:
    pit = Pit(HZ // 1_000_000)
    pit.native.tsc_hz = HZ
    pit.load(mode, 1000, channel=0)
    got = []
    for step in (0, 1, 998 if mode == 2 else 498, 1):
        pit.tsc += step
        got.append(pit.count(0))
    assert got == counts


def test_the_read_back_command() -> None:
    pit = Pit()
    pit.load(3, 0, channel=0)
    pit.out(0x43, 0xC2)  # count and status of channel 0
    assert pit.read(0x40) == 0xB6
    assert pit.read(0x40) | pit.read(0x40) << 8 == 0


def test_one_byte_of_a_count() -> None:
    pit = Pit()
    pit.out(0x43, 0x10)  # the low byte
    pit.out(0x40, 0xFF)
    assert [pit.read(0x40) for _ in range(2)] == [0xFF, 0xFF]
    pit.out(0x43, 0x20)  # the high one
    pit.out(0x40, 0x12)
    assert [pit.read(0x40) for _ in range(2)] == [0x12, 0x12]


@given(
    st.lists(
        st.tuples(st.sampled_from([0x40, 0x41, 0x42, 0x43, GATE]), st.integers(0, 255), st.booleans()), max_size=40
    )
)
def test_it_takes_anything_and_goes_on_after_a_thaw(accesses: list[tuple[int, int, bool]]) -> None:
    pit = Pit()
    for port, value, write in accesses:
        pit.tsc += value * 1000
        if write:
            pit.out(port, value)
        else:
            pit.read(port)
    thawed = Pit()
    state = ffi.new("struct kvm_pit_state2 *")
    ffi.buffer(state)[:] = pit.save()
    lib.pit_init(thawed.native, state)
    thawed.native.tsc_hz = pit.native.tsc_hz
    thawed.tsc = pit.tsc
    thawed.native.unseen = pit.native.unseen
    assert [thawed.read(0x43 - i) for i in range(4)] == [pit.read(0x43 - i) for i in range(4)]


@given(st.binary(min_size=112, max_size=112), st.integers(0, 2**64 - 1))
def test_any_state_will_do(state: bytes, tsc: int) -> None:
    pit = Pit()
    native = ffi.new("struct kvm_pit_state2 *")
    ffi.buffer(native)[:] = state
    lib.pit_init(pit.native, native)
    pit.native.tsc_hz = 1
    pit.tsc = tsc
    for port in (0x40, 0x41, 0x42, 0x43, GATE):
        pit.read(port)
        pit.out(port, 0xE2)
        pit.read(port)
