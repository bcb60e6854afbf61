"""Many guests at once: how long each takes to start, and what it costs while it idles.

Every guest is a `pyvmm boot` of its own, of a program that prints a line and then idles
(`Idle.pas`). They start one after the other. A process's memory is its PSS, which divides
shared pages by their sharers; guest memory is the mapping of its size, and
the rest is the VMM's. The decrease of the host's MemAvailable includes all of that and
KVM's own memory. CPU time is that of all threads, in ns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from measure import BENCH, BenchError, arguments_for, image_of, machine_line, run_script, summarize

MEMORY, MEMORY_BYTES = "128M", 128 << 20
LINE = b"ready\n"
IDLE_SECONDS = 10.0
SETTLE_SECONDS = 1.0
MAPPINGS_TOLD = 6
KIB, MIB = 1 << 10, 1 << 20
#: Bytes of memory to leave to others.
THREADS_SPARE, MEMORY_SPARE = 100, 512 * MIB


@dataclass
class Memory:
    """Memory of some processes, in bytes.

    Attributes:
        vmm: PSS without that of guest memory.
        guest: guest memory that has been touched.
        by_mapping: `vmm`, by mapped file.
    """

    vmm: int = 0
    guest: int = 0
    by_mapping: dict[str, int] = field(default_factory=dict)

    def add(self, smaps: str) -> None:
        """Adds a process, given its /proc/PID/smaps."""
        name, size = "", 0
        for line in smaps.splitlines():
            words = line.split(None, 5)
            if not words[0].endswith(":"):
                name = words[5] if len(words) > 5 else "anonymous"
                start, _, end = words[0].partition("-")
                size = int(end, 16) - int(start, 16)
            elif words[0] == "Pss:":
                pss = int(words[1]) * KIB
                if size == MEMORY_BYTES:
                    self.guest += pss
                else:
                    self.vmm += pss
                    self.by_mapping[name] = self.by_mapping.get(name, 0) + pss


def memory_of(pids: list[int]) -> Memory:
    """The memory of these processes."""
    memory = Memory()
    for pid in pids:
        memory.add(Path(f"/proc/{pid}/smaps").read_text())
    return memory


def cpu_ns(pids: list[int]) -> int:
    """CPU time of all threads of these processes."""
    threads = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in threads)


def idle_cpu(pids: list[int], seconds: float) -> float:
    """CPU time of all of them while idle, in ms per second."""
    time.sleep(SETTLE_SECONDS)
    before, start = cpu_ns(pids), time.monotonic()
    time.sleep(seconds)
    return (cpu_ns(pids) - before) / 1e6 / (time.monotonic() - start)


# ---- guests


class Guests:
    """Started guests.

    Args:
        command: boots one guest.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        """The memory of their processes."""
        return [process.pid for process in self._processes]

    def start(self) -> float:
        """Starts one; returns the ms from right before its process is spawned until its line arrives."""
        before = time.monotonic_ns()
        process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0)
        self._processes.append(process)
        assert process.stdout
        line = process.stdout.read(len(LINE))
        after = time.monotonic_ns()
        process.stdout.close()  # there is no more output
        if line != LINE:
            raise BenchError(f"guest {len(self._processes)} did not start")
        return (after - before) / 1e6

    def close(self) -> None:
        """Ends all, including one whose start was interrupted."""
        children = descendants(os.getpid())
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


def check_room(count: int, threads: int, memory: int) -> None:
    """Checks that this host can run that many guests.

    Args:
        count: number of guests.
        threads: of each VMM.
        memory: bytes of each.

    Raises:
        BenchError: it cannot.
    """
    needed = count * threads + THREADS_SPARE
    for name, limit in thread_limits().items():
        if needed > limit:
            raise BenchError(f"{count} guests are {count * threads} threads, and {name} leaves {limit}")
    left = available_memory()
    if count * memory + MEMORY_SPARE > left:
        raise BenchError(f"{count} guests take {count * memory // MIB} MiB, and the host has {left // MIB} MiB left")


def available_memory() -> int:
    """Memory that the host can provide without swapping, in bytes."""
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(meminfo["MemAvailable"].split()[0]) * KIB


