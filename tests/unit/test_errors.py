"""pyvmm.errors: one base class, one line and one status for each error."""

from __future__ import annotations

from errno import EACCES, EFBIG, EMFILE, ENOENT

import pytest

from pyvmm import errors
from pyvmm.errors import GuestError, HostError, KvmError, PyvmmError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PyvmmError)]


@pytest.mark.parametrize("kind", KINDS)
def test_status_is_124_for_the_guest_s_fault_and_125_for_all_others(kind: type[PyvmmError]) -> None:
    assert kind.status == (124 if issubclass(kind, GuestError) else 125)


def test_statuses_of_pyvmm_are_those_of_the_documentation() -> None:
    assert (errors.STATUS_GUEST_FAILED, errors.STATUS_PYVMM_FAILED) == (124, 125)
    assert (errors.STATUS_INTERRUPTED, errors.STATUS_TERMINATED) == (128 + 2, 128 + 15)


def test_kvm_error_is_a_host_error() -> None:
    assert issubclass(KvmError, HostError)


def test_host_error_names_the_call_and_the_reason() -> None:
    error = HostError("/dev/kvm", ENOENT)
    assert str(error) == "/dev/kvm: No such file or directory"
    assert error.errno == ENOENT


def test_host_error_ends_with_its_hint() -> None:
    assert str(HostError("open", EACCES, "join a group")) == "open: Permission denied; join a group"


@pytest.mark.parametrize(("errno", "limit"), [(EMFILE, "ulimit -n"), (EFBIG, "ulimit -f")])
def test_host_error_names_the_limit_that_is_its_reason(errno: int, limit: str) -> None:
    assert str(HostError("a file", errno, "try another one")).endswith(f"(`{limit}`)")
