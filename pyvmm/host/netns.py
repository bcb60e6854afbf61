"""Network namespaces (network_namespaces(7)): entering one costs two system calls, and no library."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import ConfigError, HostError

_ENOENT, _EPERM = 2, 1
HINT = "it takes root, or a user namespace: `unshare --map-root-user --net --mount`"


def folders() -> list[str]:
    """Where namespaces with names are: iproute2's directory, and this user's own; not what others may change."""
    base = os.environ.get(b"XDG_RUNTIME_DIR", b"").decode(errors="surrogateescape")
    own = f"{base}/pyvmm-netns" if base.startswith("/") else f"/tmp/pyvmm-netns-{os.geteuid()}"
    return [folder for folder in ("/run/netns", own) if _is_safe(folder)]


def _is_safe(folder: str) -> bool:
    """Whether nobody but root and this user could have put something there."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return True
    return status.st_mode & 0o170022 == 0o040000 and status.st_uid in (0, os.geteuid())


def find(name: str) -> str:
    """The path of a namespace, by its name or path.

    Raises:
        ConfigError: there is none.
    """
    if "/" in name:
        return name
    for folder in folders():
        try:
            os.stat(f"{folder}/{name}")
        except OSError:
            continue
        return f"{folder}/{name}"
    raise ConfigError("netns", name, "no network namespace has this name; `pyvmm net add` or `ip netns add` makes them")


def enter(name: str) -> None:
    """Moves this thread, and those that it starts, to a network namespace.

    Args:
        name: a name, or a path such as `/proc/PID/ns/net`.

    Raises:
        ConfigError: there is none.
        HostError: it may not be entered.
    """
    path = find(name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError("netns", name, str(error.strerror)) from None
    try:
        _enter(f"netns {name}", fd)
    finally:
        os.close(fd)


def enter_new() -> None:
    """Moves this thread to a network namespace of its own, which ends with the process.

    Raises:
        HostError: there may be none.
    """
    _enter("network namespace", -1)


def _enter(what: str, fd: int) -> None:
    if lib.enter_netns(fd) < 0:
        raise HostError(what, ffi.errno, HINT if ffi.errno == _EPERM else "")
