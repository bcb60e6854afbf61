"""Runs FPC's own tests as Toro guests, and compares them with the same programs on Linux.

    .venv/bin/python tests/fpc/run.py DIRECTORY [--results FILE] [--jobs N] [--every N] [PATTERN ...]

DIRECTORY is `tests` of FPC's sources, of the compiler's version. Each program is compiled for
Linux and for Toro with the options that it names in its first comment, then run. One that passes
on Linux must end on Toro with the same status and output. Results are appended to FILE, a line of
JSON each, and a program that is there already is not run again; so an interrupted run goes on.
The table at the end counts causes; `expected.txt` beside this file names the programs that are
known to differ, and why. The status is 1 if others do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = 60
#: Options that both compilers get: those of `pyvmm build`, where they change what programs do.
OPTIONS = ["-O2", "-Mfpc"]
#: Directories of units that tests use.
UNITS = ("test/units/system", "tstunits", "test")

_SETTING = re.compile(r"\{\s*%(\w+)\s*(?:=\s*([^}]*?))?\s*\}")
_BY_NATURE = re.compile(
    rb"  (\$|[0-9A-F]{16}|R[0-9A-Z]{1,2} |and \d+ times)|Exception \d+ \(|Backtrace:"
    rb"|Heap dump by|True heap|True free|Should be"
)
_ADDRESS = re.compile(rb"\$?[0-9A-Fa-f]{8,16}\b")


def settings(source: Path) -> dict[str, str]:
    """The `{ %NAME=VALUE }` comments at the start of a test."""
    head = source.read_bytes()[:4096].decode("latin-1")
    return {match[1].upper(): (match[2] or "").strip() for match in _SETTING.finditer(head)}


def left_out(given: dict[str, str]) -> str:
    """Why a test is no program to run here; empty: it is one."""
    for name in ("FAIL", "NORUN", "INTERACTIVE", "RECOMPILE", "KNOWNCOMPILEERROR", "NEEDLIBRARY", "GRAPH", "SKIP"):
        if name in given:
            return name
    if "TARGET" in given and not {"linux", "all"} & set(re.split(r"[,\s]+", given["TARGET"].lower())):
        return "TARGET"
    if "linux" in given.get("SKIPTARGET", "").lower():
        return "SKIPTARGET"
    if "CPU" in given and "x86_64" not in given["CPU"].lower():
        return "CPU"
    if "x86_64" in given.get("SKIPCPU", "").lower():
        return "SKIPCPU"
    return ""


def run(command: list[str], cwd: Path, seconds: int = SECONDS) -> tuple[int, bytes]:
    """A program's status (-1: it did not end) and output, both streams."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired as late:
        return -1, late.stdout or b""
    return done.returncode, done.stdout


def run_natively(program: Path) -> tuple[int, bytes]:
    """The same for a program on a terminal, as which it takes Toro's console: its two streams keep their order."""
    leader, terminal = os.openpty()
    with subprocess.Popen(
        [program], cwd=program.parent, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        said = b""
        late = threading.Timer(SECONDS, process.kill)
        late.start()
        try:
            while data := os.read(leader, 65536):
                said += data
        except OSError:  # the program has closed the terminal
            pass
        late.cancel()
    os.close(leader)
    return process.returncode, said


def comparable(said: bytes) -> bytes:
    """Output without what differs by nature: addresses, backtraces, the program's path, the heap's size."""
    lines = [line for line in said.replace(b"\r", b"").split(b"\n") if not _BY_NATURE.match(line)]
    return _ADDRESS.sub(b"ADDRESS", b"\n".join(lines)).rstrip()


def compare(source: Path, tests: Path) -> dict[str, Any]:
    """One program's result, by name."""
    given = settings(source)
    result: dict[str, Any] = {"name": str(source.relative_to(tests))}
    if why := left_out(given):
        return result | {"outcome": "left out", "why": why}
    options = [*OPTIONS, *given.get("OPT", "").split()]
    units = [f"-Fu{tests / name}" for name in UNITS] + [f"-Fi{source.parent}", f"-Fu{source.parent}"]
    wanted = int(given["RESULT"]) if given.get("RESULT", "").isdigit() else 0
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "native").mkdir()
        (work / "share").mkdir()
        for name in given.get("FILES", "").split():
            for folder in ("native", "share"):
                if (source.parent / name).is_file():
                    shutil.copy(source.parent / name, work / folder)
        sources = packages()
        made = work / "native" / source.stem
        status, said = run(["fpc", "-v0e", *options, *units, *sources, f"-FU{work}", f"-o{made}", str(source)], work)
        if status:
            return result | {"outcome": "not for Linux", "why": "does not compile"}
        status, native = run_natively(made)
        if status != wanted:
            return result | {"outcome": "not for Linux", "why": f"status {status}"}
        made.unlink(missing_ok=True)
        image = work / "image.elf"
        build = [str(ROOT / ".venv/bin/pyvmm"), "build", str(source), "-o", str(image)]
        status, said = run([*build, "--", *options, *units], work, 300)
        if status:
            last = said.decode("latin-1").strip().splitlines()[-6:]
            return result | {"outcome": "does not compile", "why": " | ".join(last)}
        boot = [str(ROOT / ".venv/bin/pyvmm"), "boot", str(image), "--no-cache", "--share", f"{work / 'share'}:share"]
        status, toro = run(boot, work)
    if status != wanted:
        last = toro.decode("latin-1").strip().splitlines()[:6]
        return result | {"outcome": "status", "why": f"{status} instead of {wanted}: " + " | ".join(last)}
    if comparable(native) != comparable(toro):
        return result | {"outcome": "output", "why": first_difference(comparable(native), comparable(toro))}
    return result | {"outcome": "same", "why": ""}


