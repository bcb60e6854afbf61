"""Free Pascal for Toro: compiles its library, the kernel, and applications.

These are three stages, and the result of each is cached until one of its inputs changes:

    FPC's own `system` unit, for a bare x86-64 (Debian's fpc-source)
    Toro's kernel, and the part of FPC's library that builds on it
    the application, where FPC itself decides what to compile again

The directories of the first two are named after a hash of their sources and put in place by a
rename, so any number of builds can run at once.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.errors import BuildError
from pyvmm.toolchain import library
from pyvmm.toolchain.c import Compiler
from pyvmm.toolchain.link import link
from pyvmm.toolchain.names import renamed
from pyvmm.toolchain.tools import ToolError, digest, locked, output, run, show

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = "fp-compiler fpc-source binutils"

# (The linking that a note about debug information speaks of, 11046, is not the compiler's business.)
_WARNINGS = ["-v0ew", "-vm11046"]
# Without hints that a kernel cannot avoid: addresses as numbers (4055), units used
# for their symbols only (5023), parameters that a callback must have (5024).
_HINTS = ["-v0ewh", "-vm4055,5023,5024"]
# Frame pointers allow backtraces; a section per function allows leaving out unused ones. Debug
# information changes no code: crash reports name lines by it.
_CODE = ["-O2", "-OoNOSTACKFRAME", "-CX", "-XX", "-gw2"]
# How programs for Toro are compiled elsewhere; its own units say what they need.
_APPLICATION = ["-MObjfpc", "-Sgic"]
# The main stack, unless the program states its size by $M.
_STACK = ["-Cs1048576"]
# For a debugger: all code, as it is written.
_DEBUG_CODE = ["-O-", "-gw3"]
#: The directories of the kernel's units, within toro/. They precede FPC's, so that a unit in
#: rtl/ replaces FPC's of the same name.
_UNITS = (
    *("boot", "rtl", "kernel", "kernel/calls", "kernel/heap", "kernel/threads", "kernel/sockets", "kernel/files"),
    "kernel/gdb",
    *("drivers", "drivers/fuse", "mpi"),
)
#: The assembly files in boot/.
_BOOT = ("nucleus", "startup")
#: A symbol that a unit of the kernel looks for.
_IFDEF = re.compile(r"\{\$ifn?def (\w+)\}", re.IGNORECASE)
#: The units in rtl/ that are added to a program which uses one of these units, or refers to a
#: routine whose symbol starts like one of these.
_ADDED = {
    "utf8strings": ({"sysutils"}, ("SYSTEM_$$_UPCASE$UNICODE", "SYSTEM_$$_LOWERCASE$UNICODE")),
    "torofiles": (
        {"sysutils", "dos", "baseunix"},
        (
            *("fpc_reset", "fpc_rewrite"),
            *(f"SYSTEM_$$_{name}" for name in ("RESET", "REWRITE", "APPEND", "ERASE", "RENAME")),
            *(f"SYSTEM_$$_{name}" for name in ("MKDIR", "RMDIR", "CHDIR", "GETDIR")),
        ),
    ),
    "arguments": ({"sysutils", "dos", "baseunix"}, ("SYSTEM_$$_PARAM", "OBJPAS_$$_PARAM", "U_$SYSTEM_$$_ARG")),
    "threadsinturn": ({"classes"}, ("SYSTEM_$$_BEGINTHREAD",)),
    "systemlog": ({"eventlog"}, ("syslog",)),
    "torosockets": ({"sockets"}, ("BASEUNIX_$$_FPSELECT", "BASEUNIX_$$_FPPOLL")),
}
#: The unit that makes a program in Pascal one of MPI, which is in C.
_MPI_OBJECT = "ToroMPI.o"
#: What the compiler says of a unit that it does not find: it also looks for one with the first 8 letters of the name.
_MISSING = re.compile(r"Can't find unit ([\w.]+) used by|Unit ([\w.]+) searched but")
#: Start-up code of Linux that the compiler names.
_LINUX_OBJECTS = ("crti.o", "crtn.o", "crtbegin.o", "crtend.o", "abitag.o", "prt0.o", "cprt0.o")


def compiler_version() -> str:
    """The version of FPC, of which everything that a Pascal program needs is there.

    Raises:
        BuildError: something is missing; behind the colon is what to do.
    """
    for tool in ("ppcx64", "as", "ld", "nm", "objdump"):
        if not shutil.which(tool):
            raise BuildError(f"{tool} is not installed: `apt install {PACKAGES}`")
    version = output(["ppcx64", "-iV"]).strip()
    if not (library.SOURCES / version).is_dir():
        raise BuildError(f"FPC {version} has no sources in {library.SOURCES}: `apt install {PACKAGES}`")
    return version


def toro_tree() -> Path:
    """Toro's sources: in a wheel within the package, else beside it."""
    here = Path(__file__).resolve().parents[1]
    return next((p for p in (here / "toro", here.parent / "toro") if p.is_dir()), here)


