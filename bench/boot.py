"""How long pyvmm takes to boot a guest, beside the least that any VMM takes.

Three commands run in turn, so that whatever else the machine does meets all of
them alike: pyvmm, the floor (`floor.c`: the same guest by the same ioctls, in C),
and the Python interpreter doing nothing. Times start right before the process
is spawned. Runs that record marks inside the process do not count for its wall
time, because recording costs time itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Samples = dict[str, list[float]]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
CFLAGS = ["-std=gnu11", "-O2", "-static", "-Wall", "-Wextra", "-Werror"]

WARM_UP_RUNS = 3
MEMORY_RUNS = 5
SETTLE_SECONDS = 0.3

BOOTSTRAP_ROUNDS = 2000
SEED = 1

STEPS = ("first KVM_RUN", "first instruction", "kernel start", "application start")
EXIT = "exit (wall)"
PSS, RSS = "memory, PSS", "memory, RSS"
UNITS = {PSS: "KiB", RSS: "KiB"}

_GUEST_RAM = "/memfd:guest-ram"
_READY = b"R"


class BenchError(Exception):
    """Something that a measurement needs is missing or failed."""


@dataclass
class Commands:
    """What is compared, and the size of the guest's memory in bytes."""

    pyvmm: Path
    python: Path
    floor: Path
    memory: int

    def boot(self, vmm: str, image: Path, marks: Path | None = None) -> list[str]:
        """The command line that boots `image`, and writes its marks to a file if given."""
        if vmm == "floor":
            return [str(self.floor), str(image), str(self.memory), *([str(marks)] if marks else [])]
        timing = [f"--timing={marks}"] if marks else []
        return [str(self.pyvmm), "boot", str(image), "--mem", str(self.memory), *timing]

    def empty_python(self) -> list[str]:
        """The interpreter's start and end alone, with the options that pyvmm gives it."""
        return [str(self.python), "-ISc", "pass"]


VMMS = ("pyvmm", "floor")


# ---- processes


def run(command: list[str]) -> tuple[int, int]:
    """Runs a command that must succeed; CLOCK_MONOTONIC before and after it, in ns."""
    redirect = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
    before = time.monotonic_ns()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=redirect)
    _, status = os.waitpid(pid, 0)
    after = time.monotonic_ns()
    if status:
        raise BenchError(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return before, after


def pyvmm_marks(text: str) -> dict[str, int]:
    """CLOCK_MONOTONIC in ns of the steps in what `pyvmm boot --timing=FILE.json` wrote."""
    timeline = json.loads(text)
    if "origin_ns" not in timeline:
        raise BenchError("this pyvmm's --timing does not tell origin_ns")
    known = ((step["name"], step["ns"]) for step in timeline["steps"])
    return {name: timeline["origin_ns"] + ns for name, ns in known if ns is not None}


def floor_marks(text: str) -> dict[str, int]:
    """The same of the floor's file."""
    marks: dict[str, int] = json.loads(text)
    return marks


READERS: dict[str, Callable[[str], dict[str, int]]] = {"pyvmm": pyvmm_marks, "floor": floor_marks}


# ---- times


def measure_wall(command: list[str], samples: Samples) -> None:
    """One run without marks: from spawn until it has been waited for, in ms."""
    before, after = run(command)
    samples[EXIT].append((after - before) / 1e6)


def measure_steps(command: list[str], marks: Path, read: Callable[[str], dict[str, int]], samples: Samples) -> None:
    """One run with marks: from spawn to each step, in ms."""
    marks.unlink(missing_ok=True)
    before, _ = run(command)
    known = read(marks.read_text())
    for step in STEPS:
        if step in known:
            samples[step].append((known[step] - before) / 1e6)


def measure_times(commands: Commands, image: Path, runs: int) -> dict[str, Samples]:
    """All runs in turn; the first few are thrown away."""
    results: dict[str, Samples] = {}
    with tempfile.TemporaryDirectory() as directory:
        marks = Path(directory) / "marks.json"
        for count in range(WARM_UP_RUNS + runs):
            if count in (0, WARM_UP_RUNS):
                results = {name: {step: [] for step in (*STEPS, EXIT)} for name in (*VMMS, "python")}
            for vmm in VMMS:
                measure_wall(commands.boot(vmm, image), results[vmm])
            for vmm in VMMS:
                measure_steps(commands.boot(vmm, image, marks), marks, READERS[vmm], results[vmm])
            measure_wall(commands.empty_python(), results["python"])
    return results


# ---- memory


def halting_image() -> bytes:
    """An ELF image for direct boot (docs/boot-protocol.md) that says it is there and halts."""
    base, headers = 0x10_0000, 64 + 2 * 56
    note = struct.pack("<III8sIIQII", 5, 24, 1, b"Toro", 1, 0, base + headers + 44, 0x1000, 0x1000)
    code = bytes.fromhex(f"66ba f803 b0{_READY.hex()} ee fa f4 ebfd")  # mov dx, 3f8h; mov al, R; out dx, al; cli; hlt
    size = headers + len(note) + len(code)
    return b"".join(
        (
            # ET_EXEC for EM_X86_64 with two program headers (System V gABI, chapters 4 and 5)
            struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, base, 64, 0, 0, 64, 56, 2, 64, 0, 0),
            struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096),  # PT_LOAD: all of this, R and X
            struct.pack("<IIQQQQQQ", 4, 4, headers, base + headers, base + headers, len(note), len(note), 4),
            note,
            code,
        )
    )


