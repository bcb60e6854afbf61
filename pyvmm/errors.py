"""pyvmm's exceptions, and the exit status of the command for each.

PyvmmError            125   the message is one line: what, where, what to do
├── ConfigError             a value that a machine or device cannot have
├── UsageError              the command line
├── ImageError              the guest's image
├── BuildError              `pyvmm build`
├── HostError               a system call of the host
│   └── KvmError            an ioctl of /dev/kvm
└── GuestError        124   the guest cannot go on
"""

from __future__ import annotations

#: Exit statuses; a guest that ends by itself provides the status, of which pyvmm knows one.
STATUS_PANIC = 120  # of a Toro kernel
STATUS_GUEST_FAILED = 124
STATUS_PYVMM_FAILED = 125
STATUS_INTERRUPTED = 130
STATUS_TERMINATED = 143


class PyvmmError(Exception):
    """Base class of all errors that are meant for the user."""

    status = STATUS_PYVMM_FAILED


class ConfigError(PyvmmError):
    """A value that a machine or a device cannot have.

    Args:
        parameter: the parameter's name in `MachineConfig` or `pyvmm.api`.
        value: as it was given; empty if showing it would not help.
        reason: what is wrong with it.
    """

    def __init__(self, parameter: str, value: object, reason: str) -> None:
        self.parameter, self.value, self.reason = parameter, value, reason
        super().__init__(f"{parameter} {value}".rstrip() + f": {reason}")


class UsageError(PyvmmError):
    """The command line asks for something that does not exist or is impossible."""


class ImageError(PyvmmError):
    """The guest's image cannot be booted. The message names the file and the field."""


class BuildError(PyvmmError):
    """A Toro application could not be built."""


#: What to do about EMFILE and EFBIG, whichever call failed.
_HINTS = {
    24: "raise the limit of open files (`ulimit -n`)",
    27: "raise the limit of a file's size (`ulimit -f`)",
}


class HostError(PyvmmError):
    """The host refused something that a machine needs.

    Args:
        what: the call that failed, as a user would look it up.
        errno: its error number.
        hint: what the user can do about it, if anything. If a limit of the process is the
            reason, the message says that instead.

    Attributes:
        errno, hint: as in the message.
    """

    def __init__(self, what: str, errno: int, hint: str = "") -> None:
        from posix import strerror

        self.errno = errno
        self.hint = hint = _HINTS.get(errno, hint)
        message = f"{what}: {strerror(errno)}"
        super().__init__(f"{message}; {hint}" if hint else message)


def not_imported(error: ImportError) -> PyvmmError:
    """Why a module of Python could not be imported, as far as can be found out."""
    import posix
    import sys

    try:
        posix.close(posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC))
    except OSError as shortage:
        return HostError(f"loading {error.name}", shortage.errno or 0)
    # Without a prefix the interpreter is not set up yet.
    where = f" in {sys.base_prefix}" if hasattr(sys, "base_prefix") else ""
    return PyvmmError(f"{error}; the Python{where} is incomplete, or this user may not read it")


class KvmError(HostError):
    """/dev/kvm could not be opened, or an ioctl of it, of a VM or of a vCPU failed."""


class GuestError(PyvmmError):
    """A vCPU cannot go on.

    Args:
        message: one line.
        kind: `triple fault`, `emulation failure`, `failed entry`, `panic`, `hang`, or `unknown exit`.
        vcpu: its number.
    """

    status = STATUS_GUEST_FAILED

    def __init__(self, message: str, kind: str, vcpu: int) -> None:
        self.kind, self.vcpu = kind, vcpu
        super().__init__(message)
