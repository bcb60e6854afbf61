"""/dev/kvm: `Kvm`, `Vm` and `Vcpu`, one method an ioctl.

The three classes mirror the three kinds of file descriptor of the KVM API
(Documentation/virt/kvm/api.rst in the Linux sources, whose section names are
the ioctls' names). Every failure is a `KvmError` that names the ioctl and, where
the user can do something about it, says what. The creator of an object closes it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyvmm.kvm.device import Kvm
    from pyvmm.kvm.vcpu import Vcpu
    from pyvmm.kvm.vm import Vm

__all__ = ["Kvm", "Vcpu", "Vm"]
_PLACES = {"Kvm": "device", "Vcpu": "vcpu", "Vm": "vm"}


def __getattr__(name: str) -> Any:
    if name in _PLACES:  # a boot does without some of them
        from importlib import import_module

        return getattr(import_module(f"pyvmm.kvm.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'pyvmm.kvm' has no attribute {name!r}")
