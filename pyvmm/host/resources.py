"""How much of the host this process may have: memory, CPU time, processes, descriptors."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.host.cgroup import Cgroup
from pyvmm.host.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of a guest without `--mem`, and what pyvmm itself takes.
_GUEST = 128 << 20
_VMM = 32 << 20
_NEVER = "2"  # of vm.overcommit_memory: no more than swap and a part of RAM
_FILES_MIN = 256  # descriptors: some for pyvmm, one a connection
_PROCESSES_MIN = 32
_LIMITS = (
    (resource.RLIMIT_NOFILE, "open files", "-n", _FILES_MIN, "a guest with many connections runs out of them"),
    (resource.RLIMIT_NPROC, "processes", "-u", _PROCESSES_MIN, "each vCPU is a thread, which counts as one"),
    (resource.RLIMIT_AS, "address space", "-v", 0, "guest memory is part of it, at `--mem`'s full size"),
    (resource.RLIMIT_FSIZE, "sizes of files", "-f", 0, "the memory of a guest with shares is a file"),
)


def resources() -> Iterator[Finding]:
    """Memory, the limits of control groups, and those of the process."""
    yield memory(Path("/proc/meminfo").read_text(), Path("/proc/sys/vm/overcommit_memory").read_text().strip())
    yield from of_cgroup(Cgroup())
    yield from of_process()


def memory(meminfo: str, overcommit: str) -> Finding:
    """By the contents of /proc/meminfo and /proc/sys/vm/overcommit_memory."""
    values = {name: int(rest.split()[0]) << 10 for name, rest in (line.split(":") for line in meminfo.splitlines())}
    available = values["MemAvailable"]
    found = f"{available >> 20} MiB are available"
    if overcommit == _NEVER:
        left = max(values["CommitLimit"] - values["Committed_AS"], 0)
        found += f", but vm.overcommit_memory is 2, so guest memory counts at its full size: {left >> 20} MiB are left"
        if left < _GUEST + _VMM:
            return Finding("note", "memory", found, "give guests less by `--mem`, or set vm.overcommit_memory to 0")
    if available < _GUEST + _VMM:
        return Finding("note", "memory", found, "give guests less by `--mem`, or end other programs")
    return Finding("ok", "memory", found)


def of_cgroup(cgroup: Cgroup) -> Iterator[Finding]:
    """What the limits of control groups mean for guests."""
    memory, cpus, processes = cgroup.memory(), cgroup.cpus(), cgroup.processes()
    if memory is not None:
        found = f"{memory >> 20} MiB are left, for guest memory as well"
        few = memory < _GUEST + _VMM
        yield Finding(
            "note" if few else "ok", "cgroup memory", found, "raise memory.max, or give guests less by `--mem`" * few
        )
    if cpus is not None:
        found = f"{cpus:g} CPUs' time; vCPUs that compute stand still for the rest of each period"
        yield Finding("note" if cpus < 1 else "ok", "cgroup CPU", found, "raise cpu.max" * (cpus < 1))
    if processes is not None:
        few = processes < _PROCESSES_MIN
        found = f"at most {processes} processes and threads; each vCPU is a thread"
        yield Finding("note" if few else "ok", "cgroup processes", found, "raise pids.max" * few)
    if (memory, cpus, processes) == (None, None, None):
        yield Finding("ok", "cgroup", "no limits")


def of_process() -> Iterator[Finding]:
    """What too low a limit of the process means (getrlimit(2))."""
    is_enough = True
    for number, name, option, enough, why in _LIMITS:
        soft, hard = resource.getrlimit(number)
        if soft == resource.RLIM_INFINITY or 0 < enough <= soft:
            continue
        is_enough = False
        remedy = "have it raised in limits.conf(5), or by LimitNOFILE= and its like in the systemd unit"
        if hard == resource.RLIM_INFINITY or 0 < enough <= hard:
            remedy = f"`ulimit {option} {'unlimited' if hard == resource.RLIM_INFINITY else hard}`"
        yield Finding("note", f"ulimit {option}", f"{name} are limited to {soft}: {why}", remedy)
    if is_enough:
        yield Finding("ok", "process limits", "enough files and processes")
