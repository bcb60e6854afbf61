"""What Linux offers for confining pyvmm itself: seccomp, Landlock, user namespaces."""

from __future__ import annotations

import ctypes
import os
from errno import ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.host.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYS_LANDLOCK_CREATE_RULESET, _LANDLOCK_CREATE_RULESET_VERSION = 444, 1
_CLONE_NEWUSER = 0x1000_0000


def confinement() -> Iterator[Finding]:
    """Each of the three."""
    actions = seccomp_actions()
    yield (
        Finding("ok", "seccomp", f"filters can {', '.join(actions)}")
        if actions
        else Finding("note", "seccomp", "this kernel has no filters", "take one with CONFIG_SECCOMP_FILTER")
    )
    abi, errno = landlock_abi()
    if abi:
        yield Finding("ok", "Landlock", f"ABI {abi}")
    elif errno == EOPNOTSUPP:
        yield Finding("note", "Landlock", "this kernel has it, but it is off", "add landlock to the boot option lsm=")
    else:
        yield Finding(
            "note", "Landlock", "this kernel has none", "take Linux 5.13 or later, with CONFIG_SECURITY_LANDLOCK"
        )
    failed = user_namespace()
    yield (
        Finding("note", "user namespaces", os.strerror(failed), _why_no_namespace())
        if failed
        else Finding("ok", "user namespaces", "this user may make them")
    )


def seccomp_actions() -> list[str]:
    """What a filter may do to a process; empty: there are no filters (seccomp(2))."""
    try:
        return Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    except OSError:
        return []


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
