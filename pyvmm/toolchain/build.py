"""`pyvmm build`: compiles a Toro application in Pascal, or an MPI program in C, to an ELF image.

Free Pascal compiles (pascal.py), GNU as and ld do the rest; gcc compiles C. A C program is wrapped
in a Pascal program (toro/c/CProgram.pas) and gets musl as its library (c.py).
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.errors import BuildError, UsageError
from pyvmm.toolchain.c import Compiler
from pyvmm.toolchain.names import taken
from pyvmm.toolchain.pascal import Toolchain
from pyvmm.toolchain.tools import ToolError, application_directory, cache, contents, digest, once, show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Options that the build itself gives to the compiler.
_OURS = ("-T", "-P", "-n", "-o", "-s", "-FE", "-FU", "-Cn", "-Fa", "-V")
#: Options with a path, which is relative to the user's directory, not to that of the build.
_WITH_PATH = ("-Fu", "-Fi", "-Fl", "-Fo", "-Fm")
#: What a C program consists of.
_OF_C = (".c", ".o", ".a")
#: What units are in.
_OF_PASCAL = (".pas", ".pp", ".p")
#: The beginning of a Pascal program, as opposed to a unit.
_PROGRAM = re.compile(r"^\s*program\b", re.IGNORECASE | re.MULTILINE)


def build(
    source: str | Sequence[str],
    output: str | None = None,
    symbols: Sequence[str] = (),
    debug: bool = False,
    *,
    places: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Path:
    """Compiles an application.

    Args:
        source: path of a Pascal program or a C file (`.c`); units and headers may lie beside it.
            Others may follow: of a Pascal program, units that lie elsewhere; of a C program, C files,
            objects (`.o`) and archives (`.a`).
        output: path of the image; by default `source` with the extension `.elf`.
        symbols: defined for the compiler; in the kernel, too, those that it looks for.
        debug: includes all debug information for GDB, and does not optimize.
        places: directories in which units, include files and headers are looked for as well.
        options: for the compiler, such as `-Cr`; for the application only.

    Returns:
        The image's path.

    Raises:
        BuildError: a tool is missing, or the application does not compile; the compiler's
            output is on stderr.
        UsageError: a symbol is not an identifier, or an option is not possible.
    """
    sources = [Path(source)] if isinstance(source, str) else [Path(name) for name in source]
    program = sources[0]
    for symbol in symbols:
        if not (symbol.isascii() and symbol.isidentifier()):
            raise UsageError(f"-d {symbol}: not a symbol, such as EnableDebug")
    for option in options:
        if option.startswith(_OURS):
            raise UsageError(f"{option}: an option of the compiler that `pyvmm build` sets itself")
    for path in sources[1:]:
        if path.suffix not in (_OF_C if program.suffix in _OF_C else _OF_PASCAL):
            parts = "C, its other parts .c, .o and .a" if program.suffix in _OF_C else "Pascal, its others units"
            raise UsageError(f"{path}: {program} is in {parts}")
    for path in sources:
        if path.is_dir():
            raise BuildError(f"{path}: a directory; name the program in it{_programs_in(path)}")
        if not path.is_file():
            raise BuildError(f"{path}: no such file")
    image = Path(output) if output else program.with_suffix(".elf")
    if program.suffix in _OF_C:
        words = [*(f"-D{symbol}" for symbol in symbols), *map(str, sources), *(f"-I{place}" for place in places)]
        return link_c([*words, *options], program, image, debug)
    _check_place(image)
    places = [*places, *dict.fromkeys(str(path.parent) for path in sources[1:])]
    toolchain = Toolchain(sorted(set(symbols)), debug, _paths(places, options))
    mine = [program.resolve().parent, *(Path(word[3:]) for word in toolchain.options if word.startswith("-Fu"))]
    toolchain.renamed = taken(program, mine, toolchain.units())
    return _make(toolchain, program, program, image, lambda _: [])


def link_c(arguments: Sequence[str], program: Path, image: Path, debug: bool = False) -> Path:
    """Compiles and links a program in C; returns the image's path.

    Args:
        arguments: for gcc: sources, objects, archives, libraries and options.
        program: what messages are about.
        image: where it goes.
        debug: includes debug information for GDB, and does not optimize.

    Raises:
        BuildError: as of `build`.
    """
    _check_place(image)
    toolchain = Toolchain([], debug, [])
    compiler = Compiler(toolchain.toro, debug)
    pascal = toolchain.toro / "c/CProgram.pas"
    return _make(
        toolchain,
        program,
        pascal,
        image,
        lambda folder: [compiler.program(arguments, program, folder), *compiler.library()],
    )


def _make(
    toolchain: Toolchain, program: Path, pascal: Path, image: Path, compile_c: Callable[[Path], list[str]]
) -> Path:
    """Makes the image of a program in Pascal, with objects and archives that `compile_c` makes in a directory."""
    try:
        system = once("system", toolchain.key, toolchain.build_system)
        kernel_key = digest(toolchain.key, *toolchain.renamed, *contents(toolchain.toro.rglob("*")))
        kernel = once("kernel", kernel_key, lambda to: toolchain.build_kernel(system, to))
        packages = cache() / f"packages-{kernel_key}"
        with application_directory(pascal, digest(kernel_key, *toolchain.symbols, *toolchain.options)) as work:
            of_c = compile_c(work)
            built = toolchain.build_application(program, pascal, of_c, (system, kernel, packages), work)
            _install(built, image)
    except ToolError as error:
        show(error.said)
        raise
    except OSError as error:
        raise BuildError(f"{error.filename or program}: {error.strerror}") from None
    return image


def _paths(places: Sequence[str], options: Sequence[str]) -> list[str]:
    """The compiler's options for the application, with absolute paths."""
    made = [f"{kind}{os.path.abspath(place)}" for place in places for kind in ("-Fu", "-Fi")]
    for option in options:
        kind, path = option[:3], option[3:]
        made.append(kind + os.path.abspath(path) if path and kind in _WITH_PATH else option)
    return made


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
    if image.exists() and not image.is_file():
        raise BuildError(f"{image}: not a regular file; choose another place with -o")
    if not os.access(folder, os.W_OK):
        raise BuildError(f"{image}: {folder} may not be written to; choose another place with -o")


def _install(built: Path, image: Path) -> None:
    """Puts the image in place by a rename, so that nobody boots half of it.

    A symbolic link stays, and what it leads to is replaced.
    """
    target = Path(os.path.realpath(image))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copy(built, temporary)
        temporary.replace(target)
    except OSError as error:
        raise BuildError(f"{image}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
