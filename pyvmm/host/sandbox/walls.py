"""Which walls this host has to offer, found out by a process that puts them up around itself."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import lib
from pyvmm.host.sandbox.confine import Sandbox

_WALLS = {
    lib.SANDBOX_NO_NEW_PRIVS: "no new privileges",
    lib.SANDBOX_USER: "another user",
    lib.SANDBOX_CAPABILITIES: "no capabilities",
    lib.SANDBOX_LANDLOCK: "Landlock",
    lib.SANDBOX_SECCOMP: "system call filters",
    lib.SANDBOX_LIMITS: "limits of resources",
}


def walls() -> dict[str, bool]:
    """Whether each wall can be had, by its name. Only root's guests get another user: it is not there for others.

    Raises:
        OSError: there can be no process or pipe.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            Sandbox("on").enter([])
            os.write(writer, bytes([lib.sandbox_of_process().missing]))
        finally:
            os._exit(0)
    os.close(writer)
    try:
        told = os.read(reader, 1)
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    missing = told[0] if told else sum(_WALLS)
    is_root = os.geteuid() == 0
    return {name: not missing & wall for wall, name in _WALLS.items() if is_root or wall != lib.SANDBOX_USER}
