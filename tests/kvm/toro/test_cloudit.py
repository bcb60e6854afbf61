"""examples/CloudIt.py: what its users type works on pyvmm."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
from guests import PYVMM, needs_compiler

CLOUDIT = Path(__file__).parents[3] / "examples/CloudIt.py"
pytestmark = needs_compiler

PROGRAM = """program Main;
uses Kernel, Arch, Console, Debug, Filesystem, VirtIOFS;
var
  F: THandle;
  Text: array[0..4] of Char;
begin
  WriteConsoleF('%d cores, %p\\n', [CPU_COUNT, PtrUInt(GetKernelParam(0))]);
  WriteDebug('logged\\n', []);
  DedicateBlockDriver('TAG', 0);
  if not SysMount('virtiofs', 'TAG', 0) then
    Exit;
  F := SysOpenFile('/hello', O_RDONLY);
  SysReadFile(F, 5, @Text);
  WriteConsole(@Text, 5);
end.
"""
ARGS = (
    "-enable-kvm -M microvm,pic=off -m 64 -smp 2 -nographic -append one,two "
    "-device vhost-user-fs-device,queue-size=1024,chardev=char0,tag=TAG -no-reboot"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an application is, with a directory to share."""
    (tmp_path / "Main.pas").write_text(PROGRAM)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/hello").write_text("hello")
    return tmp_path


def cloudit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CLOUDIT), "-a", "Main", *words]
    path = f"{Path(PYVMM).parent}:/usr/bin:/bin"
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, env={"PATH": path, "HOME": "/root"}
    )


def test_an_application_is_built_and_booted(folder: Path) -> None:
    result = cloudit(folder)
    assert (result.returncode, result.stdout) == (0, "1 cores, \n")


def test_the_machine_is_as_qemu_args_says(folder: Path) -> None:
    (folder / "qemu.args").write_text(ARGS)
    result = cloudit(folder, "-d", "files", "-l", "-s", "-c")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "2 cores, one"
    assert "hello" in result.stdout
    assert lines[-1].endswith("logged")


def test_output_goes_to_a_file(folder: Path) -> None:
    result = cloudit(folder, "-o", "said", "-v")
    assert result.returncode == 0
    assert (folder / "said").read_text() == "1 cores, \n"
    assert "pyvmm boot Main.elf --mem 128M --cpus 1" in result.stdout


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("CloudIt", CLOUDIT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ports_pins_and_consoles(tmp_path: Path) -> None:
    args = tmp_path / "qemu.args"
    args.write_text(
        "-m 256M -smp 3 -device vhost-vsock-device,guest-cid=7 -chardev file,path=logs,id=c "
        "-device virtconsole,chardev=c -device vhost-user-fs-device,chardev=d,tag=T -chardev socket,id=d,path=/tmp/s"
    )
    module = load()
    given = Namespace(forward=["4000:80", "4001:81"], pinning=["0", "1"], directory=None)
    options = module.boot_options(given, module.machine(args))
    assert options == [
        *("--mem", "256M", "--cpus", "3", "--vsock", "7", "-p", "4000:80", "-p", "4001:81"),
        *("--console", "virtio=file:logs", "--share", "socket=/tmp/s:T", "--pin", "0,1,0"),
    ]
