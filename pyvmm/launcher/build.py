"""Builds the `pyvmm` executable: `main.c`, pyvmm's C parts and its modules as frozen code."""

from __future__ import annotations
import __future__

import ast
import marshal
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from distutils.ccompiler import CCompiler

_OURS = ("pyvmm", "vhost_user")
#: What Python's main phase imports beside its own frozen modules, and what sources do.
_STDLIB = ("encodings", "encodings.aliases", "encodings.utf_8", "__future__")


def sources(root: Path) -> dict[str, Path]:
    """The modules to freeze, by name."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    ours = (module for package in _OURS for module in _modules(root / package, root))
    return dict([*ours, *((name, _find(stdlib, name)) for name in _STDLIB)])


def _modules(package: Path, root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(package.rglob("*.py")):
        if path.name != "_kvm_build.py" and path.parent.name != "launcher":
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _find(stdlib: Path, name: str) -> Path:
    path = stdlib.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def places(root: Path, editable: bool) -> str:
    """The text of the module `pyvmm._frozen`: where things are, and when they were changed."""
    stamps = {}
    if editable:
        for name, path in sources(root).items():
            stamps[name] = (path.stat().st_mtime_ns, path.stat().st_size)
    stdlib = sysconfig.get_path("stdlib")
    return f"ROOT = {str(root) if editable else ''!r}\nSTAMPS = {stamps!r}\nSTDLIB = {stdlib!r}\n"


def freeze(root: Path, editable: bool) -> str:
    """The text of `frozen.h`."""
    modules = {name: (path.read_text(), path.name == "__init__.py") for name, path in sources(root).items()}
    modules["pyvmm._frozen"] = (places(root, editable), False)
    arrays, table = [], []
    for i, (name, (text, is_package)) in enumerate(modules.items()):
        code = compile_module(text, name)
        arrays.append(f"static const unsigned char module_{i}[] = {{{','.join(map(str, code))}}};\n")
        table.append(f'    {{"{name}", module_{i}, sizeof module_{i}, {int(is_package)}, NULL}},\n')
    names = {
        "FROZEN_STDLIB": sysconfig.get_path("stdlib"),
        "FROZEN_PREFIX": sys.base_prefix,
        "FROZEN_PYTHON": sys.executable,
    }
    defines = [f'#define {name} L"{value}"\n' for name, value in names.items()]
    return "".join([*defines, *arrays, "static const struct _frozen frozen_modules[] = {\n", *table, "    {0},\n};\n"])


def compile_module(text: str, name: str) -> bytes:
    """A module's code, marshalled, without docstrings, and that does not import `__future__` at run time."""
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")]
    flags = __future__.annotations.compiler_flag if name.startswith(_OURS) else 0
    return marshal.dumps(compile(tree, f"<frozen {name}>", "exec", flags, dont_inherit=True, optimize=2))


def libpython() -> list[str] | None:
    """What to give the linker for the interpreter; None if it is not installed as a library."""
    variable = sysconfig.get_config_var
    needs = f"{variable('MODLIBS')} {variable('LIBS')} {variable('SYSLIBS')}".split()
    static = Path(variable("LIBPL"), variable("LIBRARY"))
    if static.is_file():  # starts faster: nothing to relocate
        return [str(static), *dict.fromkeys(needs)]
    if Path(variable("LIBDIR"), variable("LDLIBRARY")).is_file():
        directory = variable("LIBDIR")
        return [f"-L{directory}", f"-Wl,-rpath,{directory}", f"-lpython{variable('LDVERSION')}"]
    return None


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
    include = [str(directory), sysconfig.get_path("include"), str(root / "pyvmm")]
    main = compiler.compile(
        ["pyvmm/launcher/main.c", "pyvmm/launcher/warm.c"],
        str(directory),
        include_dirs=include,
        extra_postargs=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
    )
    library = libpython()
    assert library
    # cffi's own extension module finds the interpreter in the executable.
    compiler.link_executable(
        main + objects,
        "pyvmm",
        str(directory / "bin"),
        extra_postargs=["-no-pie", "-s", "-Wl,--export-dynamic", *library],
    )
