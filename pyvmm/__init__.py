"""pyvmm: a KVM virtual machine monitor in Python for Toro unikernels.

The public API; each part is loaded on first use::

    from pyvmm import Machine, MachineConfig, vsock

    with Machine(MachineConfig("server.elf"), [vsock(5, publish=["0:80"])]) as machine:
        machine.start()
        address, port = machine.ports[80]
        ...
        machine.stop()
        machine.wait()

`Machine` runs the guest that `MachineConfig` describes, `Machine.freeze` writes it to a file, and
`Machine.thaw` goes on from there; `vsock`, `share` and `console` make its devices, and `Device` is
the base class of your own. Errors are subclasses of `PyvmmError`
(`pyvmm.errors` draws the tree).
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyvmm.api import console, share, vsock
    from pyvmm.config import MachineConfig
    from pyvmm.consolepipe import ConsolePipe
    from pyvmm.errors import (
        BuildError,
        ConfigError,
        GuestError,
        HostError,
        ImageError,
        KvmError,
        PyvmmError,
    )
    from pyvmm.machine import Machine
    from pyvmm.toolchain.build import build
    from pyvmm.virtio.device import Device
    from pyvmm.virtio.queue import Chain, SplitQueue

_PLACES = {
    "api": ("console", "share", "vsock"),
    "config": ("MachineConfig",),
    "consolepipe": ("ConsolePipe",),
    "errors": ("BuildError", "ConfigError", "GuestError", "HostError", "ImageError", "KvmError", "PyvmmError"),
    "machine": ("Machine",),
    "toolchain.build": ("build",),
    "virtio.device": ("Device",),
    "virtio.queue": ("Chain", "SplitQueue"),
}

__all__ = [
    "BuildError",
    "Chain",
    "ConfigError",
    "ConsolePipe",
    "Device",
    "GuestError",
    "HostError",
    "ImageError",
    "KvmError",
    "Machine",
    "MachineConfig",
    "PyvmmError",
    "SplitQueue",
    "build",
    "console",
    "share",
    "vsock",
]


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(f"pyvmm.{place}"), name)
            return value
    raise AttributeError(f"module 'pyvmm' has no attribute {name!r}")
