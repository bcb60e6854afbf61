"""Builds the `pyvmm` executable: `main.c`, pyvmm's C parts and its modules as frozen code."""

from __future__ import annotations
import __future__

import ast
import json
import marshal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.command.options import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from distutils.ccompiler import CCompiler
    from types import CodeType

_OURS = ("pyvmm", "vhost_user")
#: What every boot imports, with all that they import first.
_BOOT = (
    "pyvmm.command.cli",
    "pyvmm.command.confined",
    "pyvmm.command.signals",
    "pyvmm.config",
    "pyvmm.state.cache",
    "pyvmm.machine",
)
_COMPOSE = ("pyvmm.boot.compose",)
#: What States are composed by.
_COMPOSING = ("pyvmm.boot", "pyvmm.config", "pyvmm.layout", "pyvmm.memory", "pyvmm.state")
#: What Python's main phase imports beside its own frozen modules, and what sources do.
_STDLIB = ("encodings", "encodings.aliases", "encodings.utf_8", "__future__", "bisect", "struct")


def sources(root: Path) -> dict[str, Path]:
    """The modules to freeze, by name."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    ours = (module for package in _OURS for module in _modules(root / package, root))
    return dict([*ours, *((name, _find(stdlib, name)) for name in _STDLIB)])


def _modules(package: Path, root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(package.rglob("*.py")):
        if path.parent.name not in ("native", "executable", "testing"):  # those build, or run elsewhere
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _find(stdlib: Path, name: str) -> Path:
    path = stdlib.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Modification time in ns and size of each module's source."""
    return {name: (path.stat().st_mtime_ns, path.stat().st_size) for name, path in sources(root).items()}


def boot_order(root: Path, wanted: tuple[str, ...] = _BOOT) -> list[str]:
    """The wanted modules and what they import, each behind those that it imports itself."""
    known = sources(root)
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in known or name in order:
            return
        visit(name.rpartition(".")[0])
        for node in ast.parse(known[name].read_text()).body:  # not those in functions
            if isinstance(node, ast.ImportFrom) and node.module:
                for imported in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    visit(imported)
        order.append(name)

    for name in wanted:
        visit(name)
    return order


def frozen(root: Path, editable: bool) -> dict[str, object]:
    """What `_launch.main` is told."""
    known = sources(root)
    first = boot_order(root)
    rest = [name for name in boot_order(root, _BOOT + _COMPOSE) if name not in first]

    def modules(names: list[str]) -> tuple[tuple[str, bool, CodeType], ...]:
        return tuple(
            (name, known[name].name == "__init__.py", compile_module(known[name].read_text(), name)) for name in names
        )

    return {
        "root": str(root) if editable else "",
        "stamps": stamps(root) if editable else {},
        "stdlib": sysconfig.get_path("stdlib"),
        "modules": modules(first),
        "composing": marshal.dumps(modules(rest)),
    }


def freeze(root: Path, editable: bool) -> str:
    """The text of `frozen.h`."""
    arrays, table = [_array("frozen", marshal.dumps(frozen(root, editable)))], []
    for i, (name, path) in enumerate(sources(root).items()):
        arrays.append(_array(f"module_{i}", marshal.dumps(compile_module(path.read_text(), name))))
        is_package = int(path.name == "__init__.py")
        fields = f'.name = "{name}", .code = module_{i}, .size = sizeof module_{i}, .is_package = {is_package}'
        table.append(f"    {{{fields}}},\n")  # Python 3.13 has no get_code
    names = {
        "FROZEN_STDLIB": sysconfig.get_path("stdlib"),
        "FROZEN_PREFIX": sys.base_prefix,
        "FROZEN_PYTHON": sys.executable,
    }
    defines = [f'#define {name} L"{value}"\n' for name, value in names.items()]
    defines.append(f"#define FROZEN_FILES {', '.join(map(json.dumps, _files(root, editable)))}\n")
    return "".join([*defines, *arrays, "static const struct _frozen frozen_modules[] = {\n", *table, "    {0},\n};\n"])


