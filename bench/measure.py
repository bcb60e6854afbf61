"""What the benchmarks share: runs of commands, statistics, the machine, tables."""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

#: This directory is beside pyvmm's sources, or installed inside them.
BENCH = Path(__file__).resolve().parent
_CHECKOUT = (BENCH.parent / "pyproject.toml").exists()
PYVMM_SOURCES = BENCH.parent / "pyvmm" if _CHECKOUT else BENCH.parent
HELLO_WORLD = BENCH.parent / "examples/HelloWorld/HelloWorld.pas"
#: Where programs and images are built.
BUILD = (
    BENCH.parent / "build/bench"
    if _CHECKOUT
    else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pyvmm/bench")
)
CFLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]

BOOTSTRAP_ROUNDS = 2000
SEED = 1


STATUS_FAILED, STATUS_INTERRUPTED = 125, 130  # as those of pyvmm itself


class BenchError(Exception):
    """Something that a measurement needs is missing or has failed."""


# ---- processes


def run(command: list[str], environment: dict[str, str] | None = None, status: int = 0) -> tuple[int, int]:
    """Runs a command that must end with `status`; returns CLOCK_MONOTONIC before and after it, in ns."""
    redirect = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    environment = os.environ | environment if environment else dict(os.environ)
    before = time.monotonic_ns()
    pid = os.posix_spawn(command[0], command, environment, file_actions=redirect)
    _, ended = os.waitpid(pid, 0)
    after = time.monotonic_ns()
    if os.waitstatus_to_exitcode(ended) != status:
        raise BenchError(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(ended)}")
    return before, after


def compile_c(output: str, sources: list[Path], *options: str) -> Path:
    """Compiles a benchmark's program; returns its path."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / output
    command = ["gcc", *CFLAGS, f"-I{PYVMM_SOURCES}/native", *map(str, sources), *options, "-o", str(path)]
    if subprocess.run(command, check=False).returncode:
        raise BenchError(f"{output} does not compile")
    return path


# ---- statistics


@dataclass
class Summary:
    """Samples of one quantity."""

    median: float
    p95: float
    minimum: float


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


def ratio(ours: list[float], theirs: list[float]) -> str:
    """The ratio of medians with its interval."""
    low, high = ratio_interval(ours, theirs)
    return f"{statistics.median(ours) / statistics.median(theirs):.2f} [{low:.2f}, {high:.2f}]"


# ---- the machine


def cpu_model() -> tuple[str, set[str]]:
    """The CPU's name and its feature flags."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    return fields.get("model name", "unknown CPU"), set(fields.get("flags", "").split())


def machine_line(python: Path) -> str:
    """A description of the machine."""
    model, flags = cpu_model()
    flavour = next((f for f in ("vmx", "svm") if f in flags), "no hardware virtualization: software KVM")
    version = subprocess.run([python, "-ISV"], capture_output=True, text=True, check=True).stdout.strip()
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    policy = governor.read_text().strip() if governor.exists() else "none"
    return (
        f"{model}, {os.cpu_count()} CPUs, governor {policy}; Linux {os.uname().release}; KVM: {flavour}; {version}; "
        f"load {os.getloadavg()[0]:.1f}"
    )


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
    """A number of runs that is large enough for medians."""
    runs = int(text) if text.isdecimal() else 0
    if runs < 2:
        raise argparse.ArgumentTypeError("at least 2; 30 or more for the record")
    return runs


def parse_command(text: str) -> Path:
    """A program's absolute path."""
    if not os.access(text, os.X_OK):
        raise argparse.ArgumentTypeError(f"{text}: no such command")
    return Path(text).absolute()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(self.prog, f"{message}; try `{self.prog} --help`")


def arguments_for(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have.

    Args:
        name: the benchmark's name for `pyvmm bench`.
        description: --help shows its first paragraph.
    """
    parser = _Parser(prog=f"pyvmm bench {name}", description=(description or "").partition("\n\n")[0])
    beside = str(Path(sys.executable).parent / "pyvmm")
    parser.add_argument("--pyvmm", type=parse_command, default=beside, metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="all samples")
    return parser


def run_script(name: str, main: Callable[[], int]) -> NoReturn:
    """Runs a benchmark and ends the process. A failure is one line.

    Args:
        name: the benchmark's name for `pyvmm bench`.
        main: measures and reports; returns the exit status. It cleans up when SystemExit or
            KeyboardInterrupt passes through it, after SIGTERM, SIGHUP or Ctrl-C.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(main())
    except (BenchError, subprocess.SubprocessError) as error:
        _fail(f"pyvmm bench {name}", str(error))
    except OSError as error:
        _fail(f"pyvmm bench {name}", f"{error.filename or 'output'}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(STATUS_INTERRUPTED)


def _fail(program: str, message: str) -> NoReturn:
    print(f"pyvmm: {program.removeprefix('pyvmm ')}: {message}", file=sys.stderr)
    sys.exit(STATUS_FAILED)


def image_of(pyvmm: Path, source: Path) -> Path:
    """Builds a Toro program."""
    image = BUILD / f"{source.stem}.elf"
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [str(pyvmm), "build", str(source), "-o", str(image)]
    if subprocess.run(command, check=False).returncode:
        raise BenchError(f"{source} cannot be built")
    return image
