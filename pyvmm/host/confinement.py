"""What confines pyvmm on this host: each wall of its sandbox, and user namespaces."""

from __future__ import annotations

import ctypes
import os
from errno import ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.host.finding import Finding
from pyvmm.host.sandbox.walls import walls

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYS_LANDLOCK_CREATE_RULESET, _LANDLOCK_CREATE_RULESET_VERSION = 444, 1
_LANDLOCK_ALL = 6  # the version that has all that the sandbox uses (Linux 6.12)
_CLONE_NEWUSER = 0x1000_0000
#: What to do about a wall that is missing.
_REMEDIES = {
    "no new privileges": "take Linux 3.5 or later",
    "another user": "let the user namespace have the ID 65534, or one that `--user` names",
    "no capabilities": "take a container engine, or a profile, that lets pyvmm drop capabilities (capset)",
    "Landlock": "see Landlock",
    "system call filters": "take a kernel with CONFIG_SECCOMP_FILTER, or a container that allows prctl(PR_SET_SECCOMP)",
    "limits of resources": "take a container that lets pyvmm lower its limits (setrlimit)",
}


def confinement() -> Iterator[Finding]:
    """The walls that `boot --sandbox=on` does without, Landlock's version, and user namespaces."""
    try:
        missing = [name for name, is_there in walls().items() if not is_there]
    except OSError as error:
        yield Finding("note", "sandbox", f"not tried: {error.strerror}", "raise the limit of processes (`ulimit -u`)")
    else:
        for name in missing:
            yield Finding("note", "sandbox", f"{name}: refused by this host", _REMEDIES[name])
        if not missing:
            yield Finding("ok", "sandbox", "all walls")
    abi, errno = landlock_abi()
    if abi >= _LANDLOCK_ALL:
        yield Finding("ok", "Landlock", f"ABI {abi}")
    elif abi:
        found = f"ABI {abi}, which does not confine {'TCP, ' if abi < 4 else ''}signals and abstract sockets"
        yield Finding("note", "Landlock", found, "take Linux 6.12 or later")
    elif errno == EOPNOTSUPP:
        yield Finding("note", "Landlock", "this kernel has it, but it is off", "add landlock to the boot option lsm=")
    else:
        remedy = "take Linux 5.13 or later, with CONFIG_SECURITY_LANDLOCK, in a container that allows landlock(7)"
        yield Finding("note", "Landlock", "this kernel has none", remedy)
    failed = user_namespace()
    yield (
        Finding("note", "user namespaces", os.strerror(failed), _why_no_namespace())
        if failed
        else Finding("ok", "user namespaces", "this user may make them")
    )


def landlock_abi() -> tuple[int, int]:
    """The version of Landlock (landlock(7)), and an errno; the version is 0 where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_CREATE_RULESET_VERSION)
    return (version, 0) if version > 0 else (0, ctypes.get_errno() or ENOSYS)


def user_namespace() -> int:
    """Makes one in a process of its own; returns 0 or the errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if not child:
        os._exit(ctypes.get_errno() if libc.unshare(_CLONE_NEWUSER) else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _why_no_namespace() -> str:
    for path, value in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        try:
            found = Path(path).read_text().strip()
        except OSError:
            continue
        if found == value:
            name = path.removeprefix("/proc/sys/").replace("/", ".")
            return f"`sudo sysctl -w {name}={10000 if 'max' in name else 1 - int(value)}`"
    return "the container or its seccomp profile refuses them: start it with a profile that allows unshare(2)"
