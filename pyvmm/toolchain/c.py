"""Compiles C: programs, with musl as their library, and Toro's own parts in C.

Variables of C are there once for each core (toro/mpi/Ranks.pas). The linker script knows them by
the names of their sections, to which everything in C gets a prefix: the program, and a copy of
musl's libc.a.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.errors import BuildError
from pyvmm.toolchain.tools import contents, digest, once, output, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PACKAGES = "gcc binutils"
MUSL_PACKAGE = "musl-dev"
HEADERS = Path("/usr/include/x86_64-linux-musl")
LIBRARY = Path("/usr/lib/x86_64-linux-musl")

_TARGET = [
    *("-nostdinc", "-fno-pic", "-fno-pie", "-no-pie", "-fno-stack-protector", "-fcf-protection=none"),
    *("-fno-math-errno", "-fno-common", "-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections"),
    "-fstack-clash-protection",
]
_CODE = ["-O2", "-g"]
_DEBUG_CODE = ["-Og", "-g", "-fno-omit-frame-pointer"]
#: MPI is there for programs without a C library as well.
_FREESTANDING = [
    *("-O3", "-ffreestanding", "-fcx-limited-range", "-Wall", "-Wextra"),
    # `rep stos` for a request takes longer than a short message.
    "-mmemset-strategy=unrolled_loop:512:noalign,libcall:-1:noalign",
]
_PREFIX = ["objcopy", "--prefix-alloc-sections=.rank"]


class Compiler:
    """gcc, set up for Toro.

    Args:
        toro: Toro's sources.
        debug: for a debugger, and not optimized.

    Raises:
        BuildError: it is not installed.
    """

    def __init__(self, toro: Path, debug: bool) -> None:
        for tool in ("gcc", "objcopy", "ar"):
            if not shutil.which(tool):
                raise BuildError(f"{tool} is not installed: `apt install {PACKAGES}`")
        self._toro = toro
        self._own = output(["gcc", "-print-file-name=include"]).strip()
        self._code = [*_TARGET, *(_DEBUG_CODE if debug else _CODE)]
        self._key = digest(output(["gcc", "--version"]), *self._code, *contents((toro / "c").iterdir()))

    def command(self) -> list[str]:
        """The compiler with the options that every program in C takes.

        Raises:
            BuildError: musl is not installed.
        """
        if not HEADERS.is_dir() or not (LIBRARY / "libc.a").is_file():
            raise BuildError(f"musl, the C library, is not installed: `apt install {MUSL_PACKAGE}`")
        return ["gcc", *self._code, *self._places(self._toro / "mpi", HEADERS, Path(self._own))]

    def program(self, arguments: Sequence[str], what: object, to: Path) -> str:
        """Compiles sources and links them with other objects and libraries to one object in `to`; its path.

        Args:
            arguments: gcc's: sources, objects, archives and options.
            what: for messages.
        """
        made = to / "program.o"
        link = ["-r", "-nostdlib", "-static", "-Wl,-d,-u,main", f"-L{LIBRARY}"]
        run([*self.command(), *link, *arguments, "-o", str(made)], what)
        # FPC defines a main of its own. It is weak for programs that have mainC.
        run([*_PREFIX, "--redefine-sym", "main=toro_c_main", "--weaken-symbol=toro_c_main", str(made)], what)
        return str(made)

    def library(self) -> list[str]:
        """What is linked with a program in C: objects, then archives."""

        def make(to: Path) -> None:
            for path in sorted((self._toro / "c").glob("*.c")):
                made = to / f"{path.stem}.o"
                run([*self.command(), "-Wall", "-Wextra", "-c", str(path), "-o", str(made)], "the C library")
                run([*_PREFIX, str(made)], "the C library")
            for archive in (str(LIBRARY / "libc.a"), output(["gcc", "-print-libgcc-file-name"]).strip()):
                run([*_PREFIX, archive, str(to / Path(archive).name)], "the C library")

        made = once("c", digest(self._key, str((LIBRARY / "libc.a").stat().st_mtime_ns)), make)
        return [*map(str, sorted(made.glob("*.o"))), self._archive("mpi"), *map(str, made.glob("*.a"))]

    def mpi(self) -> list[str]:
        """The archives of a program in Pascal that uses MPI."""
        return [self._archive("mpi"), self._archive("mpi/plain")]

    def _archive(self, folder: str) -> str:
        """An archive of the C files in one of Toro's folders."""
        sources = sorted((self._toro / folder).glob("*.c"))
        headers = sorted((self._toro / "mpi").glob("*.h"))
        name = Path(folder).name

        def make(to: Path) -> None:
            include = self._places(self._toro / "mpi", self._toro / "c", Path(self._own))
            objects = [str(to / f"{path.stem}.o") for path in sources]
            for source, made in zip(sources, objects, strict=True):
                run(["gcc", *self._code, *_FREESTANDING, *include, "-c", str(source), "-o", made], source.name)
                run([*_PREFIX, made], source.name)
                run(["objcopy", *_profiling(made), made], source.name)
            run(["ar", "rc", str(to / f"lib{name}.a"), *objects], name)

        return str(once(name, digest(self._key, *contents([*sources, *headers])), make) / f"lib{name}.a")

    @staticmethod
    def _places(*places: Path) -> Iterable[str]:
        return [f"-isystem{place}" for place in places]


def _profiling(made: str) -> Iterable[str]:
    """What gives each call of MPI in an object its second name, and lets a program define the first (MPI 3.1, 14.2)."""
    for line in output(["nm", "--format=sysv", "--extern-only", "--defined-only", made]).splitlines():
        name, value, kind, *_, section = (word.strip() for word in line.split("|")) if "|" in line else ("",) * 4
        if kind == "T" and name.startswith("MPI_"):
            yield f"--weaken-symbol={name}"
            yield f"--add-symbol=P{name}={section}:0x{value},function,global"
