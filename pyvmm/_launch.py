"""What the `pyvmm` executable runs first (`launcher/main.c` says why).

pyvmm's modules come from the executable, and appear to come from where they are
installed. With a development install (`pip install --editable`) one whose source
has changed since is loaded from there.
"""

from __future__ import annotations

import _frozen_importlib
import _imp
import posix as os
import sys

from pyvmm._frozen import ROOT, STAMPS, STDLIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any

    ModuleSpec = _frozen_importlib.ModuleSpec


def _spec(name: str, loader: Any, origin: str, is_package: bool = False) -> ModuleSpec:
    return _frozen_importlib.ModuleSpec(name, loader, origin=origin, is_package=is_package)


class _Executable:
    """Finds and loads modules that are frozen into the executable.

    Args:
        root: the directory that has the package `pyvmm`.
        libraries: the directory that has what it depends on.
    """

    def __init__(self, root: str, libraries: str) -> None:
        self._root = root
        self._libraries = libraries

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """As importlib.abc.MetaPathFinder's."""
        if name == "pyvmm._kvm":
            return _spec(name, _frozen_importlib.BuiltinImporter, "built-in")
        if name == "_cffi_backend":
            return self._extension(name)
        if not name.startswith(("pyvmm", "vhost_user")) or not _imp.is_frozen(name):
            return None
        is_package = _imp.is_frozen_package(name)
        place = f"{self._root}/{name.replace('.', '/')}"
        file = f"{place}/__init__.py" if is_package else f"{place}.py"
        spec = _spec(name, self, file, is_package)
        if is_package:
            spec.submodule_search_locations = [place]
        return spec

    def _extension(self, name: str) -> ModuleSpec | None:
        file = f"{self._libraries}/{name}.{sys.implementation.cache_tag}-{sys.implementation._multiarch}.so"
        try:
            os.stat(file)
        except OSError:
            return None
        return _spec(name, _Extension, file)

    def create_module(self, spec: ModuleSpec) -> None:
        """As importlib.abc.Loader's: an ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """As importlib.abc.Loader's."""
        assert module.__spec__
        file = module.__file__ = module.__spec__.origin
        assert file
        code: CodeType = _changed(module.__name__, file) or _imp.get_frozen_object(module.__name__)
        exec(code, module.__dict__)


def _changed(name: str, file: str) -> CodeType | None:
    """The code of a module whose source is not what it was when it was frozen."""
    if not STAMPS:
        return None
    status = os.stat(file)
    if STAMPS[name] == (status.st_mtime_ns, status.st_size):
        return None
    fd = os.open(file, os.O_RDONLY)
    text = os.read(fd, status.st_size)
    os.close(fd)
    code: CodeType = compile(text, file, "exec", dont_inherit=True)
    return code


class _Extension:
    """Loads an extension module of which the file is known."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        """As importlib.abc.Loader's."""
        return _imp.create_dynamic(spec)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """As importlib.abc.Loader's."""
        _imp.exec_dynamic(module)


class _MainPhase:
    """Asked for what no one else has, before there is a sys.path: makes that one.

    Args:
        finish: runs the interpreter's main phase.
        path: what sys.path is to have besides the standard library.
    """

    def __init__(self, finish: Callable[[], None], path: list[str]) -> None:
        self._finish: Callable[[], None] | None = finish
        self._path = path

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """As importlib.abc.MetaPathFinder's; the finder for sys.path is behind this one afterwards."""
        finish, self._finish = self._finish, None
        if finish:
            finish()
            sys.path += self._path


def main(words: list[str], finish: Callable[[], None] | None, started: int) -> None:
    """Runs the command line, and ends the process.

    Args:
        words: the command line.
        finish: runs the interpreter's main phase, if it has not been.
        started: CLOCK_MONOTONIC in ns when the interpreter was there.
    """
    libraries = _libraries()
    root = ROOT or libraries
    sys.meta_path.insert(0, _Executable(root, libraries))
    if finish:
        sys.__dict__["_stdlib_dir"] = STDLIB
        sys.stdin = sys.stdout = sys.stderr = None
        sys.meta_path.append(_MainPhase(finish, [libraries, root]))
    else:
        sys.path += [libraries, root]
    sys.argv = words
    from pyvmm.cli import run

    run(started)


def _libraries() -> str:
    """The site-packages of the prefix that the executable is installed in."""
    prefix = os.readlink("/proc/self/exe").rsplit("/", 2)[0]
    return f"{prefix}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
