"""What a user can do when KVM refuses something. Loaded only then."""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, ENOMEM, ENXIO, EPERM

_GROUP_RW = 0o060

_IOCTLS = {
    ("KVM_CREATE_VM", EBUSY): "another hypervisor on this host holds the CPU's virtualization",
    ("KVM_CREATE_VM", ENOMEM): "the host is out of memory",
    ("KVM_CREATE_VCPU", EINVAL): "more vCPUs than this host's KVM allows",
    ("KVM_CREATE_VCPU", EEXIST): "that vCPU exists already",
    ("KVM_SET_USER_MEMORY_REGION", ENOMEM): "try less memory",
}


def of_ioctl(name: str, errno: int) -> str:
    """A hint about an ioctl that failed; empty if there is none."""
    return _IOCTLS.get((name, errno), "")


def of_open(path: str, errno: int) -> str:
    """A hint about a device that could not be opened; empty if there is none."""
    if errno == ENOENT:
        return "load kvm_intel or kvm_amd, or enable virtualization in the firmware (or in the outer hypervisor)"
    if errno in (EACCES, EPERM):
        return _of_permission(os.stat(path))
    if errno in (ENODEV, ENXIO):
        return "the kvm module is loaded but finds no virtualization in this CPU"
    if errno == EBUSY:
        return "another hypervisor on this host holds it"
    return ""


def _of_permission(status: os.stat_result) -> str:
    try:
        from grp import getgrgid

        group = getgrgid(status.st_gid).gr_name
    except (KeyError, ImportError):
        group = str(status.st_gid)
    if status.st_gid == 0 or status.st_mode & _GROUP_RW != _GROUP_RW:
        return "only root may use it here: run `sudo chgrp kvm /dev/kvm; sudo chmod 660 /dev/kvm` and join group kvm"
    return f"it belongs to group {group}: run `sudo usermod -aG {group} $USER` and log in again"