def packages() -> list[str]:
    """The paths of FPC's packages, for the native compiler."""
    from pyvmm.toolchain import library

    version = subprocess.run(["fpc", "-iV"], capture_output=True, text=True, check=True).stdout.strip()
    return [f"-F{kind}{place}" for kind in "ui" for place in library.package_places(library.SOURCES / version)]


def first_difference(native: bytes, toro: bytes) -> str:
    """The first lines that differ."""
    left, right = native.split(b"\n"), toro.split(b"\n")
    for at in range(max(len(left), len(right))):
        pair = [side[at] if at < len(side) else None for side in (left, right)]
        if pair[0] != pair[1]:
            return f"line {at + 1}: {pair[0]!r} on Linux, {pair[1]!r} on Toro"
    return ""


def programs(tests: Path, patterns: list[str]) -> list[Path]:
    """All tests that are programs, in the order of their names."""
    found = []
    for folder in ("tbs", "webtbs", "test"):
        for path in sorted((tests / folder).rglob("*.pp")):
            name = str(path.relative_to(tests))
            if patterns and not any(fnmatch(name, pattern) for pattern in patterns):
                continue
            if not re.search(r"^\s*(unit|library|package)\b", path.read_bytes().decode("latin-1"), re.I | re.M):
                found.append(path)
    return found


def expected() -> dict[str, str]:
    """The programs that are known to differ, with the reason."""
    lines = (HERE / "expected.txt").read_text().splitlines()
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {name.strip(): why.strip() for name, _, why in pairs}


def main() -> int:
    """Runs the programs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", type=Path, metavar="DIRECTORY")
    parser.add_argument("--results", type=Path, default=Path("fpc-results.jsonl"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="take every Nth program only")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    given = parser.parse_intermixed_args()
    tests = given.tests.resolve()
    results: dict[str, dict[str, Any]] = {}
    if given.results.exists():
        for line in given.results.read_text().splitlines():
            one = json.loads(line)
            results[one["name"]] = one
    chosen = programs(tests, given.patterns)[:: given.every]
    todo = [path for path in chosen if str(path.relative_to(tests)) not in results]
    with given.results.open("a") as log, ThreadPoolExecutor(given.jobs) as pool:
        for one in pool.map(lambda path: compare(path, tests), todo):
            results[one["name"]] = one
            log.write(json.dumps(one) + "\n")
            log.flush()
    mine = [results[str(path.relative_to(tests))] for path in chosen]
    known = expected()
    compared = [one for one in mine if one["outcome"] not in ("left out", "not for Linux")]
    for outcome, count in Counter(one["outcome"] for one in mine).most_common():
        print(f"{count:6} {outcome}")
    new = [one for one in compared if one["outcome"] != "same" and one["name"] not in known]
    for one in new:
        print(f"{one['name']}: {one['outcome']}: {one['why']}")
    same = sum(one["outcome"] == "same" for one in compared)
    if compared:
        print(f"{same} of {len(compared)} that pass on Linux are the same on Toro: {100 * same / len(compared):.1f} %")
    return bool(new)


if __name__ == "__main__":
    sys.exit(main())
