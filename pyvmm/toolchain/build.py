"""`pyvmm build`: compiles a Toro application in Pascal, or an MPI program in C, to an ELF image.

Free Pascal compiles, GNU as and ld do the rest; gcc compiles C. There are three stages, and the
result of each is cached until one of its inputs changes:

    FPC's own `system` unit, for a bare x86-64 (Debian's fpc-source)
    Toro's kernel, and the part of FPC's library that builds on it
    the application, where FPC itself decides what to compile again

A C program is wrapped in a Pascal program (toro/c/CProgram.pas) and gets a small C library
(toro/c). The directories of the first two stages are named after a hash of their sources and
put in place by a rename, so any number of builds can run at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.errors import BuildError, UsageError
from pyvmm.toolchain.symbols import symbol_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PACKAGES = "fp-compiler fpc-source binutils"
C_PACKAGES = "gcc binutils"

_FPC_SOURCES = Path("/usr/share/fpcsrc")
_TARGET = ["-n", "-Tembedded"]
_WARNINGS = ["-v0ew"]
# Without hints that a kernel cannot avoid: addresses as numbers (4055), units used
# for their symbols only (5023), parameters that a callback must have (5024).
_HINTS = ["-v0ewh", "-vm4055,5023,5024"]
# Frame pointers allow backtraces; a section per function allows leaving out unused ones.
_CODE = ["-O2", "-OoNOSTACKFRAME", "-CX", "-XX"]
# How programs for Toro are compiled elsewhere; its own units say what they need.
_APPLICATION = ["-MObjfpc", "-Sgic"]
# For a debugger: FPC offers either debug information or a section per function.
_DEBUG_CODE = ["-O-", "-gw3"]
# For C: only our headers and the compiler's own, and no code that needs an operating
# system.
_C = [
    *("-nostdinc", "-fno-pic", "-fno-stack-protector", "-fcf-protection=none", "-fno-math-errno"),
    *("-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections"),
]
_C_CODE = ["-O2"]
_C_DEBUG_CODE = ["-Og", "-g", "-fno-omit-frame-pointer"]
# The C library must not call itself for what it implements.
_C_LIBRARY = ["-ffreestanding", "-fno-tree-loop-distribute-patterns"]
#: Routines of FPC's library that Kernel.pas and rtl/randomseed.pas replace.
_WRAPPED = ("fpc_initializeunits", "SYSTEM_$$_RANDOMIZE")
#: The directories of the kernel's units, within toro/. They precede FPC's, so that a unit in
#: rtl/ replaces FPC's of the same name.
_UNITS = (
    *("boot", "rtl", "kernel", "kernel/heap", "kernel/threads", "kernel/sockets", "kernel/files", "kernel/gdb"),
    *("drivers", "drivers/fuse", "mpi"),
)
#: The assembly files in boot/.
_BOOT = ("nucleus", "startup")
#: Units of FPC's library for applications, compiled together with the kernel.
_LIBRARY = ("SysUtils", "Classes", "Math", "StrUtils", "DateUtils", "Strings", "CTypes", "FGL", "Contnrs")

#: A symbol that a unit of the kernel looks for.
_IFDEF = re.compile(r"\{\$ifn?def (\w+)\}", re.IGNORECASE)
#: The beginning of a Pascal program, as opposed to a unit.
_PROGRAM = re.compile(r"^\s*program\b", re.IGNORECASE | re.MULTILINE)


def build(source: str, output: str | None = None, symbols: Sequence[str] = (), debug: bool = False) -> Path:
    """Compiles an application.

    Args:
        source: path of a Pascal program or a C file (`.c`); units and headers may lie beside it.
        output: path of the image; by default `source` with the extension `.elf`.
        symbols: defined for the compiler; in the kernel, too, those that it looks for.
        debug: includes debug information for GDB, and does not optimize.

    Returns:
        The image's path.

    Raises:
        BuildError: a tool is missing, or the application does not compile; the compiler's
            output is on stderr.
        UsageError: a symbol is not an identifier.
    """
    program = Path(source)
    for symbol in symbols:
        if not (symbol.isascii() and symbol.isidentifier()):
            raise UsageError(f"-d {symbol}: not a symbol, such as EnableDebug")
    if program.is_dir():
        raise BuildError(f"{source}: a directory; name the program in it{_programs_in(program)}")
    if not program.is_file():
        raise BuildError(f"{source}: no such file")
    image = Path(output) if output else program.with_suffix(".elf")
    _check_place(image)
    try:
        toolchain = _Toolchain(sorted(set(symbols)), debug)
        system = _once("system", toolchain.key, toolchain.build_system)
        kernel_key = _digest(toolchain.key, *_contents(toolchain.toro.rglob("*")))
        kernel = _once("kernel", kernel_key, lambda to: toolchain.build_kernel(system, to))
        with _application_directory(program, _digest(kernel_key, *sorted(symbols))) as work:
            pascal = program
            objects: list[str] = []
            if program.suffix == ".c":
                pascal, objects = toolchain.compile_c(program, kernel_key, work)
            _install(toolchain.build_application(program, pascal, objects, system, kernel, work), image)
    except OSError as error:
        raise BuildError(f"{error.filename or source}: {error.strerror}") from None
    return image


def _programs_in(folder: Path) -> str:
    """Some of them, for a message."""
    names = [str(path) for path in sorted(folder.glob("*.pas")) if _PROGRAM.search(path.read_text(errors="replace"))]
    return f": {', '.join(names[:3])}" if names else ""


def _check_place(image: Path) -> None:
    """Finds out before the compiler runs what would be in vain.

    Raises:
        BuildError: no image can be put there.
    """
    folder = Path(os.path.realpath(image)).parent
    if not folder.is_dir():
        raise BuildError(f"{image}: there is no directory {folder}")
    if image.is_dir():
        raise BuildError(f"{image}: a directory; name the image as well: -o {image / 'NAME.elf'}")
    if not os.access(folder, os.W_OK):
        raise BuildError(f"{image}: {folder} may not be written to; choose another place with -o")


class _Toolchain:
    """The compiler, and the sources of its library and of Toro.

    Args:
        symbols, debug: see `build`.

    Raises:
        BuildError: one of them is missing.
    """

    def __init__(self, symbols: list[str], debug: bool) -> None:
        for tool in ("ppcx64", "as", "ld", "nm"):
            if not shutil.which(tool):
                raise BuildError(f"{tool} is not installed: `apt install {PACKAGES}`")
        version = _output(["ppcx64", "-iV"]).strip()
        self._fpc = _FPC_SOURCES / version
        if not self._fpc.is_dir():
            raise BuildError(f"{self._fpc}: no sources of FPC's library: `apt install {PACKAGES}`")
        here = Path(__file__).resolve().parents[1]
        self.toro = next((p for p in (here / "toro", here.parent / "toro") if p.is_dir()), here)
        # The kernel and FPC's library see only what the kernel knows: UNIX, for example, would change the library.
        known = {word.upper() for path in self.toro.rglob("*.pas") for word in _IFDEF.findall(path.read_text())}
        self._code = [*(_DEBUG_CODE if debug else _CODE), *(f"-d{name}" for name in symbols if name.upper() in known)]
        self._symbols = [f"-d{name}" for name in symbols]
        self._c_code = [*(_C_DEBUG_CODE if debug else _C_CODE), *(f"-D{symbol}" for symbol in symbols)]
        # Debug information contains the path of the sources.
        options = [*_TARGET, *self._code, str(self.toro) if debug else ""]
        self.key = _digest(version, " ".join(options), Path(__file__).read_bytes())
        rtl = self._fpc / "rtl"
        self._system_paths = [f"-Fi{rtl / name}" for name in ("inc", "x86_64", "embedded")]
        self._toro_paths = [f"-Fu{self.toro / name}" for name in _UNITS]
        self._library_paths = [
            *(f"-Fu{rtl / name}" for name in ("embedded", "inc", "objpas", "x86_64")),
            *(f"-Fu{self._fpc / 'packages' / name}" for name in ("rtl-objpas/src/inc", "fcl-base/src")),
            *(f"-Fi{rtl / name}" for name in ("inc", "x86_64", "embedded", "objpas")),
            *(f"-Fi{rtl / 'objpas' / name}" for name in ("sysutils", "classes")),
        ]

    def build_system(self, to: Path) -> None:
        """Compiles FPC's `system` and `objpas` units."""
        rtl = self._fpc / "rtl"
        options = [*_TARGET, *_WARNINGS, *self._code, f"-FU{to}", f"-Fu{to}", *self._system_paths]
        _run(
            ["ppcx64", *options, "-Us", "-Sg", str(rtl / "embedded/system.pp")],
            "FPC's system unit",
            quiet=True,
        )
        _run(["ppcx64", *options, str(rtl / "objpas/objpas.pp")], "FPC's objpas unit", quiet=True)

    def build_kernel(self, system: Path, to: Path) -> None:
        """Compiles the nucleus, the loader, the kernel and FPC's units for applications."""
        for name in _BOOT:
            _run(["as", str(self.toro / f"boot/{name}.s"), "-o", str(to / f"{name}.o")], f"the {name}")
        everything = to / "everything.pas"
        units = [*sorted(path.stem for name in _UNITS for path in self.toro.glob(f"{name}/*.pas")), *_LIBRARY]
        everything.write_text(f"unit everything; interface uses {', '.join(units)}; implementation end.\n")
        paths = [f"-FU{to}", f"-Fu{system}", *self._toro_paths, *self._library_paths]
        said = _run(["ppcx64", *_TARGET, *_HINTS, *self._code, *paths, str(everything)], "the Toro kernel", quiet=True)
        # FPC's own library is full of hints; only those about the kernel's units are shown.
        ours = {path.name for path in [*self.toro.rglob("*.pas"), *self.toro.rglob("*.inc")]}
        sys.stderr.writelines(line for line in said.splitlines(True) if line.partition("(")[0] in ours)

    def compile_c(self, program: Path, kernel_key: str, work: Path) -> tuple[Path, list[str]]:
        """Compiles a C program in `work`; returns the Pascal program that wraps it, and all C objects."""
        for tool in ("gcc", "objcopy"):
            if not shutil.which(tool):
                raise BuildError(f"{tool} is not installed: `apt install {C_PACKAGES}`")
        own = _output(["gcc", "-print-file-name=include"]).strip()
        compiler = [
            "gcc",
            *_C,
            *self._c_code,
            *(f"-isystem{place}" for place in (self.toro / "c", self.toro / "mpi", own)),
            "-c",
        ]

        def library(to: Path) -> None:
            for source in (self.toro / "c").glob("*.c"):
                _run([*compiler, *_C_LIBRARY, str(source), "-o", str(to / f"{source.stem}.o")], "the C library")

        made = _once("c", _digest(kernel_key, _output(["gcc", "--version"])), library)
        code = work / "c-program.o"
        _run([*compiler, str(program), "-o", str(code)], program)
        # FPC defines a main of its own.
        _run(["objcopy", "--redefine-sym", "main=toro_c_main", str(code)], program)
        return self.toro / "c/CProgram.pas", [str(code), *map(str, sorted(made.glob("*.o")))]

    def build_application(
        self, program: Path, pascal: Path, c_objects: list[str], system: Path, kernel: Path, work: Path
    ) -> Path:
        """Compiles the program and links it with all that it uses; returns the image, in `work`."""
        source = pascal.resolve()
        paths = [f"-FU{work}", f"-FE{work}", f"-Fu{kernel}", f"-Fu{system}"]
        compiler = [
            "ppcx64",
            *_TARGET,
            *_WARNINGS,
            *self._code,
            *self._symbols,
            *_APPLICATION,
            "-Cn",
            "-Fatorortl",
            *paths,
            *self._library_paths,
        ]
        # FPC looks for units in the current directory first.
        _run([*compiler, f"-Fu{source.parent}", f"-Fo{source.parent}", str(source)], program, cwd=work)
        link_script = max(work.glob("link*.res"), key=lambda path: path.stat().st_mtime, default=None)
        if not link_script:
            raise BuildError(f"{program}: a unit, not a program; name the program that uses it")
        boot = [str(kernel / f"{path.stem}.o") for path in sorted((self.toro / "boot").iterdir())]
        objects = [*boot, *_linked_objects(link_script.read_text(), work), *c_objects]
        link_script.unlink()

        # Function names are linked in behind the code, so that the second link
        # does not move it.
        names = work / "function-names.o"
        script = str(self.toro / "toro.ld")
        linker = ["ld", "-T", script, "-znoexecstack", "--gc-sections", *(f"--wrap={symbol}" for symbol in _WRAPPED)]
        first = work / "without-names.elf"
        _run([*linker, "-o", str(first), *objects], program)
        spelling = [*self.toro.rglob("*.pas"), *source.parent.glob("*.pas"), *source.parent.glob("*.pp")]
        table = symbol_table(_output(["nm", "-n", "--defined-only", str(first)]), spelling)
        _run(["as", "-o", str(names), "-"], program, table)
        complete = work / "complete.elf"
        _run([*linker, "-o", str(complete), *objects, str(names)], program)
        return complete


