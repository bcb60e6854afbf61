"""What a user can do when KVM refuses something. Loaded only then.

As a script it tells what is wrong with /dev/kvm, if anything, before pyvmm is built.
"""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, ENOMEM, ENXIO, EPERM

_GROUP_RW = 0o060
_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
_IN_CONTAINER = "start the container with `--device /dev/kvm`, and its user with the right to open it"

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
    if errno in (ENOENT, EACCES, EPERM) and _is_container():
        return _IN_CONTAINER
    if errno == ENOENT:
        return "load kvm_intel or kvm_amd, or enable virtualization in the firmware (or in the outer hypervisor)"
    if errno in (EACCES, EPERM):
        return _of_permission(os.stat(path))
    if errno in (ENODEV, ENXIO):
        return "the kvm module is loaded but finds no virtualization in this CPU"
    if errno == EBUSY:
        return "another hypervisor on this host holds it"
    return ""


def _is_container() -> bool:
    return "container" in os.environ or any(map(os.path.exists, _CONTAINER_FILES))


def _of_permission(status: os.stat_result) -> str:
    group = _group(status.st_gid)
    if status.st_gid == 0 or status.st_mode & _GROUP_RW != _GROUP_RW:
        make = "" if _has_group_kvm() else "sudo groupadd --system kvm; "
        give = f"{make}sudo chgrp kvm /dev/kvm; sudo chmod 660 /dev/kvm; sudo usermod -aG kvm $USER"
        return f"only root may use it here: run `{give}` and log in again"
    return f"it belongs to group {group}: run `sudo usermod -aG {group} $USER` and log in again"


def _group(number: int) -> str:
    try:
        from grp import getgrgid

        return getgrgid(number).gr_name
    except (KeyError, ImportError):
        return str(number)


def _has_group_kvm() -> bool:
    try:
        from grp import getgrnam

        getgrnam("kvm")
    except (KeyError, ImportError):
        return False
    return True


if __name__ == "__main__":
    import sys

    device = sys.argv[1]
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as error:
        hint = of_open(device, error.errno or 0)
        sys.exit(f"{device}: {error.strerror}; {hint}".removesuffix("; "))