class Toolchain:
    """The compiler, and the sources of its library and of Toro.

    Args:
        symbols, debug: see `build`.
        options: the compiler's, for the application.

    Raises:
        BuildError: one of them is missing.
    """

    def __init__(self, symbols: list[str], debug: bool, options: list[str]) -> None:
        version = compiler_version()
        self.fpc = library.SOURCES / version
        self.toro = toro_tree()
        self.options = options
        #: The kernel's units that the user has others of the name of
        self.renamed: list[str] = []
        # The kernel and FPC's library see only what the kernel knows: UNIX, for example, would change the library.
        known = {word.upper() for path in self.toro.rglob("*.pas") for word in _IFDEF.findall(path.read_text())}
        code = [*(_DEBUG_CODE if debug else _CODE), *(f"-d{name}" for name in symbols if name.upper() in known)]
        self._compiler = ["ppcx64", *library.TARGET, *code]
        #: Those that the application sees
        self.symbols = [f"-d{name}" for name in symbols]
        self._debug = debug
        # Debug information contains the path of the sources.
        self.key = digest(
            version,
            " ".join([*self._compiler, str(self.toro)]),
            *(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))),
        )

    def units(self) -> list[Path]:
        """The sources of the kernel's units."""
        return [path for name in _UNITS for path in sorted((self.toro / name).glob("*.pas"))]

    def build_system(self, to: Path) -> None:
        """Compiles FPC's `system` and `objpas` units."""
        paths = [f"-FU{to}", f"-Fu{to}", *library.system_paths(self.fpc, self.toro)]
        compiler = [*self._compiler, *library.RELEASED, *_WARNINGS, *paths]
        rtl = self.fpc / "rtl"
        run([*compiler, *library.SYSTEM, str(rtl / "linux/system.pp")], "FPC's system unit", quiet=True)
        run([*compiler, str(rtl / "objpas/objpas.pp")], "FPC's objpas unit", quiet=True)

    def build_kernel(self, system: Path, to: Path) -> None:
        """Compiles the nucleus, the loader, the kernel and FPC's run-time library."""
        for name in _BOOT:
            run(["as", str(self.toro / f"boot/{name}.s"), "-o", str(to / f"{name}.o")], f"the {name}")
        places = [self.toro / name for name in _UNITS]
        units = self.units()
        if self.renamed:
            units = [(to / f"Toro{path.stem}.pas" if path.stem in self.renamed else to / path.name) for path in units]
            for path, copy in zip(self.units(), units, strict=True):
                copy.write_text(renamed(path.read_text(), self.renamed))
            places = [to]
        for name in _LINUX_OBJECTS:
            (to / name).touch()  # for the compiler, which wants to see them
        everything = to / "everything.pas"
        names = sorted(path.stem for path in units)
        everything.write_text(
            f"unit everything; interface uses {', '.join([*names, *library.UNITS])}; implementation end.\n"
        )
        paths = [
            *(
                f"-F{kind}{place}"
                for kind, place in (
                    ("U", to),
                    ("u", system),
                    ("i", self.toro / "kernel"),
                )
            ),
            *(f"-Fu{place}" for place in places),
            *library.rtl_paths(self.fpc),
        ]
        said = run(
            [*self._compiler, *library.RELEASED, *_HINTS, *paths, str(everything)], "the Toro kernel", quiet=True
        )
        # FPC's own library is full of hints; only those about the kernel's units are shown.
        ours = {path.name for path in [*self.toro.rglob("*.pas"), *self.toro.rglob("*.inc")]}
        show("".join(line for line in said.splitlines(True) if line.partition("(")[0] in ours))

    def build_package_unit(self, source: Path, caches: tuple[Path, Path, Path]) -> None:
        """Compiles a unit of FPC's packages, and those that it uses, for all programs that follow.

        Others whose packages FPC compiles with other options are not found, and compiled by themselves first.
        """
        system, kernel, packages = caches
        options = library.package_options(self.fpc, source)
        places = [self.toro / "rtl/packages", *library.package_places(self.fpc, options)]
        paths = [
            *(f"-F{kind}{place}" for kind, place in (("U", packages), ("u", kernel), ("u", system))),
            *(f"-F{kind}{place}" for kind in "ui" for place in places),
            *([] if options else library.rtl_paths(self.fpc)),
        ]
        # FPC looks for units beside its source first, and must not find those of the kernel's cache there.
        asking = packages / f"asking{source.stem.lower()}.pas"
        asking.write_text(f"unit {asking.stem}; interface uses {source.stem}; implementation end.\n")
        command = [*self._compiler, *library.RELEASED, *_WARNINGS, "-Sg", *options, *paths, str(asking)]
        self._compile(command, source.name, True, packages, lambda lacked: self.build_package_unit(lacked, caches))

    def _compile(
        self, command: list[str], what: object, quiet: bool, cwd: Path, build_lacked: Callable[[Path], None]
    ) -> None:
        """Compiles something, and before that the units of FPC's packages that it lacks."""
        seen = set()
        while True:
            try:
                run(command, what, quiet=quiet, cwd=cwd)
                return
            except ToolError as error:
                missing = _MISSING.search(error.said)
                source = library.unit_source(self.fpc, self.toro, missing[1] or missing[2]) if missing else None
                if not source or source in seen:
                    raise
            seen.add(source)
            build_lacked(source)

    def build_application(
        self, program: Path, pascal: Path, of_c: list[str], caches: tuple[Path, Path, Path], work: Path
    ) -> Path:
        """Compiles the program and links it with all that it uses; returns the image, in `work`.

        Args:
            program: what the user named; for messages.
            pascal: the program in Pascal.
            of_c: objects and archives of C, linked in as well.
            caches: the directories of the system unit, the kernel and FPC's packages.
            work: where it is made.
        """
        source = pascal.resolve()
        own = [f"-Fu{source.parent}", f"-Fo{source.parent}", *(self.options if pascal == program else [])]
        paths = [f"-FU{work}", f"-FE{work}", f"-Fl{caches[1]}", *(f"-Fu{caches[at]}" for at in (1, 0, 2))]
        # FPC looks for units in the current directory first: in `work`. The kernel's precede those of packages, of
        # which one is called Process, too.
        command = [*self._compiler, *self.symbols, *_WARNINGS, *_STACK, *_APPLICATION, "-Cn", *own, *paths]
        added, quiet = ["torortl", *_guessed(source)], False

        def build_lacked(unit: Path) -> None:
            with locked(caches[2]):
                self.build_package_unit(unit, caches)

        while True:
            self._compile([*command, f"-Fa{','.join(added)}", str(source)], program, quiet, work, build_lacked)
            link_script = max(work.glob("link*.res"), key=lambda path: path.stat().st_mtime, default=None)
            if not link_script:
                raise BuildError(f"{program}: a unit, not a program; name the program that uses it")
            linked = _linked_objects(link_script.read_bytes().decode(errors="surrogateescape"), work)
            link_script.unlink()
            wanted = ["torortl", *_wanted(linked, caches[:2])]
            if wanted == added:
                break
            added, quiet = wanted, True  # the compiler has said everything already
        kernel = caches[1]
        boot = [str(kernel / f"{path.stem}.o") for path in sorted((self.toro / "boot").iterdir())]
        if not of_c and any(Path(name).name == _MPI_OBJECT for name in linked):
            of_c = Compiler(self.toro, self._debug).mpi()
        spelling = [*self.toro.rglob("*.pas"), *source.parent.glob("*.pas"), *source.parent.glob("*.pp")]
        return link([*boot, *linked], of_c, program, self.toro, spelling, work)