def _linked_objects(script: str, work: Path) -> list[str]:
    """The object files that FPC's linker script names, as absolute paths."""
    names = script.partition("INPUT (")[2].partition(")")[0].split()
    return [str(Path(work, name.strip('"'))) for name in names]


def _install(built: Path, image: Path) -> None:
    """Puts the image in place: a file by a rename, so that nobody boots half of it.

    A symbolic link stays, and what it leads to is replaced; a device or fifo is written to.
    """
    target = Path(os.path.realpath(image))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(built.read_bytes())
            return
        shutil.copy(built, temporary)
        temporary.replace(target)
    except OSError as error:
        raise BuildError(f"{image}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _run(
    command: list[str], what: object, stdin: str | None = None, quiet: bool = False, cwd: Path | None = None
) -> str:
    """Runs a tool and returns its output, which also goes to stderr unless `quiet`."""
    result = subprocess.run(command, input=stdin, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode or not quiet:
        sys.stderr.write(result.stdout)
    if result.returncode:
        raise BuildError(f"{what}: not built, {command[0]} failed")
    return result.stdout


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _digest(*parts: bytes | str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]


def _contents(paths: Iterable[Path]) -> Iterator[bytes]:
    """Names and contents of the sources among `paths`."""
    for path in sorted(paths):
        if path.suffix in (".pas", ".pp", ".inc", ".s", ".ld", ".c", ".h"):
            yield path.name.encode()
            yield path.read_bytes()


def _cache() -> Path:
    """This user's directory for intermediate files."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pyvmm")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"{cache}: {error.strerror}; set XDG_CACHE_HOME to a directory that you may write") from None
    return cache


def _once(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """A cached directory, filled by `make` if it does not exist yet."""
    done = _cache() / f"{name}-{key}"
    if not done.is_dir():
        with tempfile.TemporaryDirectory(dir=done.parent, ignore_cleanup_errors=True) as temporary:
            making = Path(temporary, name)
            making.mkdir()
            make(making)
            try:
                making.rename(done)
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY):  # another build was first
                    raise
    return done


@contextmanager
def _application_directory(program: Path, key: str) -> Iterator[Path]:
    """The directory of one program's intermediate files, for one build at a time.

    It is emptied when a source beside the program has changed, as FPC compares times only
    to two seconds. For all other files FPC's own check applies.
    """
    work = _cache() / f"application-{_digest(str(program.resolve()))}"
    work.mkdir(exist_ok=True)
    with open(work / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made_of = work / "made-of"
        beside = program.resolve().parent
        state = _digest(key, *_contents([*beside.glob("*"), *beside.glob("*/*")]))
        if not made_of.is_file() or made_of.read_text() != state:
            for path in work.iterdir():
                if path.name != "lock":
                    path.unlink()
            made_of.write_text(state)
        yield work
