"""What the kernel says of the CPU's vulnerabilities (Documentation/admin-guide/hw-vuln).

Guests of several owners on one host are only as separate as the CPU keeps them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.host.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = Path("/sys/devices/system/cpu/vulnerabilities")
_REMEDY = "update the kernel and the CPU's microcode, and boot without mitigations=off"
_VIRTUAL = "; the host below is to be updated, too, as this one is a virtual machine"


def vulnerabilities(folder: Path = _FOLDER, is_virtual: bool = False) -> Iterator[Finding]:
    """Those to which the CPU is open.

    Args:
        folder: has a file for each that the kernel knows.
        is_virtual: this host is itself a virtual machine.
    """
    try:
        known = {path.name: path.read_text().strip() for path in sorted(folder.iterdir())}
    except OSError:
        yield Finding("note", "CPU vulnerabilities", "this kernel does not tell", "take Linux 4.15 or later")
        return
    found = False
    for name, text in known.items():
        if "SMT vulnerable" in text:
            remedy = "boot the host with `nosmt`, or let guests of different owners share no core (`--pin`)"
        elif "ulnerable" in text:
            remedy = _REMEDY + _VIRTUAL * is_virtual
        else:
            continue
        found = True
        yield Finding("note", f"CPU: {name}", text, remedy)
    if not found:
        yield Finding("ok", "CPU vulnerabilities", f"none of {len(known)} that the kernel knows is open")
