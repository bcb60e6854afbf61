"""A crash report for tests."""

from __future__ import annotations

from typing import Any


def report(**values: Any) -> dict[str, Any]:
    frame = {"address": "0x1000", "function": "Unit.Routine+3", "line": "/source/Unit.pas:12"}
    vcpu = {"index": 0, "ring": 3, "bits": 64, "registers": {"rip": "0x1000"}, "code": "f4", "backtrace": [frame]}
    return {
        "format": 1, "pyvmm": "0", "kind": "hang", "message": "vCPU 0 at 0x1000: hang", "image": "a.elf", "uptime": 1.5,
        "memory": 1 << 27, "vcpu": 0, "vcpus": [vcpu], "exits": {"io": 3}, "next": "look",
    } | values  # fmt: skip
