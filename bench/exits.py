"""What a boot of HelloWorld costs, counted: exits, ring-0 instructions, system calls, modules and bytes.

No count depends on the machine's speed or load. tests/kvm/test_budgets.py bounds each.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

from measure import BUILD, HELLO_WORLD, BenchError, arguments_for, image_of, machine_line, run_script

import pyvmm

#: HelloWorld without its lines: everything before the first of them, and the end.
NOTHING = "program Nothing;\n\nuses\n  Kernel, Arch, Console;\n\nbegin\nend.\n"
END = "io"  # the exit that ends a guest
#: The number of calls varies a little with threads.
STRACE_RUNS = 5
#: The first call in main(). The loader's calls, which depend on where libraries lie, come before it.
FIRST_CALL = 'openat(AT_FDCWD, "/dev/null", O_RDWR)'
MODULES = """
import posix
import sys
sys.path += sys.argv[2:]
before = {*sys.modules}
from pyvmm.command.cli import main
status = main(["boot", sys.argv[1]], {})
print(*sorted({*sys.modules} - before), file=sys.stderr, flush=True)
posix._exit(status)  # as the command does
"""


class Counts(TypedDict):
    """The counts of one boot.

    `exits` and `interpreted` (None if KVM does not report it) cover the whole boot, `first_line_exits` and
    `first_line_interpreted` the part before the application's first line. `system_calls` are those before
    the first KVM_RUN of a boot that the cache knows nothing of, without `loader_calls` (both None without
    strace), `cached_calls` the same of one that it knows. `modules` are pyvmm's own and
    `other_modules` the rest, without those that the interpreter itself needs. `image_bytes` is the size of
    the stripped image.
    """

    exits: dict[str, int]
    first_line_exits: dict[str, int]
    interpreted: int | None
    first_line_interpreted: int | None
    system_calls: int | None
    cached_calls: int | None
    loader_calls: int | None
    modules: list[str]
    other_modules: list[str]
    image_bytes: int


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[:2])}: {done.stderr.strip() or done.returncode}")
    return done


def timing(program: Path, image: Path, work: Path) -> tuple[dict[str, int], int | None]:
    """Exits by kind, and instructions that KVM interpreted."""
    file = work / "timing.json"
    run([str(program), "boot", str(image), "--no-cache", f"--timing={file}"])
    document = json.loads(file.read_text())
    return document["exits"], document["interpreted"]


def calls_before_run(trace: list[str]) -> tuple[int, int]:
    """System calls before the first KVM_RUN: those from main() on, and those of the loader.

    What the main thread does when it has let the vCPU's thread run does not count (Machine.run).

    Args:
        trace: lines of `strace -f -o`.
    """
    calls, over = [], ""
    for line in trace:
        thread, _, call = line.partition(" ")
        call = call.strip()
        if "KVM_RUN" in call:
            break
        if thread != over and not call.startswith(("<...", "+++", "---")):
            calls.append(call)
        if call.startswith("sched_yield"):
            over = thread
    else:
        raise BenchError("strace saw no KVM_RUN")
    loader = next((i for i, call in enumerate(calls) if call.startswith(FIRST_CALL)), 0)
    return len(calls) - loader, loader


def system_calls(program: Path, image: Path, work: Path, *options: str) -> tuple[int, int]:
    """The minimum of a few runs."""
    file = work / "strace"
    counts = []
    for _ in range(STRACE_RUNS):
        run(["strace", "-f", "-o", str(file), str(program), "boot", str(image), *options])
        counts.append(calls_before_run(file.read_text(errors="replace").splitlines()))
    return min(counts)


def imported(image: Path) -> tuple[list[str], list[str]]:
    """The modules that a boot imports: pyvmm's own, and others."""
    assert pyvmm.__file__
    paths = [str(Path(pyvmm.__file__).parent.parent), *(path for path in sys.path if path.endswith("-packages"))]
    names = run([sys.executable, "-ISc", MODULES, str(image), *paths]).stderr.split()
    ours = [name for name in names if name.startswith(("pyvmm", "vhost_user"))]
    return ours, [name for name in names if name not in ours]


def count(program: Path) -> Counts:
    """All counts.

    Args:
        program: the pyvmm command.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    hello = image_of(program, HELLO_WORLD)
    source = BUILD / "Nothing.pas"
    source.write_text(NOTHING)
    nothing = image_of(program, source)
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        exits, interpreted = timing(program, hello, work)
        first, first_interpreted = timing(program, nothing, work)
        first = {kind: number - (kind == END) for kind, number in first.items()}
        calls = cached = loader = None
        if shutil.which("strace"):
            calls, loader = system_calls(program, hello, work, "--no-cache")
            run([str(program), "boot", str(hello)])
            cached, _ = system_calls(program, hello, work)
        stripped = work / "stripped.elf"
        run(["strip", "-o", str(stripped), str(hello)])
        size = stripped.stat().st_size
    ours, others = imported(hello)
    return {
        "exits": exits,
        "first_line_exits": {kind: number for kind, number in first.items() if number},
        "interpreted": interpreted,
        "first_line_interpreted": first_interpreted,
        "system_calls": calls,
        "cached_calls": cached,
        "loader_calls": loader,
        "modules": ours,
        "other_modules": others,
        "image_bytes": size,
    }


def table(counts: Counts) -> list[str]:
    """A row for each count, in Markdown."""

    def kinds(exits: dict[str, int]) -> str:
        return ", ".join(f"{number} {kind}" for kind, number in exits.items()) or "none"

    def known(number: int | None, reason: str) -> str:
        return reason if number is None else str(number)

    untold, untraced = "KVM does not tell", "strace is not installed"
    rows = [
        ("exits before the application's first line", kinds(counts["first_line_exits"])),
        ("exits in all", kinds(counts["exits"])),
        (
            "instructions that KVM interprets before it, the end's included",
            known(counts["first_line_interpreted"], untold),
        ),
        ("the same in all", known(counts["interpreted"], untold)),
        ("system calls from main() to the first KVM_RUN", known(counts["system_calls"], untraced)),
        ("the same, from the boot cache", known(counts["cached_calls"], untraced)),
        ("the loader's before", known(counts["loader_calls"], untraced)),
        ("modules of pyvmm imported", str(len(counts["modules"]))),
        ("other modules imported", f"{len(counts['other_modules'])}: {', '.join(counts['other_modules'])}"),
        ("image, stripped, bytes", str(counts["image_bytes"])),
    ]
    return ["| HelloWorld | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]


def main() -> int:
    """Counts and reports; returns the exit status."""
    arguments = arguments_for("exits", __doc__).parse_args()
    counts = count(arguments.pyvmm)
    if arguments.json:
        print(json.dumps(counts, indent=1))
    else:
        print(machine_line(Path(sys.executable)), file=sys.stderr)
        print("\n".join(table(counts)))
    return 0


if __name__ == "__main__":
    run_script("exits", main)
