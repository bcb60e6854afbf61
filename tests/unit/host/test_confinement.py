"""pyvmm.host.confinement: what this kernel has is found by asking it."""

from __future__ import annotations

import errno

import pytest

from pyvmm.host import confinement
from pyvmm.host.finding import Finding


def findings() -> list[Finding]:
    return [*confinement.confinement()]


def test_this_kernel() -> None:
    found = {finding.what: finding for finding in findings()}
    assert [*found] == ["sandbox", "Landlock", "user namespaces"]
    assert all(finding.level == "ok" or finding.remedy for finding in found.values())


@pytest.mark.parametrize(
    ("abi", "found", "remedy"),
    [
        ((0, errno.EOPNOTSUPP), "it is off", "lsm="),
        ((0, errno.ENOSYS), "none", "Linux 5.13"),
        ((3, 0), "TCP, signals", "Linux 6.12"),
        ((5, 0), "not confine signals", "Linux 6.12"),
        ((6, 0), "ABI 6", ""),
    ],
)
def test_landlock(abi: tuple[int, int], found: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "landlock_abi", lambda: abi)
    finding = next(each for each in findings() if each.what == "Landlock")
    assert found in finding.found
    assert remedy in finding.remedy
    assert finding.level == ("note" if remedy else "ok")


def test_each_wall_that_is_missing_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    there = confinement.walls()
    monkeypatch.setattr(confinement, "walls", lambda: dict.fromkeys(there, False))
    told = [finding for finding in findings() if finding.what == "sandbox"]
    assert [finding.found for finding in told] == [f"{name}: refused by this host" for name in there]
    assert all(finding.level == "note" and finding.remedy for finding in told)


def test_without_user_namespaces_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "user_namespace", lambda: errno.EPERM)
    finding = next(each for each in findings() if each.what == "user namespaces")
    assert (finding.level, bool(finding.remedy)) == ("note", True)


def test_without_a_process_the_walls_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, bool]:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(confinement, "walls", fail)
    assert findings()[0].found == "not tried: no more processes"
