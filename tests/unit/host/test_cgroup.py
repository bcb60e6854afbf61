"""pyvmm.host.cgroup: limits of both versions, along the whole path."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyvmm.errors import ConfigError, HostError
from pyvmm.host.cgroup import Cgroup, join


def cgroup(folder: Path, membership: str, mounts: str, files: dict[str, str]) -> Cgroup:
    """That of a process with these files of /proc/self, and files of the hierarchy by path below `folder`."""
    (folder / "cgroup").write_text(membership)
    (folder / "mounts").write_text(mounts.format(folder))
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return Cgroup(folder)


def test_version_2_has_the_tightest_limit_of_all_groups(tmp_path: Path) -> None:
    found = cgroup(
        tmp_path,
        "0::/outer/inner\n",
        "proc /proc proc rw 0 0\ncgroup2 {}/unified cgroup2 rw 0 0\n",
        {
            "unified/outer/memory.max": "1000\n",
            "unified/outer/memory.current": "400\n",
            "unified/outer/pids.max": "max\n",
            "unified/outer/cpu.max": "50000 100000\n",
            "unified/outer/inner/memory.max": "max\n",
            "unified/outer/inner/memory.current": "300\n",
            "unified/outer/inner/pids.max": "7\n",
            "unified/outer/inner/cpu.max": "max 100000\n",
        },
    )
    assert (found.memory(), found.processes(), found.cpus()) == (600, 7, 0.5)


def test_version_1_has_a_place_for_each_controller(tmp_path: Path) -> None:
    found = cgroup(
        tmp_path,
        "4:memory:/a\n3:pids:/\n2:cpu,cpuacct:/a\n1:name=systemd:/a\n",
        "".join(f"cgroup {{0}}/{name} cgroup rw,{name} 0 0\n" for name in ("memory", "pids", "cpu,cpuacct")),
        {
            "memory/memory.limit_in_bytes": str((1 << 63) - 4096),
            "memory/a/memory.limit_in_bytes": "5000",
            "memory/a/memory.usage_in_bytes": "6000",
            "cpu,cpuacct/a/cpu.cfs_quota_us": "200000\n",
            "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert (found.memory(), found.processes(), found.cpus()) == (0, None, 2.0)


@pytest.mark.parametrize("membership", ["", "0::/\n", "0::/../../elsewhere\n"])
def test_no_limit_is_found_where_there_is_none(membership: str, tmp_path: Path) -> None:
    found = cgroup(tmp_path, membership, "cgroup2 {}/unified cgroup2 rw 0 0\n", {"unified/cgroup.procs": ""})
    assert (found.memory(), found.processes(), found.cpus()) == (None, None, None)


def test_this_process_has_groups() -> None:
    Cgroup().memory()


def test_who_joins_is_told_what_is_no_group(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cgroup {tmp_path}: not a control group's directory"):
        join(str(tmp_path))


def test_who_joins_is_told_why_a_group_takes_nobody(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").mkdir()
    with pytest.raises(HostError, match=f"--cgroup {tmp_path}: Is a directory; it has to be a leaf"):
        join(str(tmp_path))


def test_who_joins_writes_itself(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    join(str(tmp_path))
    assert (tmp_path / "cgroup.procs").read_text() == "0"
