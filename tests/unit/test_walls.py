"""The walls between pyvmm's modules, and what its start may import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pyvmm

ROOT = Path(pyvmm.__file__).parent.parent

#: Each module or package, and what of pyvmm it may import. An entry ending in
#: `.` is a package.
ANYTHING_BELOW_MACHINE = {
    "_kvm", "boot.", "bus", "devices.", "errors", "eventloop", "kvm.", "layout", "memory", "state.", "virtio.",
}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "layout": set(),
    "errors": set(),
    "native.": {"host."},  # the filters are made of it
    "memory": {"_kvm", "errors", "layout"},
    "kvm.": {"_kvm", "errors", "layout", "bus", "kvm."},
    "bus": {"_kvm", "errors", "memory"},
    "eventloop": set(),
    "jsontext": set(),
    "state.": {"_kvm", "bus", "errors", "eventloop", "host.", "kvm.", "layout", "memory", "state."},
    "gdb.": {"_kvm", "config", "errors", "eventloop", "gdb.", "host.", "kvm.", "machine", "memory", "virtio."},
    "crash.": {
        "_kvm",
        "boot.",
        "crash.",
        "errors",
        "eventloop",
        "gdb.",
        "host.",
        "kvm.",
        "layout",
        "machine",
        "measures",
        "memory",
        "state.",
        "__init__",
    },
    "trace.": {
        "_kvm",
        "bus",
        "errors",
        "eventloop",
        "kvm.",
        "layout",
        "machine",
        "measures",
        "memory",
        "trace.",
        "virtio.",
    },
    "control.": {
        "_kvm",
        "control.",
        "errors",
        "eventloop",
        "host.",
        "jsontext",
        "kvm.",
        "machine",
        "measures",
        "state.",
        "__init__",
    },
    "boot.": {"_kvm", "boot.", "config", "errors", "kvm.", "layout", "memory", "state."},
    "devices.": {"_kvm", "bus", "errors", "eventloop", "layout"},
    "virtio.": {"_kvm", "bus", "errors", "eventloop", "layout", "memory", "virtio."},
    "host.": {"_kvm", "config", "errors", "eventloop", "host."},
    "config": {"_kvm", "errors", "layout"},
    "measures": {"_kvm", "boot.", "errors", "kvm.", "memory"},
    "made": {"_kvm", "boot.", "config", "errors", "kvm.", "layout", "memory", "state."},
    "machine": ANYTHING_BELOW_MACHINE | {"config", "consolepipe", "host.", "made", "measures", "requests"},
    "requests": {"bus", "eventloop"},
    "consolepipe": set(),
    "api": {"errors", "host.", "virtio."},
    "testing.": {
        "_kvm",
        "__init__",
        "api",
        "boot.",
        "bus",
        "errors",
        "eventloop",
        "host.",
        "layout",
        "memory",
        "testing.",
        "virtio.",
    },
    "toolchain.": {"errors", "toolchain."},
    "oci.": {"_kvm", "boot.", "config", "errors", "host.", "jsontext", "layout", "oci."},
    "command.": {
        "_kvm",
        "api",
        "boot.",
        "command.",
        "config",
        "control.",
        "crash.",
        "errors",
        "eventloop",
        "gdb.",
        "host.",
        "jsontext",
        "kvm.",
        "layout",
        "machine",
        "measures",
        "oci.",
        "state.",
        "testing.",
        "toolchain.",
        "trace.",
        "virtio.",
        "__init__",
    },
    "__main__": {"command."},
    "__init__": {"api", "config", "consolepipe", "errors", "machine", "toolchain.", "virtio."},
}


def sources(package: str) -> list[Path]:
    """The Python files of a package, if it is there."""
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The absolute names of all modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = node.module or ""
            modules = [f"{module}.{alias.name}" for alias in node.names]
            # `from pyvmm.boot import elf` imports a module, `from pyvmm.bus import Bus` does not.
            names |= {name if _is_module(name) else module for name in modules}
    return names


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or any(path.parent.glob(f"{path.name}.*"))


def room(module: str) -> str:
    """The key of MAY_IMPORT for a module of pyvmm, named without `pyvmm.`."""
    package, dot, _ = module.partition(".")
    return f"{package}." if dot or f"{package}." in MAY_IMPORT else package or "__init__"


def test_every_module_is_in_the_table() -> None:
    for path in sources("pyvmm"):
        module = ".".join(path.relative_to(ROOT / "pyvmm").with_suffix("").parts)
        assert room(module) in MAY_IMPORT, f"{path}: say in MAY_IMPORT what it may import"


@pytest.mark.parametrize("path", sources("pyvmm"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down_the_layers(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT / "pyvmm").with_suffix("").parts)
    allowed = MAY_IMPORT[room(module)]
    for name in imports(path):
        package, _, rest = name.partition(".")
        assert package != "vhost_user" or room(module) in ("machine", "testing.", "trace.", "virtio."), name
        if package == "pyvmm":
            assert room(rest) in allowed, f"{path.name} must not import {name}"


def test_a_device_imports_no_other_device() -> None:
    for path in sources("pyvmm/devices"):
        assert not [name for name in imports(path) if name.startswith("pyvmm.devices")], path


def test_table_has_no_cycle() -> None:
    """Within a package modules may know each other; between rooms only downwards."""
    done: set[str] = set()
    rest = {name: {lower for lower in allowed if lower != name} for name, allowed in MAY_IMPORT.items()}
    while rest:
        bottom = {name for name, lower in rest.items() if not (lower & rest.keys())}
        assert bottom, f"these import each other: {sorted(rest)}"
        done |= bottom
        rest = {name: lower for name, lower in rest.items() if name not in bottom}


def test_vhost_user_imports_nothing_of_pyvmm() -> None:
    found = [(path.name, name) for path in sources("vhost_user") for name in imports(path)]
    assert not [(file, name) for file, name in found if name.split(".")[0] == "pyvmm"]


# ---- start-up ------------------------------------------------------------------------

#: Modules that take at least as long to import as a guest takes to boot.
HEAVY = """
argparse asyncio collections contextlib dataclasses enum functools inspect json logging os pathlib re select
shutil signal socket struct subprocess tempfile threading traceback typing
""".split()


def loaded_by(statement: str) -> set[str]:
    """The modules that an interpreter without `site` has loaded after `statement`."""
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    code = f"import sys; sys.path += sys.argv[1:]; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-ISc", code, *paths], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_booting_imports_nothing_heavy() -> None:
    loaded = loaded_by("import pyvmm.command.cli, pyvmm.config, pyvmm.machine")
    assert {"pyvmm.command.cli", "pyvmm.machine", "pyvmm._kvm"} <= loaded
    assert not loaded & set(HEAVY)


def test_booting_imports_nothing_that_was_not_asked_for() -> None:
    loaded = loaded_by("import pyvmm.command.cli, pyvmm.config, pyvmm.machine")
    assert not {name for name in loaded if name.startswith(("pyvmm.crash", "pyvmm.gdb", "pyvmm.trace"))}


def test_listening_and_looking_up_imports_nothing_heavy() -> None:
    loaded = loaded_by(
        "from pyvmm.host.tcp import Publish, TcpHost, parse_allow; TcpHost([Publish('0:80')], [parse_allow('80')], 1)"
    )
    assert "pyvmm.host.tcp" in loaded
    assert not loaded & {*HEAVY, "encodings.idna"}


def test_command_line_is_read_before_anything_of_kvm_is_loaded() -> None:
    loaded = loaded_by("import pyvmm.command.cli")
    assert {name for name in loaded if name.startswith("pyvmm")} == {
        "pyvmm",
        "pyvmm.command",
        "pyvmm.command.boot",
        "pyvmm.command.cli",
        "pyvmm.command.options",
        "pyvmm.errors",
    }
