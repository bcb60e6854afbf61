"""The `pyvmm` executable: what is frozen into it, and the phase of Python that it boots guests in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType

import pytest

import pyvmm
from pyvmm.command.executable import build
from pyvmm.command.help import help_of, overview

ROOT = Path(pyvmm.__file__).parent.parent
PYVMM = Path(sys.executable).parent / "pyvmm"
pytestmark = pytest.mark.skipif(not build.libpython(), reason="this Python is not there as a library")


def frozen(name: str) -> CodeType:
    """The code of a module that is frozen from this tree."""
    return build.compile_module(build.sources(ROOT)[name].read_text(), name)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `pyvmm` says."""
    return subprocess.run([PYVMM, *words], capture_output=True, text=True, timeout=60, env=os.environ | environment)


def test_every_module_is_frozen() -> None:
    names = build.sources(ROOT)
    assert {
        "pyvmm",
        "pyvmm.command.cli",
        "pyvmm.boot.direct",
        "pyvmm.virtio.vsock",
        "vhost_user",
        "encodings",
    } <= names.keys()
    assert not {name for name in names if name.startswith(("pyvmm.native", "pyvmm.command.executable"))}


def test_frozen_code_does_not_import_future_and_has_no_docstring() -> None:
    code = frozen("pyvmm.config")
    assert "__future__" not in code.co_names
    names: dict[str, object] = {"__name__": "pyvmm.config"}
    exec(code, names)
    parse_size = names["parse_size"]
    assert callable(parse_size)
    assert parse_size.__doc__ is None
    assert parse_size.__annotations__ == {"text": "str", "return": "int"}
    assert parse_size("2G") == 2 << 30


def test_a_development_install_knows_how_its_sources_were() -> None:
    known = build.frozen(ROOT, editable=True)
    assert known["root"] == str(ROOT)
    assert known["stamps"] == build.stamps(ROOT)
    assert (build.frozen(ROOT, editable=False)["root"], build.frozen(ROOT, editable=False)["stamps"]) == ("", {})


def test_what_every_boot_imports_is_loaded_behind_what_it_imports_itself() -> None:
    order = build.boot_order(ROOT)
    assert {"pyvmm", "pyvmm.command.cli", "pyvmm.boot", "pyvmm.machine"} <= {*order}
    others = {"pyvmm.toolchain.build", "pyvmm.command.timing", "pyvmm.virtio.vsock", "pyvmm.boot.direct"}
    assert not others & {*order}
    assert order.index("pyvmm.layout") < order.index("pyvmm.memory") < order.index("pyvmm.machine")
    composing = build.boot_order(ROOT, build._COMPOSE)
    assert (
        composing.index("pyvmm.boot.elf") < composing.index("pyvmm.boot.choose") < composing.index("pyvmm.boot.compose")
    )


def test_executable_is_an_elf_file_and_not_a_script() -> None:
    assert PYVMM.read_bytes()[:4] == b"\x7fELF"


def test_python_s_environment_variables_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyvmm").mkdir()
    (tmp_path / "pyvmm/__init__.py").write_text("raise SystemExit('not this one')")
    done = run("--version", PYTHONPATH=str(tmp_path), PYTHONHOME=str(tmp_path), PYTHONVERBOSE="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"pyvmm {pyvmm.__version__}\n", "")


@pytest.mark.parametrize("words", [["boot", "--help"], ["--help"]])
def test_help_in_either_phase(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 0
    assert done.stdout == (overview() if words == ["--help"] else help_of("boot"))


def test_names_that_are_no_text_are_told_as_they_are() -> None:
    done = subprocess.run([PYVMM, "boot", b"/no\xff\n/such\xe2\x82\xac"], capture_output=True, timeout=60)
    assert done.returncode == 125
    assert done.stderr == "pyvmm: /no\\udcff\\n/such€: No such file or directory\n".encode()


def test_a_module_of_the_standard_library_brings_the_main_phase() -> None:
    """`grp` and such are in files of their own, for which there must be a sys.path."""
    done = run("boot", "x", "--zzz")  # difflib is asked what was meant
    assert done.returncode == 125
    assert done.stderr == "pyvmm: --zzz: no such option; try `pyvmm boot --help`\n"


def with_stdlib(tmp_path: Path, place: str) -> Path:
    """The command with its standard library in another place, whose path is as long."""
    stdlib = sysconfig.get_path("stdlib")
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").symlink_to(Path(sys.prefix, "lib"))
    command = tmp_path / "bin/pyvmm"
    data = PYVMM.read_bytes()
    for encoding in ("ascii", "utf-32-le"):  # for the interpreter it is a wide string
        data = data.replace(stdlib.encode(encoding), place.encode(encoding))
    command.write_bytes(data)
    command.chmod(0o755)
    return command


@pytest.mark.parametrize("words", [["boot", "x", "--zzz"], ["build", "x.pas"]])
def test_a_python_that_is_gone_is_one_line(tmp_path: Path, words: list[str]) -> None:
    """As after an upgrade of the system: the executable is there, its standard library is not."""
    gone = sysconfig.get_path("stdlib")[:-1] + "x"
    command = with_stdlib(tmp_path, gone)
    done = subprocess.run([command, *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        f"pyvmm: {gone}: No such file or directory; this pyvmm was built for the Python there; install pyvmm again\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize("words", [["boot", "x", "--zzz"], ["build", "x.pas"]])
def test_a_python_that_may_not_be_read_is_one_line(words: list[str]) -> None:
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        hidden = Path("/tmp", str(os.getpid()).rjust(len(sysconfig.get_path("stdlib")) - len("/tmp//x"), "_"))
        hidden.mkdir(mode=0o700)
        (hidden / "x").mkdir()
        command = with_stdlib(Path(folder), f"{hidden}/x")
        done = subprocess.run([command, *words], capture_output=True, text=True, timeout=60, user=65534, group=65534)
        shutil.rmtree(hidden)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        f"pyvmm: {hidden}/x: Permission denied; this pyvmm was built for the Python there; "
        "let this user read it, or install pyvmm for another Python\n"
    )


def test_a_source_that_has_changed_since_is_used() -> None:
    source = ROOT / "pyvmm/errors.py"
    before = source.stat()
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:
        done = run("boot", "/no/such")
    finally:
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert done.stderr == "pyvmm: /no/such: No such file or directory\n"