def mappings(smaps: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Path and KiB by field of each mapping in a /proc/PID/smaps (proc(5))."""
    path = ""
    fields: dict[str, int] = {}
    for line in smaps.splitlines():
        words = line.split()
        if not words[0].endswith(":"):  # address, rights, offset, device, inode, path
            if fields:
                yield path, fields
            path, fields = " ".join(words[5:]), {}
        elif words[-1] == "kB":
            fields[words[0][:-1]] = int(words[1])
    yield path, fields


def process_memory(pid: int) -> tuple[int, int]:
    """PSS and RSS of a process in KiB, less the guest's memory."""
    smaps = Path(f"/proc/{pid}/smaps").read_text()
    own = [fields for path, fields in mappings(smaps) if not path.startswith(_GUEST_RAM)]
    return sum(fields["Pss"] for fields in own), sum(fields["Rss"] for fields in own)


def measure_memory(command: list[str]) -> tuple[int, int]:
    """The memory of a VMM whose guest has started and halts."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            if process.stdout.read(1) != _READY:
                raise BenchError(f"{' '.join(command)}: the guest did not start")
            time.sleep(SETTLE_SECONDS)
            return process_memory(process.pid)
        finally:
            process.kill()


def measure_memories(commands: Commands) -> dict[str, Samples]:
    """PSS and RSS of both VMMs, one at a time."""
    results: dict[str, Samples] = {vmm: {PSS: [], RSS: []} for vmm in VMMS}
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory) / "halt.elf"
        image.write_bytes(halting_image())
        for _ in range(MEMORY_RUNS):
            for vmm in VMMS:
                pss, rss = measure_memory(commands.boot(vmm, image))
                results[vmm][PSS].append(pss)
                results[vmm][RSS].append(rss)
    return results


# ---- statistics


@dataclass
class Summary:
    """Of one row and column of the table."""

    median: float
    p95: float
    minimum: float


@dataclass
class Row:
    """One quantity of pyvmm and of what it is compared with."""

    name: str
    unit: str
    pyvmm: Summary
    reference: str
    other: Summary
    ratio: float
    low: float
    high: float


def summarize(samples: list[float]) -> Summary:
    """Median, 95th percentile and minimum."""
    return Summary(
        statistics.median(samples), statistics.quantiles(samples, n=20, method="inclusive")[-1], min(samples)
    )


def ratio_interval(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the ratio of medians, by a percentile bootstrap."""
    chance = random.Random(SEED)
    ratios = sorted(
        statistics.median(chance.choices(ours, k=len(ours))) / statistics.median(chance.choices(theirs, k=len(theirs)))
        for _ in range(BOOTSTRAP_ROUNDS)
    )
    return ratios[round(BOOTSTRAP_ROUNDS * 0.025)], ratios[round(BOOTSTRAP_ROUNDS * 0.975) - 1]


def compare(name: str, ours: list[float], reference: str, theirs: list[float]) -> Row:
    """A row of the table."""
    ratio = statistics.median(ours) / statistics.median(theirs)
    low, high = ratio_interval(ours, theirs)
    return Row(name, UNITS.get(name, "ms"), summarize(ours), reference, summarize(theirs), ratio, low, high)


def table_rows(times: dict[str, Samples], memories: dict[str, Samples]) -> list[Row]:
    """All rows; a step that a VMM could not tell the time of is left out."""
    rows = []
    for results in (times, memories):
        for name, ours in results["pyvmm"].items():
            theirs = results["floor"][name]
            if len(ours) > 1 and len(theirs) > 1:
                rows.append(compare(name, ours, "floor", theirs))
    rows.append(compare(EXIT, times["pyvmm"][EXIT], "python", times["python"][EXIT]))
    return rows


# ---- report


def cpu_model() -> tuple[str, set[str]]:
    """The CPU's name and its feature flags."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    return fields.get("model name", "unknown CPU"), set(fields.get("flags", "").split())


def machine_line(python: Path) -> str:
    """What was measured on."""
    model, flags = cpu_model()
    flavour = next((f for f in ("vmx", "svm") if f in flags), "no hardware virtualization: software KVM")
    version = subprocess.run([python, "-ISV"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{model}, {os.cpu_count()} CPUs; Linux {os.uname().release}; KVM: {flavour}; {version}"


def is_editable(commands: Commands) -> bool:
    """Whether pyvmm is not in its prefix's site-packages, so that it must load `site` to find itself."""
    libraries = commands.pyvmm.parent.parent.glob("lib/python3*/site-packages/pyvmm")
    return not any(libraries)


def notes(commands: Commands, image: Path, runs: int) -> list[str]:
    """What a reader must know of the figures."""
    lines = [
        machine_line(commands.python),
        f"{image.name}, {commands.memory >> 20} MiB, 1 vCPU; {runs} interleaved runs, {MEMORY_RUNS} for memory",
        "Only ratios carry over to another machine; [ ] is the 95 % confidence interval of the ratio of medians.",
    ]
    if is_editable(commands):
        lines.append("This pyvmm is an editable install, which starts slower than a plain one: not for the record.")
    return lines


def text_report(heading: list[str], rows: list[Row]) -> str:
    """The table."""
    cell = "{:>10}{:>10}{:>10}"
    columns = cell.format("median", "p95", "min")
    lines = [*heading, "", f"{'':<24}{'pyvmm':>30}  {'reference':>38}", f"{'':<24}{columns}  {'':<8}{columns}   ratio"]
    for row in rows:
        digits = 3 if row.unit == "ms" else 0
        ours, theirs = (
            cell.format(*(f"{value:.{digits}f}" for value in (s.median, s.p95, s.minimum)))
            for s in (row.pyvmm, row.other)
        )
        ratio = f"{row.ratio:>8.2f} [{row.low:.2f}, {row.high:.2f}]"
        lines.append(f"{row.name + ', ' + row.unit:<24}{ours}  {row.reference:<8}{theirs}{ratio}")
    return "\n".join(lines)


# ---- command line


def parse_size(text: str) -> int:
    """Bytes of `128M` or `2G`."""
    units = {"M": 20, "G": 30}
    try:
        size = int(text[:-1]) << units[text[-1].upper()]
    except (KeyError, IndexError, ValueError):
        raise argparse.ArgumentTypeError(f"{text}: not a size such as 128M or 2G") from None
    if size < 16 << 20 or size % (2 << 20):
        raise argparse.ArgumentTypeError(f"{text}: not an even number of MiB from 16M")
    return size


def parse_runs(text: str) -> int:
    """A number of runs that medians can be taken of."""
    runs = int(text) if text.isdecimal() else 0
    if runs < 2:
        raise argparse.ArgumentTypeError("at least 2; 30 or more for the record")
    return runs


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compares pyvmm's boot with the least a VMM can take.")
    parser.add_argument("--runs", type=parse_runs, default=40, metavar="N", help="of each command (40)")
    parser.add_argument("--mem", type=parse_size, default="128M", metavar="SIZE", help="guest memory (128M)")
    parser.add_argument(
        "--image", type=Path, default=ROOT / "examples/HelloWorld/HelloWorld.elf", metavar="ELF", help="HelloWorld"
    )
    parser.add_argument(
        "--pyvmm", type=Path, default=Path(sys.executable).parent / "pyvmm", metavar="PATH", help="next to this python"
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON, with all samples")
    return parser.parse_args()


def build_floor() -> Path:
    """Compiles floor.c."""
    BUILD.mkdir(parents=True, exist_ok=True)
    floor = BUILD / "floor"
    sources = [ROOT / "bench/floor.c", *sorted((ROOT / "pyvmm").glob("_*.c"))]
    compiled = subprocess.run(["gcc", *CFLAGS, *map(str, sources), "-o", str(floor)], check=False)
    if compiled.returncode:
        raise BenchError("floor.c does not compile")
    return floor


def find_commands(arguments: argparse.Namespace) -> Commands:
    """Where everything is; the interpreter is the one that bin/pyvmm takes."""
    pyvmm: Path = arguments.pyvmm
    if not os.access(pyvmm, os.X_OK):
        raise BenchError(f"{pyvmm}: no such command; say --pyvmm PATH")
    if not arguments.image.is_file():
        raise BenchError(f"{arguments.image}: no such file; `pyvmm build` makes it of its .pas")
    beside = pyvmm.parent / "python3"
    python = beside if beside.exists() else Path(shutil.which("python3") or sys.executable)
    return Commands(pyvmm.absolute(), python, build_floor(), arguments.mem)


def main() -> int:
    """Measures and reports; returns the exit status."""
    arguments = parse_arguments()
    try:
        commands = find_commands(arguments)
        gc.disable()
        times = measure_times(commands, arguments.image, arguments.runs)
        memories = measure_memories(commands)
    except (BenchError, OSError) as error:
        print(f"boot.py: {error}", file=sys.stderr)
        return 1
    heading = notes(commands, arguments.image, arguments.runs)
    rows = table_rows(times, memories)
    if arguments.json:
        report: dict[str, Any] = {"notes": heading, "rows": [asdict(row) for row in rows]}
        print(json.dumps(report | {"samples": {"times": times, "memories": memories}}, indent=1))
    else:
        print(text_report(heading, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
