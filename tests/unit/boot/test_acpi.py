"""ACPI tables: checksums, pointers, and the AML as iasl disassembles it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from struct import unpack_from

import pytest

from pyvmm.boot import acpi
from pyvmm.layout import VIRTIO_MMIO_BASE

AT = 0xE0000
DEVICES = [(VIRTIO_MMIO_BASE + 512 * i, 5 + i) for i in range(19)]


def tables(cpus: int = 2, virtio: list[tuple[int, int]] = DEVICES) -> dict[bytes, bytes]:
    """Every table by its signature, found as an operating system finds them."""
    image = acpi.build(AT, cpus, virtio)

    def table(address: int) -> bytes:
        (length,) = unpack_from("<I", image, address - AT + 4)
        data = image[address - AT : address - AT + length]
        assert sum(data) % 256 == 0
        return data

    assert image[:8] == b"RSD PTR "
    assert sum(image[:20]) % 256 == sum(image[:36]) % 256 == 0
    xsdt = table(unpack_from("<Q", image, 24)[0])
    found = {xsdt[:4]: xsdt}
    for (address,) in [unpack_from("<Q", xsdt, at) for at in range(36, len(xsdt), 8)]:
        found[table(address)[:4]] = table(address)
    dsdt = table(unpack_from("<Q", found[b"FACP"], 140)[0])
    return found | {b"DSDT": dsdt}


def test_all_are_there() -> None:
    assert sorted(tables()) == [b"APIC", b"DSDT", b"FACP", b"XSDT"]
    assert len(tables()[b"FACP"]) == 276


@pytest.mark.parametrize("cpus", [1, 4, 255])
def test_processors(cpus: int) -> None:
    madt = tables(cpus)[b"APIC"]
    at, apics = 44, []
    while at < len(madt):
        if madt[at] == 0:
            apics.append(madt[at + 3])
        at += madt[at + 1]
    assert at == len(madt)
    assert apics == list(range(cpus))


@pytest.mark.skipif(not shutil.which("iasl"), reason="iasl (acpica-tools) is not installed")
@pytest.mark.parametrize("count", [0, 1, 19])
def test_the_aml_is_understood(tmp_path: Path, count: int) -> None:
    (tmp_path / "dsdt.aml").write_bytes(tables(2, DEVICES[:count])[b"DSDT"])
    subprocess.run(["iasl", "-d", "dsdt.aml"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    source = (tmp_path / "dsdt.dsl").read_text()
    assert source.count('"LNRO0005"') == count
    assert source.count("Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive") == count + 1
    assert "PNP0501" in source
    assert source.count('"QEMU0001"') == 1
    assert "_S5" in source


def test_long_bodies_have_long_lengths() -> None:
    for size in (0, 62, 63, 100, 4093, 4094, 100_000):
        sized = acpi._sized(bytes(size))
        follow = sized[0] >> 6
        length = sized[0] & 0x3F if not follow else sized[0] & 0xF
        for i in range(follow):
            length |= sized[1 + i] << (4 + 8 * i)
        assert length == len(sized)