def thread_limits() -> dict[str, int]:
    """Roughly how many more threads each limit allows; existing threads count against all."""
    running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    limits = {name: int(Path("/proc/sys/kernel", name).read_text()) - running for name in ("pid_max", "threads-max")}
    user = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if user != resource.RLIM_INFINITY and os.geteuid():
        limits["ulimit -u"] = user - running
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        group = Path("/sys/fs/cgroup" + line.split(":", 2)[2])
        try:
            most, now = ((group / f"pids.{name}").read_text().strip() for name in ("max", "current"))
        except OSError:  # without this controller
            continue
        if most != "max":
            limits[f"{group}/pids.max"] = int(most) - int(now)
    return limits


# ---- report


@dataclass
class Row:
    """Results for a number of guests: times in ms, memory in bytes, CPU time of all in ms per second.

    `available` is the host's remaining memory.
    """

    guests: int
    starts: list[float]
    memory: Memory
    available: int
    idle_cpu: float


def measure(pyvmm: Path, image: Path, counts: list[int], seconds: float) -> list[Row]:
    """A row for each number of guests, ascending; the guests of a row stay for the next."""
    rows = []
    guests = Guests([str(pyvmm), "boot", str(image), "--mem", MEMORY])
    with ExitStack() as stack:
        stack.callback(guests.close)
        starts: list[float] = []
        for count in counts:
            while len(starts) < count:
                starts.append(guests.start())
                if len(starts) == 1:
                    first = memory_of(guests.pids)
                    threads = len(os.listdir(f"/proc/{guests.pids[0]}/task"))
                    check_room(counts[-1], threads, first.vmm + first.guest)
            used = idle_cpu(guests.pids, seconds)
            rows.append(Row(count, starts[:], memory_of(guests.pids), available_memory(), used))
    return rows


def descendants(pid: int) -> list[int]:
    """All descendants of a process; none if it has ended."""
    try:
        tasks = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    children = [int(child) for text in tasks for child in text.split()]
    return [*children, *(below for child in children for below in descendants(child))]


def table(rows: list[Row]) -> list[str]:
    """A row for each number of guests, in Markdown; the first is for one guest."""
    lines = [
        "| guests | start of each, ms: median (p95) least | VMM of each beyond the first, MiB | touched guest memory "
        "of each, MiB | host's memory of each beyond the first, MiB | idle: CPU time of all, ms a second |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    first = rows[0]
    for row in rows:
        summary = summarize(row.starts * 2)  # too few for percentiles
        start, vmm, host = f"{summary.median:.1f} ({summary.p95:.1f}) {summary.minimum:.1f}", "", ""
        if more := row.guests - 1:
            vmm = f"{(row.memory.vmm - first.memory.vmm) / more / MIB:.2f}"
            host = f"{(first.available - row.available) / more / MIB:.2f}"
        guest = row.memory.guest / row.guests / MIB
        lines.append(f"| {row.guests} | {start} | {vmm} | {guest:.2f} | {host} | {row.idle_cpu:.3f} |")
    return lines


def mappings(row: Row) -> str:
    """The largest parts of the VMMs' memory, per guest in KiB."""
    most = sorted(row.memory.by_mapping.items(), key=lambda item: -item[1])[:MAPPINGS_TOLD]
    parts = (f"{Path(name).name} {size / row.guests / KIB:.0f}" for name, size in most)
    return f"of each of {row.guests}, KiB: {', '.join(parts)}"


def parse_guests(text: str) -> list[int]:
    """Ascending numbers of guests, from 1 on."""
    words = text.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        raise argparse.ArgumentTypeError(f"{text}: not numbers such as 1,10,100")
    return sorted({1, *map(int, words)})


def main() -> int:
    """Measures and reports; returns the exit status."""
    parser = arguments_for("density", __doc__)
    parser.add_argument(
        "--guests", type=parse_guests, default="1,10,100,500", metavar="LIST", help="how many (1,10,100,500)"
    )
    arguments = parser.parse_args()
    image = image_of(arguments.pyvmm, BENCH / "Idle.pas")
    rows = measure(arguments.pyvmm, image, arguments.guests, IDLE_SECONDS)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    print(machine_line(arguments.pyvmm.parent / "python3"), file=sys.stderr)
    print("\n".join(table(rows)))
    print(f"\nVMM's memory {mappings(rows[-1])}")
    return 0


if __name__ == "__main__":
    run_script("density", main)