def _guessed(source: Path) -> list[str]:
    """The same as `_wanted`, guessed from the words of the program, which saves compiling it twice."""
    words = {word.lower() for word in re.findall(r"\w+", source.read_text(errors="replace"))}
    return [
        added for added, (users, _) in _ADDED.items() if users & words or (words & {"classes"} and "sysutils" in users)
    ]


def _wanted(objects: list[str], libraries: tuple[Path, ...]) -> list[str]:
    """The units in rtl/ that a program wants to have added.

    Args:
        objects: of the program.
        libraries: the directories of objects whose references do not count, because they are in every program.
    """
    units = {Path(name).stem for name in objects}
    # (The linker has a message for an object that is not there.)
    own = [name for name in objects if Path(name).parent not in libraries and os.path.exists(name)]
    references = {line.split()[-1] for line in output(["nm", "-u", *own]).splitlines() if " U " in line}
    return [
        added
        for added, (users, symbols) in _ADDED.items()
        if units & users or any(symbol.startswith(symbols) for symbol in references)
    ]


def _linked_objects(script: str, work: Path) -> list[str]:
    """The object files that FPC's linker script names, as absolute paths."""
    names = script.partition("INPUT(\n")[2].partition("\n)\n")[0].splitlines()
    paths = [Path(work, name.strip('"').replace('\\"', '"')) for name in names if name]
    return [str(path) for path in paths if path.name not in _LINUX_OBJECTS]
