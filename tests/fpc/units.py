"""Builds and boots a program for each unit of FPC's packages, and prints a table of them.

    .venv/bin/python tests/fpc/units.py [PACKAGE ...]

A unit works if a program that uses it compiles, links, and comes to its first line on Toro.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pyvmm.toolchain import library

PYVMM = Path(sys.executable).parent / "pyvmm"
_SECONDS = 30
_COMMENT = re.compile(r"\{.*?\}|\(\*.*?\*\)|//[^\n]*", re.DOTALL)


def is_unit(path: Path) -> bool:
    """Whether a source is that of a unit, not of a program."""
    return bool(re.search(r"^\s*unit\s", _COMMENT.sub("", path.read_text(errors="replace")), re.I | re.M))


def units(fpc: Path, package: str) -> list[str]:
    """The units of a package."""
    places = [fpc / "packages" / package / "src" / below for below in library.PACKAGES[package]]
    sources = [path for place in places for pattern in ("*.pp", "*.pas") for path in place.glob(pattern)]
    return sorted({path.stem.lower() for path in sources if is_unit(path)})


def failure(names: list[str]) -> str:
    """Why a program with these units does not work; empty: it does."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary, "asking.pas")
        source.write_text(f"program asking; uses {', '.join(names)}; begin WriteLn('reached') end.\n")
        built = subprocess.run([PYVMM, "build", source], capture_output=True)
        if built.returncode:
            said = built.stderr.decode(errors="replace").splitlines()
            return next((line for line in said if re.search("Fatal|Error|undefined|cannot find", line)), said[-1])
        try:
            booted = subprocess.run(
                [PYVMM, "boot", source.with_suffix(".elf"), "--no-cache"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"it is not at its first line after {_SECONDS} s"
    return "" if b"reached" in booted.stdout else f"status {booted.returncode}"


def main() -> None:
    """Prints a line a package, and one for each unit that does not work."""
    version = subprocess.run(["ppcx64", "-iV"], capture_output=True, text=True, check=True).stdout.strip()
    working = every = 0
    for package in sys.argv[1:] or library.PACKAGES:
        names = units(library.SOURCES / version, package)
        failed = {}
        if failure(names):
            failed = {name: why for name in names if (why := failure([name]))}
        every += len(names)
        working += len(names) - len(failed)
        print(f"{package}: {len(names) - len(failed)} of {len(names)}", flush=True)
        for name, why in failed.items():
            print(f"    {name}: {why}", flush=True)
    print(f"{working} of {every} units work")


if __name__ == "__main__":
    main()
