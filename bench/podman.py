"""How long `podman run` of a guest takes, compared with the same of a Linux program by runc.

The guest is HelloWorld with the runtime `pyvmm-oci`; the other is a static C program that prints a
line. Both images have one file. Rounds are interleaved, and start from a store of their own, with
podman's configuration as it is on this machine (CONTAINERS_CONF).
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from measure import (
    BUILD,
    HELLO_WORLD,
    BenchError,
    arguments_for,
    image_of,
    machine_line,
    parse_runs,
    ratio,
    run,
    run_script,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

GUEST, LINUX = "helloworld", "hello"
PROGRAM = '#include <stdio.h>\nint main(void) { return puts("Hello from Linux") < 0; }\n'


def images(pyvmm: Path) -> list[Path]:
    """The archives of both images."""
    elf, source, static = BUILD / "HelloWorld.elf", BUILD / "hello.c", BUILD / LINUX
    image_of(pyvmm, HELLO_WORLD)
    source.write_text(PROGRAM)
    subprocess.run(["gcc", "-O2", "-static", "-o", str(static), str(source)], check=True)
    archives = []
    for name, program in ((GUEST, elf), (LINUX, static)):
        archives.append(BUILD / f"{name}.tar")
        subprocess.run([str(pyvmm), "image", "build", str(program), "-t", name, "-o", str(archives[-1])], check=True)
    return archives


@contextmanager
def store(archives: list[Path]) -> Iterator[list[str]]:
    """`podman` with a store that has only these images; it is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        podman = [shutil.which("podman") or "", "--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        try:
            for archive in archives:
                done = subprocess.run([*podman, "load", "-q", "-i", str(archive)], capture_output=True, text=True)
                if done.returncode:
                    raise BenchError(f"podman load: {done.stderr.strip()}")
            yield podman
        finally:
            subprocess.run([*podman, "rm", "-f", "-a"], capture_output=True, check=False)
            subprocess.run(["umount", "--lazy", f"{folder}/root/overlay"], capture_output=True, check=False)


def measure(pyvmm: Path, runs: int) -> dict[str, list[float]]:
    """The times of `runs` runs of each, in ms."""
    runtimes = {GUEST: str(pyvmm.with_name("pyvmm-oci")), LINUX: shutil.which("runc") or ""}
    samples: dict[str, list[float]] = {name: [] for name in runtimes}
    with store(images(pyvmm)) as podman:
        for round_ in range(-1, runs):  # the first does not count
            for name in random.sample(sorted(runtimes), len(runtimes)):
                before, after = run([*podman, "--runtime", runtimes[name], "run", "--rm", name])
                if round_ >= 0:
                    samples[name].append((after - before) / 1e6)
    return samples


def main() -> int:
    parser = arguments_for("podman", __doc__)
    parser.add_argument("--runs", type=parse_runs, default=20, metavar="N", help="of each (20)")
    arguments = parser.parse_args()
    for program in ("podman", "runc", "gcc"):
        if not shutil.which(program):
            raise BenchError(f"{program} is not installed")
    samples = measure(arguments.pyvmm, arguments.runs)
    machine = machine_line(Path(sys.executable))
    if arguments.json:
        print(json.dumps({"machine": machine, "ms": samples}, indent=2))
        return 0
    print("| podman run | median, ms |\n| --- | --- |")
    print(f"| HelloWorld, pyvmm-oci | {statistics.median(samples[GUEST]):.0f} |")
    print(f"| static C program, runc | {statistics.median(samples[LINUX]):.0f} |")
    print(f"| ratio | {ratio(samples[GUEST], samples[LINUX])} |")
    print(f"\n{machine}")
    return 0


if __name__ == "__main__":
    run_script("podman", main)
