"""How long it takes from spawning a VMM to its guest's first instruction, and to its end.

All commands run in turn, so that other load on the machine affects them alike. Times
start right before the process is spawned. Runs that report their first KVM_RUN do not
count for the wall time, because the report costs time itself.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chart import bars
from measure import (
    BUILD,
    HELLO_WORLD,
    arguments_for,
    image_of,
    machine_line,
    parse_runs,
    parse_size,
    ratio,
    run_script,
    summarize,
)
from vmms import EXIT, FIRST_RUN, Vmm, find

from pyvmm.boot.tiny import tiny_image

if TYPE_CHECKING:
    import argparse

    Samples = dict[str, dict[str, list[float]]]

WARM_UP_RUNS = 3
#: Time for the last VM to end.
PAUSE_SECONDS = 0.04
CACHED, UNCACHED = OURS = "pyvmm", "pyvmm --no-cache"
END = bytes.fromhex("31c0 e6f4 f4 ebfd")  # xor eax, eax; out 0xf4, al; hlt; jmp $ - 1


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = arguments_for("boot", __doc__)
    parser.add_argument("--runs", type=parse_runs, default=40, metavar="N", help="of each command (40)")
    parser.add_argument("--mem", type=parse_size, default="128M", metavar="SIZE", help="guest memory (128M)")
    parser.add_argument(
        "--image", type=Path, metavar="ELF", help="in place of a guest that ends at once, and of HelloWorld"
    )
    parser.add_argument(
        "--against",
        default="qemu,c-floor,python",
        metavar="LIST",
        help="qemu, c-floor, no-sandbox, python, solo5, kvmtool, NAME=COMMAND",
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="a chart of the first image's medians")
    return parser.parse_args()


def measure(vmms: list[Vmm], runs: int) -> Samples:
    """All runs in turn; the first few are discarded."""
    samples: Samples = {}
    with tempfile.TemporaryDirectory() as directory:
        marks = Path(directory) / "marks.json"
        for count in range(WARM_UP_RUNS + runs):
            if count in (0, WARM_UP_RUNS):
                samples = {vmm.name: {FIRST_RUN: [], EXIT: []} for vmm in vmms}
            for vmm in vmms:
                samples[vmm.name][EXIT].append(vmm.wall())
                time.sleep(PAUSE_SECONDS)
                first = vmm.first_run(marks)
                time.sleep(PAUSE_SECONDS)
                if first is not None:
                    samples[vmm.name][FIRST_RUN].append(first)
    return samples


def table(samples: Samples, quantity: str) -> list[str]:
    """A row for each VMM, in Markdown."""
    lines = [
        f"| {quantity} | ms: median (p95) least | {' | '.join(f'{name} is' for name in OURS)} |",
        f"| --- | --- {'| --- ' * len(OURS)}|",
    ]
    for name, quantities in samples.items():
        theirs = quantities[quantity]
        if len(theirs) > 1:
            summary = summarize(theirs)
            cells = [f"{summary.median:.2f} ({summary.p95:.2f}) {summary.minimum:.2f}"]
            cells += [ratio(samples[ours][quantity], theirs) if name != ours else "" for ours in OURS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Measures and reports; returns the exit status."""
    arguments = parse_arguments()
    names = arguments.against.split(",")
    gc.disable()
    pyvmm: Path = arguments.pyvmm
    BUILD.mkdir(parents=True, exist_ok=True)
    tiny = BUILD / "tiny.elf"
    tiny.write_bytes(tiny_image(END))
    images = [arguments.image] if arguments.image else [tiny, image_of(pyvmm, HELLO_WORLD)]
    report: dict[str, Samples] = {}
    print(machine_line(pyvmm.parent / "python3"), file=sys.stderr)
    for image in images:
        command = [str(pyvmm), "boot", str(image), "--mem", str(arguments.mem)]
        ours = [Vmm(CACHED, command), Vmm(UNCACHED, [*command, "--no-cache"])]
        theirs, skipped = find(names, pyvmm, image, arguments.mem)
        report[image.stem] = measure([*ours, *theirs], arguments.runs)
    for line in skipped:
        print(line, file=sys.stderr)
    if arguments.svg:
        arguments.svg.write_text(bars(next(iter(report.values())), (FIRST_RUN, EXIT), "ms, median"))
    if arguments.json:
        print(json.dumps(report, indent=1))
        return 0
    for stem, samples in report.items():
        print(f"\n{stem}, {arguments.mem >> 20} MiB, 1 vCPU, {arguments.runs} interleaved runs:\n")
        for quantity in (FIRST_RUN, EXIT):
            print("\n".join([*table(samples, quantity), ""]))
    return 0


if __name__ == "__main__":
    run_script("boot", main)
