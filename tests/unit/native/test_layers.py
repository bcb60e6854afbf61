"""The walls between the C parts: what each object file uses of the others (`nm`)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import pyvmm

ROOT = Path(pyvmm.__file__).parent
NATIVE = ROOT / "native"
SOURCES = [ROOT / "_kvm.c", *sorted(NATIVE.rglob("*.c"))]

#: Each part (a folder, or a file), and the parts whose functions it may call.
MAY_CALL: dict[str, set[str]] = {
    "host": set(),
    "spawn": {"host"},
    "memory": set(),
    "bus": {"memory"},
    "landlock": set(),
    "sandbox": {"landlock"},
    "serial": {"host"},
    "trace": {"host", "sandbox"},
    "emulate": {"memory"},
    "virtio": {"host", "memory", "sandbox"},
    "vsock": {"host", "sandbox", "trace", "virtio"},
    "_kvm": {"bus", "emulate", "host", "memory", "trace"},
    "vcpu": {"_kvm", "host", "pin", "sandbox"},
    "state": {"memory"},
    "pages": set(),
    "pin": set(),
    "pit": {"host"},
    "registry": set(),
    "thaw": {"_kvm", "bus", "host", "memory", "pit", "serial", "state", "vcpu"},
}


def part(source: Path) -> str:
    """The key of MAY_CALL for a file."""
    return source.stem if source.parent in (ROOT, NATIVE) else source.parent.name


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, set[Path]]:
    """For each file, those that define what it leaves undefined."""
    folder = tmp_path_factory.mktemp("objects")
    defined: dict[str, Path] = {}
    undefined: dict[Path, set[str]] = {}
    for number, source in enumerate(SOURCES):
        made = folder / f"{number}.o"
        subprocess.run(["gcc", "-std=gnu11", f"-I{NATIVE}", "-c", "-o", str(made), str(source)], check=True)
        symbols = subprocess.run(["nm", "-g", str(made)], capture_output=True, text=True, check=True).stdout
        words = [line.split() for line in symbols.splitlines()]
        defined |= {name: source for *_, kind, name in words if kind != "U"}
        undefined[source] = {name for *_, kind, name in words if kind == "U"}
    return {source: {defined[name] for name in names if name in defined} for source, names in undefined.items()}


def test_each_part_calls_only_what_it_may(calls: dict[Path, set[Path]]) -> None:
    for source, others in calls.items():
        for other in others:
            allowed = MAY_CALL[part(source)] | {part(source)}
            assert part(other) in allowed, f"{source.name} calls into {other.relative_to(ROOT)}"


def test_files_form_no_circle(calls: dict[Path, set[Path]]) -> None:
    rest = dict(calls)
    while rest:
        bottom = {source for source, others in rest.items() if not others & rest.keys() - {source}}
        assert bottom, f"these call each other: {sorted(source.name for source in rest)}"
        rest = {source: others for source, others in rest.items() if source not in bottom}
