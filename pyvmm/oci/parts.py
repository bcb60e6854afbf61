"""What a container needs of the host to run a guest: pyvmm, its interpreter, libc and virtiofsd.

They are mounted, so the image may have nothing but the guest.
"""

from __future__ import annotations

import posix as os
import sys

from pyvmm.errors import HostError, UsageError
from pyvmm.host.virtiofsd import PROGRAMS
from pyvmm.oci.bundle import Mount

#: Where pyvmm is installed in the container.
PREFIX = "/opt/pyvmm"
PROGRAM = f"{PREFIX}/bin/pyvmm"
#: And the State in which the guest starts.
STATE = f"{PREFIX}/guest"
KVM = "/dev/kvm"

#: Where every x86-64 program expects the dynamic linker (System V psABI).
_LOADER = "/lib64/ld-linux-x86-64.so.2"


def program_mounts() -> list[Mount]:
    """This pyvmm, and all that it loads.

    Raises:
        UsageError: it is not the executable, which alone can be mounted.
        HostError: part of it cannot be found.
    """
    try:
        program = os.readlink("/proc/self/exe")
        libraries = _library_folders()
    except OSError as error:
        raise HostError("/proc/self", error.errno or 0) from None
    if not program.endswith("/bin/pyvmm"):
        raise UsageError("containers need pyvmm as an executable: install it with a Python that has a libpython")
    version = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    stdlib = str(sys.__dict__["_stdlib_dir"])
    prefix = program.removesuffix("/bin/pyvmm")
    places = [(program, PROGRAM), (f"{prefix}/{version}", f"{PREFIX}/{version}"), (_LOADER, _LOADER)]
    return [read_only(source, place) for source, place in [*places, *((path, path) for path in [stdlib, *libraries])]]


def _library_folders() -> list[str]:
    """The directories of what this process has loaded (proc(5), maps)."""
    fd, text = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC), b""
    try:
        while block := os.read(fd, 1 << 16):
            text += block
    finally:
        os.close(fd)
    paths = (
        line.split(None, 5)[5] for line in text.decode(errors="surrogateescape").splitlines() if "/libc.so" in line
    )
    return list(dict.fromkeys(path.rpartition("/")[0] for path in paths))


def share_mount() -> Mount:
    """virtiofsd.

    Raises:
        HostError: there is none.
    """
    for program, _ in PROGRAMS:
        if os.access(program, os.X_OK):
            return read_only(program, program)
    raise HostError("virtiofsd", 2, "install virtiofsd, or Debian's qemu-system-common")


def read_only(source: str, place: str) -> Mount:
    """A mount by which nothing can be changed."""
    return Mount(place, source, ["rbind", "ro", "nosuid", "nodev"])


def kvm_device() -> tuple[int, int]:
    """Major and minor number of /dev/kvm.

    Raises:
        HostError: there is none.
    """
    try:
        number = os.stat(KVM).st_rdev
    except OSError as error:
        raise HostError(KVM, error.errno or 0) from None
    return os.major(number), os.minor(number)