def _files(root: Path, editable: bool) -> list[str]:
    """What the interpreter may have to read besides its site-packages: `sandbox.files`."""
    multiarch = sysconfig.get_config_var("MULTIARCH")
    places = [f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib64", "/usr/lib64"]
    libraries = dict.fromkeys(str(Path(place).resolve()) for place in places)  # /lib leads to /usr/lib, as a rule
    sources = [str(root / name) for name in _OURS] if editable else []
    return [sysconfig.get_path("stdlib"), *sources, *libraries]


def options(root: Path, editable: bool) -> str:
    """The text of `options.inc`: what `options.h` declares."""
    rows = [f'    {{"{name}", {kind.upper()}}},\n' for name, kind, *_ in COMMANDS["boot"][4]]
    found = sources(root) if editable else {}
    places = [
        f'    {{"{path}", {path.stat().st_mtime_ns}u, {path.stat().st_size}u}},\n'
        for name, path in found.items()
        if name.startswith(_COMPOSING)
    ]
    return "".join(
        [
            "const struct option boot_options[] = {\n", *rows, "    {0, FLAG},\n};\n",
            "const struct source composing_sources[] = {\n", *places, "    {0, 0, 0},\n};\n",
        ]
    )  # fmt: skip


def _array(name: str, data: bytes) -> str:
    return f"static const unsigned char {name}[] = {{{','.join(map(str, data))}}};\n"


def compile_module(text: str, name: str) -> CodeType:
    """A module's code, without docstrings, and that does not import `__future__` at run time."""
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")]
    flags = __future__.annotations.compiler_flag if name.startswith(_OURS) else 0
    code: CodeType = compile(tree, f"<frozen {name}>", "exec", flags, dont_inherit=True, optimize=2)
    return code


def libpython() -> list[str] | None:
    """What to give the linker for the interpreter; None if it is not installed as a library."""
    variable = sysconfig.get_config_var
    needs = f"{variable('MODLIBS')} {variable('LIBS')} {variable('SYSLIBS')}".split()
    static = Path(variable("LIBPL"), variable("LIBRARY"))
    if static.is_file():  # starts faster: nothing to relocate
        # Not the interpreter's directory, in which the loader would look for everything first.
        libraries = [_static(word) for word in dict.fromkeys(needs) if not word.startswith("-Wl,-rpath")]
        return [str(static), "-lc", *libraries]  # before libm, which libm.c replaces
    if Path(variable("LIBDIR"), variable("LDLIBRARY")).is_file():
        directory = variable("LIBDIR")
        return [f"-L{directory}", f"-Wl,-rpath,{directory}", f"-lpython{variable('LDVERSION')}"]
    return None


def _static(word: str) -> str:
    """A library as an archive if there is one: each that is loaded takes 0.1 ms."""
    if not word.startswith("-l") or word == "-lm":  # libm's archive is part of libc's
        return word
    found = subprocess.run(["cc", f"-print-file-name=lib{word[2:]}.a"], capture_output=True, text=True, check=False)
    path = found.stdout.strip()
    return path if path.startswith("/") else word


def build_oci(compiler: CCompiler, directory: Path) -> None:
    """Makes `directory`/bin/pyvmm-oci."""
    postargs = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
    main = compiler.compile(["pyvmm/command/executable/oci.c"], str(directory), extra_postargs=postargs)
    compiler.link_executable(main, "pyvmm-oci", str(directory / "bin"), extra_postargs=["-s"])


def build(compiler: CCompiler, root: Path, objects: list[str], directory: Path, editable: bool) -> None:
    """Makes `directory`/bin/pyvmm.

    Args:
        compiler: as setuptools has set it up.
        root: the source tree.
        objects: pyvmm's C parts and their cffi module, compiled.
        editable: modules are to come from `root` when they have changed there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "frozen.h").write_text(freeze(root, editable))
    (directory / "options.inc").write_text(options(root, editable))
    include = [str(directory), sysconfig.get_path("include"), str(root / "pyvmm/native")]
    main = compiler.compile(
        [
            f"pyvmm/command/executable/{name}.c"
            for name in ("main", "guest", "words", "cache", "entry", "options", "libm")
        ],
        str(directory),
        include_dirs=include,
        extra_postargs=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fno-builtin"],
    )
    library = libpython()
    assert library
    # cffi's own extension module finds the interpreter in the executable.
    compiler.link_executable(
        main + objects,
        "pyvmm",
        str(directory / "bin"),
        extra_postargs=["-no-pie", "-s", "-Wl,--export-dynamic", "-Wl,--as-needed", *library],
    )
