"""How fast Toro's kernel is: its basic operations, and its heap compared with FPC's own.

`KernelSpeed.pas` times the operations from inside. `HeapSpeed.pas` is one program, built
for Toro and for Linux, where it uses FPC's stock heap manager. Both run in turn, so that
other load on the machine affects them alike. Two host CPUs are needed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import BENCH, BUILD, BenchError, arguments_for, machine_line, parse_runs, ratio_interval, run_script

if TYPE_CHECKING:
    Samples = dict[tuple[str, int], list[float]]

VMM_OPTIONS = ["--cpus", "2", "--pin", "0-1", "--mem", "512M"]


def run(command: list[str]) -> list[list[str]]:
    """The words of each line of a command's output; the command must succeed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return [line.split() for line in done.stdout.splitlines()]


def build_programs(pyvmm: str) -> tuple[list[str], list[str], list[str]]:
    """The commands that run KernelSpeed, and HeapSpeed on Toro and on Linux."""
    BUILD.mkdir(parents=True, exist_ok=True)
    guests = []
    for name in ("KernelSpeed", "HeapSpeed"):
        image = str(BUILD / f"{name}.elf")
        run([pyvmm, "build", str(BENCH / f"{name}.pas"), "-o", image])
        guests.append([pyvmm, "boot", image, *VMM_OPTIONS])
    native = BUILD / "HeapSpeed"
    run(["fpc", "-O2", f"-FE{BUILD}", f"-o{native}", str(BENCH / "HeapSpeed.pas")])
    return guests[0], guests[1], [str(native)]


def collect(command: list[str], samples: Samples) -> None:
    """One run of HeapSpeed: millions of allocations and releases per 10^9 cycles."""
    for name, threads, cycles, pairs in run(command):
        samples.setdefault((name, int(threads)), []).append(int(pairs) / int(cycles) * 1000)


def report(kernel: list[list[list[str]]], toro: Samples, native: Samples) -> str:
    """Both tables."""
    ghz = int(kernel[0][0][1]) / 1e9
    lines = ["", f"{'operation, ns':<28}{'median':>10}{'least':>10}"]
    for index in range(1, len(kernel[0])):
        medians = [int(run[index][1]) for run in kernel]
        least = min(int(run[index][2]) for run in kernel)
        lines.append(f"{kernel[0][index][0]:<28}{statistics.median(medians):>10.0f}{least:>10}")
    lines += ["", f"{'heap, million pairs a second':<28}{'Toro':>10}{'FPC':>10}   ratio"]
    for key, ours in toro.items():
        theirs = native[key]
        low, high = ratio_interval(ours, theirs)
        rates = [statistics.median(samples) * ghz for samples in (ours, theirs)]
        name = f"{key[0]}, {key[1]} thread{'s' if key[1] > 1 else ''}"
        lines.append(f"{name:<28}{rates[0]:>10.1f}{rates[1]:>10.1f}{rates[0] / rates[1]:>8.2f} [{low:.2f}, {high:.2f}]")
    return "\n".join(lines)


def main() -> int:
    """Measures and reports; returns the exit status."""
    parser = arguments_for("kernel", __doc__)
    parser.add_argument("--runs", type=parse_runs, default=20, metavar="N", help="of each program (20)")
    arguments = parser.parse_args()
    toro: Samples = {}
    native: Samples = {}
    kernel = []
    speed, heap, linux = build_programs(str(arguments.pyvmm))
    for _ in range(arguments.runs):
        kernel.append(run(speed))
        collect(heap, toro)
        collect(linux, native)
    if arguments.json:
        heaps = {
            name: [[*key, values] for key, values in heap.items()] for name, heap in (("Toro", toro), ("FPC", native))
        }
        print(json.dumps({"kernel": kernel, "heap": heaps}, indent=1))
        return 0
    print(machine_line(Path(sys.executable)))
    print(f"2 vCPUs; {arguments.runs} interleaved runs; [ ] is the 95 % confidence interval of the ratio of medians")
    print(report(kernel, toro, native))
    return 0


if __name__ == "__main__":
    run_script("kernel", main)
