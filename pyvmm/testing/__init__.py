"""Tests for virtio devices: drivers, honest and hostile, as data.

Five lines test a device of your own::

    from pyvmm.testing import fuzz

    def test_entropy():
        report = fuzz(Entropy, seconds=20)
        assert not report.findings, report

A *case* is a list of *steps* that a driver takes (`pyvmm.testing.steps`). `run` does them to a
device, in a process of its own, and judges what the device does; `guest_image` makes
a guest of them. `honest_cases` and `hostile_cases` are hypothesis strategies that make
cases, and `fuzz` runs those until one shows a problem, and shrinks it. `pyvmm fuzz` is the same as a
command.

The other side is `Liar`: a device that breaks the rules, for tests of guests' drivers.

What tests of pyvmm itself are made of is here as well: `Driver` is the driver's side of a
queue, `Registers` of a device, and `vsockpacket` has the header of vsock packets.

Each part is loaded on first use; only `fuzz` and the strategies need hypothesis.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyvmm.testing.case import python_file, replay
    from pyvmm.testing.fuzzer import Finding, Report, fuzz
    from pyvmm.testing.guest import guest_image
    from pyvmm.testing.liar import LIES, Liar
    from pyvmm.testing.payloads import offers
    from pyvmm.testing.profile import Profile, profile_of
    from pyvmm.testing.registers import Registers
    from pyvmm.testing.steps import (
        Describe,
        Expose,
        Jump,
        Notify,
        Offer,
        Read,
        Start,
        Step,
        Store,
        Wait,
        Write,
        operations,
    )
    from pyvmm.testing.strategies import honest_cases, hostile_cases
    from pyvmm.testing.targets import target
    from pyvmm.testing.virtqueue import Driver
    from pyvmm.testing.worker import Outcome, run

_PLACES = {
    "case": ("python_file", "replay"),
    "fuzzer": ("Finding", "Report", "fuzz"),
    "guest": ("guest_image",),
    "liar": ("LIES", "Liar"),
    "payloads": ("offers",),
    "profile": ("Profile", "profile_of"),
    "registers": ("Registers",),
    "worker": ("Outcome", "run"),
    "steps": (
        "Describe", "Expose", "Jump", "Notify", "Offer", "Read", "Start", "Step", "Store", "Wait", "Write",
        "operations",
    ),
    "strategies": ("honest_cases", "hostile_cases"),
    "targets": ("target",),
    "virtqueue": ("Driver",),
}  # fmt: skip

__all__ = [
    "LIES",
    "Describe",
    "Driver",
    "Expose",
    "Finding",
    "Jump",
    "Liar",
    "Notify",
    "Offer",
    "Outcome",
    "Profile",
    "Read",
    "Registers",
    "Report",
    "Start",
    "Step",
    "Store",
    "Wait",
    "Write",
    "fuzz",
    "guest_image",
    "honest_cases",
    "hostile_cases",
    "offers",
    "operations",
    "profile_of",
    "python_file",
    "replay",
    "run",
    "target",
]


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(f"pyvmm.testing.{place}"), name)
            return value
    raise AttributeError(f"module 'pyvmm.testing' has no attribute {name!r}")
