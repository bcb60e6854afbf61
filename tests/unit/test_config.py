"""pyvmm.config: sizes, CPU lists and their limits."""

from __future__ import annotations

import os

import pytest
from guests import GIB, KIB, MIB
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.config import MachineConfig, parse_size
from pyvmm.errors import ConfigError

ALLOWED = sorted(os.sched_getaffinity(0))
ABSENT = max(ALLOWED) + 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("512K", 512 * KIB), ("128M", 128 * MIB), ("128m", 128 * MIB), ("2G", 2 * GIB)],
)
def test_sizes_with_and_without_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1G", "+1G", "1 G", "1GB", "0x10", "1e9", "٣M", "²", "9" * 20])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_size(text)


@given(st.text(max_size=8))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError:
        return
    assert size == int(text.rstrip("kKmMgG")) * {"K": KIB, "M": MIB, "G": GIB}.get(text[-1].upper(), 1)


@pytest.mark.parametrize("memory", [16 * MIB, 16 * MIB + 4096, 512 * GIB])
def test_memory_within_its_limits_is_accepted(memory: int) -> None:
    assert MachineConfig("x", memory).memory == memory


@pytest.mark.parametrize("memory", [0, 16 * MIB - 4096, 16 * MIB + 1, 512 * GIB + 4096])
def test_memory_outside_its_limits_names_them(memory: int) -> None:
    with pytest.raises(ConfigError, match=f"memory {memory}: not a multiple of 4K from 16M to 512G"):
        MachineConfig("x", memory)


@pytest.mark.parametrize("cpus", [1, 255])
def test_number_of_cpus_within_its_limits_is_accepted(cpus: int) -> None:
    assert MachineConfig("x", cpus=cpus).cpus == cpus


@pytest.mark.parametrize("cpus", [0, 256])
def test_number_of_cpus_outside_its_limits_names_them(cpus: int) -> None:
    with pytest.raises(ConfigError, match=f"cpus {cpus}: not 1 to 255"):
        MachineConfig("x", cpus=cpus)


def test_no_pin_means_any_cpu() -> None:
    assert MachineConfig("x", cpus=2).pins(2) == []


def test_auto_pin_goes_round_the_allowed_cpus() -> None:
    pin = MachineConfig("x", pin="auto").pins(len(ALLOWED) + 1)
    assert {*pin} == {*ALLOWED}
    assert pin[0] == pin[-1]


def test_pin_takes_the_first_cpus_of_the_list() -> None:
    assert MachineConfig("x", cpus=1, pin=f"{ALLOWED[-1]},{ALLOWED[0]}").pins(1) == [ALLOWED[-1]]


@pytest.mark.parametrize(
    ("pin", "message"),
    [
        ("some", "neither `auto` nor a list such as 0,2-3"),
        (str(ABSENT), f"host CPU {ABSENT} is not one that this process may use"),
        (str(ALLOWED[0]), "2 vCPUs, but host CPUs for 1"),
        ("1-0", "2 vCPUs, but host CPUs for 0"),
    ],
)
def test_pin_that_cannot_be_says_why(pin: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig("x", cpus=2, pin=pin)
    assert str(caught.value).startswith(f"pin {pin}: {message}")


def test_command_line_keeps_bytes_that_are_not_utf_8() -> None:
    words = b"caf\xc3\xa9 \xff".decode(errors="surrogateescape")
    assert MachineConfig("x", command_line=words).command_line == b"caf\xc3\xa9 \xff"
