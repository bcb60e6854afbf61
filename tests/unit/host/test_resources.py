"""pyvmm.host.resources: what too little memory or too low a limit means, and what to do."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from pyvmm.host import resources
from pyvmm.host.cgroup import Cgroup

MEMINFO = "MemTotal: 9000000 kB\nMemAvailable: {} kB\nCommitLimit: {} kB\nCommitted_AS: 100000 kB\n"


@pytest.mark.parametrize(
    ("available", "commit", "overcommit", "level"),
    [(1 << 20, 0, "0", "ok"), (100 << 10, 1 << 20, "0", "note"), (1 << 20, 110000, "2", "note"),
     (1 << 20, 2 << 20, "2", "ok")],
)  # fmt: skip
def test_memory(available: int, commit: int, overcommit: str, level: str) -> None:
    finding = resources.memory(MEMINFO.format(available, commit), overcommit)
    assert finding.level == level
    assert f"{available >> 10} MiB" in finding.found
    assert bool(finding.remedy) == (level == "note")


def test_a_tight_cgroup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mounts").write_text(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n")
    for name, text in (("memory.max", "9999999"), ("cpu.max", "10000 100000"), ("pids.max", "5")):
        (tmp_path / name).write_text(text)
    found = {finding.what: finding for finding in resources.of_cgroup(Cgroup(tmp_path))}
    assert [*found] == ["cgroup memory", "cgroup CPU", "cgroup processes"]
    assert all(finding.level == "note" and finding.remedy.startswith("raise ") for finding in found.values())


def test_limits_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_NOFILE: (20, 4096), resource.RLIMIT_FSIZE: (1000, 1000)}
    monkeypatch.setattr(resource, "getrlimit", lambda number: limits.get(number, (resource.RLIM_INFINITY,) * 2))
    found = {finding.what: finding for finding in resources.of_process()}
    assert found["ulimit -n"].remedy == "`ulimit -n 4096`"
    assert "limits.conf" in found["ulimit -f"].remedy
    assert len(found) == 2
    limits.clear()
    assert [finding.level for finding in resources.of_process()] == ["ok"]
