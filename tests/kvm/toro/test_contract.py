"""The boot-info block: VMM, kernel and document agree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from guests import Result

from pyvmm.boot import bootinfo

ROOT = Path(__file__).parents[3]


def layout() -> list[tuple[int, int, str]]:
    """(offset, size, name) of each field as the VMM writes it."""
    return [(bootinfo.offset_of(name), size, name) for name, size in bootinfo.FIELDS]


def test_the_kernel_reads_what_the_vmm_writes(toro: Callable[..., Result]) -> None:
    lines = (line.split() for line in toro("Offsets").stdout.decode().splitlines())
    assert [(int(offset), int(size), name) for name, offset, size in lines] == layout()


def test_the_document_has_the_same_table() -> None:
    text = (ROOT / "docs/boot-protocol.md").read_text().partition("## The boot-info block")[2]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \|", text, re.M)
    assert [(int(offset), int(size), name) for offset, size, name in rows] == layout()


def test_the_nucleus_writes_the_first_mark() -> None:
    source = (ROOT / "toro/boot/nucleus.s").read_text()
    assert int(re.findall(r"\.set BOOT_INFO_MARKS, (\d+)", source)[0]) == bootinfo.offset_of("marks")
