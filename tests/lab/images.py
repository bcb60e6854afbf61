"""Builds the images of all Toro programs that the tests boot, for places without a compiler.

python3 tests/lab/images.py FOLDER
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pyvmm.errors import BuildError
from pyvmm.toolchain.build import build

ROOT = Path(__file__).parents[2]


def main(folder: Path) -> None:
    """Builds every program of the tests, the examples and the benchmarks."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [
        source
        for place in ("tests/kvm/toro", "examples/*", "bench")
        for source in [*ROOT.glob(f"{place}/*.pas"), *ROOT.glob(f"{place}/*.c")]
        if re.search(r"^program |\bMPI_Init\(", source.read_text(), re.MULTILINE)
    ]
    for source in sorted(sources):
        try:
            build(str(source), str(folder / f"{source.stem}.elf"))
        except BuildError:  # it needs what its test makes first; the test is skipped in the lab
            print(f"{source.stem}: not made", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
