"""pyvmm.host.confinement: what this kernel has is found by asking it."""

from __future__ import annotations

import errno

import pytest

from pyvmm.host import confinement


def test_this_kernel() -> None:
    found = {finding.what: finding for finding in confinement.confinement()}
    assert [*found] == ["seccomp", "Landlock", "user namespaces"]
    assert all(finding.level == "ok" or finding.remedy for finding in found.values())


@pytest.mark.parametrize(
    ("abi", "remedy"),
    [((0, errno.EOPNOTSUPP), "lsm="), ((0, errno.ENOSYS), "Linux 5.13"), ((3, 0), "")],
)
def test_landlock(abi: tuple[int, int], remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "landlock_abi", lambda: abi)
    finding = next(each for each in confinement.confinement() if each.what == "Landlock")
    assert remedy in finding.remedy
    assert finding.level == ("note" if remedy else "ok")


def test_what_is_missing_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "user_namespace", lambda: errno.EPERM)
    monkeypatch.setattr(confinement, "seccomp_actions", list)
    found = {finding.what: finding for finding in confinement.confinement()}
    for name in ("seccomp", "user namespaces"):
        assert found[name].level == "note"
        assert found[name].remedy
