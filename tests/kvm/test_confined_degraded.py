"""Where the host refuses a wall, as an old kernel or a container's profile does, `on` has the others."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from struct import pack

import pytest
from guests import Assembler, Result, pyvmm

PRINTS = """
    print text, 3
    exit 7
text: .ascii "hi\\n"
"""
_PRCTL, _CAPSET, _SETRESUID, _LANDLOCK, _PRLIMIT = 157, 126, 117, 444, 302
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN, _ALLOW, _ERRNO = 0x20, 0x15, 0x06, 0x7FFF0000, 0x50000
#: The wall, as it is named, a call that it takes, its first argument or None, and how it fails.
WALLS = [
    ("Landlock", _LANDLOCK, None, errno.ENOSYS),
    ("Landlock", _LANDLOCK, None, errno.EOPNOTSUPP),
    ("capabilities", _CAPSET, None, errno.EPERM),
    ("a system call filter (seccomp)", _PRCTL, _PR_SET_SECCOMP, errno.EINVAL),
    ("limits of resources", _PRLIMIT, 0, errno.EPERM),
    pytest.param("another user", _SETRESUID, None, errno.EINVAL,
                 marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root's guests have one")),
]  # fmt: skip


def refusing(call: int, first: int | None, error: int) -> Callable[[], None]:
    """Has a call fail in this process from now on, with its first argument if one is given."""
    code = [(_LOAD, 0, 0, 0), (_EQUAL, 0, 3 if first is not None else 1, call)]
    if first is not None:
        code += [(_LOAD, 0, 0, 16), (_EQUAL, 0, 1, first)]
    code += [(_RETURN, 0, 0, _ERRNO | error), (_RETURN, 0, 0, _ALLOW)]
    text = ctypes.create_string_buffer(b"".join(pack("<HBBI", *each) for each in code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]

    def refuse() -> None:
        program = ctypes.create_string_buffer(pack("<HxxxxxxQ", len(code), ctypes.addressof(text)))
        for words in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program))):
            if prctl(*words, *[0] * (5 - len(words))):
                raise OSError(ctypes.get_errno(), "prctl")

    return refuse


@pytest.mark.parametrize(("wall", "call", "first", "error"), WALLS)
def test_a_guest_runs_without_a_wall(
    boot: Callable[..., Result], wall: str, call: int, first: int | None, error: int
) -> None:
    refuse = refusing(call, first, error)
    assert boot(PRINTS, preexec_fn=refuse) == Result(7, b"hi\n", "")
    assert boot(PRINTS, "--vsock", "5", "--name", "degraded", preexec_fn=refuse) == Result(7, b"hi\n", "")


@pytest.mark.parametrize(("wall", "call", "first", "error"), WALLS)
def test_require_says_which_wall_is_missing(
    assemble: Assembler, wall: str, call: int, first: int | None, error: int
) -> None:
    done = pyvmm("boot", assemble(PRINTS), "--sandbox=require", preexec_fn=refusing(call, first, error))
    assert done == Result(125, b"", f"pyvmm: sandbox: {wall}: {os.strerror(error)}\n")


@pytest.mark.parametrize(("wall", "call", "first", "error"), [each for each in WALLS if "limits" not in str(each)])
def test_doctor_says_which_wall_is_missing(wall: str, call: int, first: int | None, error: int) -> None:
    said = pyvmm("doctor", preexec_fn=refusing(call, first, error)).stdout.decode()
    name = {"capabilities": "no capabilities", "a system call filter (seccomp)": "system call filters"}.get(wall, wall)
    lines = [line for line in said.splitlines() if line.startswith("note   sandbox: ")]
    assert f"note   sandbox: {name}: refused by this host" in [line.partition(";")[0] for line in lines]
