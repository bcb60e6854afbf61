"""What helps this host's KVM: the CPU, or another hypervisor, or nothing."""

from __future__ import annotations

import os

#: Modules of KVM that use the CPU's virtualization, and the parameter that says whether it walks
#: two levels of page tables.
_MODULES = {"kvm_intel": "ept", "kvm_amd": "npt"}


def has_hardware() -> bool:
    """Whether KVM runs guests with the CPU's help."""
    return any(os.path.exists(f"/sys/module/{name}") for name in _MODULES)


def has_nested_paging() -> bool:
    """Whether the CPU translates guests' addresses itself; else KVM keeps page tables for each guest."""
    for module, parameter in _MODULES.items():
        try:
            with open(f"/sys/module/{module}/parameters/{parameter}") as file:
                return file.read(1) in "1Y"
        except OSError:
            continue
    return False


def is_virtual() -> bool:
    """Whether this host is itself a virtual machine."""
    with open("/proc/cpuinfo") as file:
        return any(line.startswith("flags") and " hypervisor " in line for line in file)
