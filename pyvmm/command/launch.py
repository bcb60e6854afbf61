"""What the `pyvmm` executable runs first (`launcher/main.c` says why).

pyvmm's modules come from the executable, and appear to come from where they are
installed. With a development install (`pip install --editable`) one whose source
has changed since is loaded from there.

This module is itself the finder and the loader of the import system (PEP 451), for
a class takes 20 us to make.
"""

from __future__ import annotations

import _frozen_importlib
import _imp
import posix as os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any

    ModuleSpec = _frozen_importlib.ModuleSpec

_BACKEND = "_cffi_backend"
#: Extension modules that guests of most kinds want, of those whose names do not begin with `_`.
_EARLY = ("fcntl", "select", "zlib")
_ENOENT = 2

#: The directory that has the package `pyvmm`, the one that has what it depends on, and the standard library.
_root = _libraries = _stdlib = ""
#: Modification time in ns and size of each module's source; empty if it is not to be looked at.
_stamps: dict[str, tuple[int, int]] = {}
_finish: Callable[[], None] | None = None


def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
    """As importlib.abc.MetaPathFinder's."""
    if name == "pyvmm._kvm":
        builtin: Any = _frozen_importlib.BuiltinImporter
        return _frozen_importlib.ModuleSpec(name, builtin, origin="built-in")
    if name == _BACKEND or ((name[:1] == "_" or name in _EARLY) and name not in sys.builtin_module_names):
        folder = _libraries if name == _BACKEND else f"{_stdlib}/lib-dynload"
        file = f"{folder}/{name}.{sys.implementation.cache_tag}-{sys.implementation._multiarch}.so"
        return _spec(name, file) if _stat(file) else None
    if name.startswith(("pyvmm", "vhost_user")) and _imp.is_frozen(name):
        return _spec(name, _source(name, _imp.is_frozen_package(name)))
    return None


def create_module(spec: ModuleSpec) -> ModuleType | None:
    """As importlib.abc.Loader's."""
    return _imp.create_dynamic(spec) if _is_extension(spec.name) else None


def exec_module(module: ModuleType) -> None:
    """As importlib.abc.Loader's."""
    name = module.__name__
    if _is_extension(name):
        _imp.exec_dynamic(module)
        return
    assert module.__spec__
    file = module.__file__ = module.__spec__.origin
    assert file
    exec(_changed(name, file) or _imp.get_frozen_object(name), module.__dict__)


def _is_extension(name: str) -> bool:
    return not name.startswith(("pyvmm", "vhost_user"))


def _source(name: str, is_package: bool) -> str:
    return f"{_root}/{name.replace('.', '/')}{'/__init__' if is_package else ''}.py"


def _spec(name: str, file: str) -> ModuleSpec:
    loader: Any = sys.modules[__name__]
    spec = _frozen_importlib.ModuleSpec(name, loader, origin=file)
    if file.endswith("/__init__.py"):
        spec.submodule_search_locations = [file[: -len("/__init__.py")]]
    return spec


def _stat(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _changed(name: str, file: str) -> CodeType | None:
    """The code of a module whose source is not what it was when it was frozen."""
    if not _stamps or _stamps[name] == (stamp := _stat(file)) or not stamp:
        return None
    fd = os.open(file, os.O_RDONLY)
    text = os.read(fd, stamp[1])
    os.close(fd)
    code: CodeType = compile(text, file, "exec", dont_inherit=True)
    return code


def _find_elsewhere(name: str, path: object = None, target: object = None) -> None:
    """Asked for what no one else has; before there is a sys.path, has that one made.

    The finder for sys.path is behind this one afterwards, and is asked next.

    Raises:
        HostError: the Python that the executable was made of is not installed any more.
    """
    global _finish
    try:
        os.stat(f"{_stdlib}/os.py")
    except FileNotFoundError:
        from pyvmm.errors import HostError

        raise HostError(_stdlib, _ENOENT, "this pyvmm was built for the Python there; install pyvmm again") from None
    except OSError as error:
        from pyvmm.errors import HostError

        hint = "this pyvmm was built for the Python there; let this user read it, or install pyvmm for another Python"
        raise HostError(_stdlib, error.errno or 0, hint) from None
    finish, _finish = _finish, None
    if finish:
        finish()
        sys.path += [_libraries, _root]


def _load(modules: tuple[tuple[str, bool, CodeType], ...]) -> bool:
    """Makes modules without the import system, which takes 20 us for each.

    One that cannot be is left to it, and so are those behind: it returns False then.
    """
    for name, is_package, code in modules:
        module = sys.modules[name] = type(sys)(name)
        module.__file__ = file = _source(name, is_package)
        module.__spec__ = spec = _spec(name, file)
        spec._initializing = False  # type: ignore[attr-defined] # looked for at each import
        if is_package:
            module.__path__ = spec.submodule_search_locations or []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
        try:
            exec(_changed(name, file) or code, module.__dict__)
        except ImportError:
            del sys.modules[name]
            return False
    return True


def main(
    words: list[str], frozen: dict[str, Any], finish: Callable[[], None] | None, libraries: str, started: int,
    thawed: int, cache: tuple[str, str, bytes], listed: tuple[str, int, int],
) -> None:  # fmt: skip
    """Runs the command line, and ends the process.

    Args:
        words: the command line.
        frozen: what build.py has to say: `root` and `stamps` of a development install,
            `stdlib`, as `modules` (name, is a package, code) of those to load first, and as
            `composing`, marshalled, those that a guest which runs already does without.
        finish: runs the interpreter's main phase, if it has not been.
        libraries: the directory that has what pyvmm depends on.
        started: CLOCK_MONOTONIC in ns when the interpreter was there.
        thawed: address of the machine that runs already, or 0.
        cache: see `state.cache.Entry`; an empty directory if there is no cache.
        listed: see `cli.main`.
    """
    global _root, _libraries, _stdlib, _stamps, _finish
    _root, _libraries, _stdlib = frozen["root"] or libraries, libraries, frozen["stdlib"]
    _stamps, _finish = frozen["stamps"], finish
    ourselves: Any = sys.modules[__name__]
    sys.meta_path.insert(0, ourselves)
    namespace: Any = type(sys.implementation)
    sys.meta_path.append(namespace(find_spec=_find_elsewhere))
    sys.__dict__["_stdlib_dir"] = _stdlib
    if finish:
        sys.stdin = sys.stdout = sys.stderr = None
    else:
        sys.path += [libraries, _root]
    sys.argv = words
    if _load(frozen["modules"]) and not thawed:
        import marshal

        _load(marshal.loads(frozen["composing"]))
    from pyvmm.command.cli import run

    run(started, thawed, cache, listed)
