"""How fast MPI is: between two cores of a Toro guest, and between two processes of the host.

`mpi.c` is one program for both. It runs in turn on Toro, MPICH and Open MPI (Debian's packages
libmpich-dev and libopenmpi-dev; what is not installed is left out), so that other load on the
machine affects all alike. Two host CPUs are needed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from measure import BENCH, BUILD, BenchError, arguments_for, machine_line, parse_runs, run_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    #: By what was measured and bytes: medians and least times of each run, in ns.
    Rows = dict[tuple[str, int], list[tuple[float, float]]]

VMM_OPTIONS = ["--cpus", "2", "--mem", "512M"]
#: Name, compiler, and the command that runs two ranks.
HOSTS = (
    ("MPICH", "mpicc.mpich", ["mpiexec.mpich", "-n", "2", "-bind-to", "core"]),
    ("Open MPI", "mpicc.openmpi", ["mpiexec.openmpi", "-n", "2", "--bind-to", "core", "--allow-run-as-root"]),
)


def run(command: list[str]) -> str:
    """A command's output; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_programs(pyvmm: str) -> dict[str, list[str]]:
    """The commands that run the program, by the name of the MPI."""
    BUILD.mkdir(parents=True, exist_ok=True)
    source, image = str(BENCH / "mpi.c"), str(BUILD / "mpi.elf")
    run([pyvmm, "build", source, "-o", image])
    commands = {"Toro": [pyvmm, "boot", image, *VMM_OPTIONS]}
    for name, compiler, launcher in HOSTS:
        if shutil.which(compiler) and shutil.which(launcher[0]):
            program = str(BUILD / f"mpi-{compiler}")
            run([compiler, "-O2", source, "-o", program])
            commands[name] = [*launcher, program]
    return commands


@contextmanager
def busy(active: bool) -> Iterator[None]:
    """Keeps one host CPU busy meanwhile."""
    if not active:
        yield
        return
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


def collect(output: str, rows: Rows) -> None:
    """Adds what one run has printed."""
    for line in output.splitlines():
        what, size, median, least = line.split()
        rows.setdefault((what, int(size)), []).append((float(median), float(least)))


def report(results: dict[str, Rows]) -> str:
    """A table: medians of the runs' medians, and the least times, in microseconds."""
    names = list(results)
    others = [name for name in names if name != "Toro"]
    head = f"{'µs: median (least)':<22}" + "".join(f"{name:>20}" for name in names)
    lines = ["", head + (f"{'ratio':>8}" if others else "")]
    for what, size in results["Toro"]:
        cells = []
        medians = {}
        for name in names:
            samples = results[name][what, size]
            medians[name] = statistics.median(median for median, _ in samples)
            cells.append(f"{medians[name] / 1000:>11.3f} ({min(least for _, least in samples) / 1000:.3f})".rjust(20))
        ratio = f"{medians['Toro'] / min(medians[name] for name in others):>8.2f}" if others else ""
        lines.append(f"{f'{what} {size}' if size else what:<22}{''.join(cells)}{ratio}")
    return "\n".join(lines)


def main() -> int:
    """Measures and reports; returns the exit status."""
    parser = arguments_for("mpi", __doc__)
    parser.add_argument("--runs", type=parse_runs, default=5, metavar="N", help="of each MPI (5)")
    parser.add_argument("--busy", action="store_true", help="while another process keeps one CPU busy")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError("two host CPUs are needed")
    commands = build_programs(str(arguments.pyvmm))
    results: dict[str, Rows] = {name: {} for name in commands}
    with busy(arguments.busy):
        for _ in range(arguments.runs):
            for name, command in commands.items():
                collect(run(command), results[name])
    if arguments.json:
        print(json.dumps({name: [[*key, values] for key, values in rows.items()] for name, rows in results.items()}))
        return 0
    print(machine_line(Path(sys.executable)))
    print(
        f"2 ranks; {arguments.runs} interleaved runs{', one CPU busy' if arguments.busy else ''}; ratio to the faster"
    )
    print(report(results))
    return 0


if __name__ == "__main__":
    run_script("mpi", main)
