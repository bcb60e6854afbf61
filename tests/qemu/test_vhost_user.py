"""A backend of vhost-user-py, with QEMU as its frontend."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import pyvmm, wait_until

from pyvmm.build import build

ROOT = Path(__file__).parents[2]
QEMU = "qemu-system-x86_64"
MACHINE = (
    "-accel tcg,thread=multi -cpu max -nodefaults -no-user-config -display none -no-reboot -serial stdio -m 256 -smp 2 "
    "-M microvm,acpi=off,memory-backend=ram -object memory-backend-memfd,id=ram,size=256M,share=on "
    "-global virtio-mmio.force-legacy=false -device isa-debug-exit,iobase=0xf4,iosize=4"
).split()
HELLO = hashlib.sha256(b"Hello from a process of the host".ljust(63) + b"\n").hexdigest()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Writes the hash of each file."""
    if not shutil.which("ppcx64"):
        pytest.skip("Free Pascal (fp-compiler) is not installed")
    return str(build(str(ROOT / "tests/kvm/toro/Trees.pas"), str(tmp_path_factory.mktemp("trees") / "Trees.elf")))


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Path]:
    """The example, which listens."""
    path = tmp_path / "motd.sock"
    with subprocess.Popen([sys.executable, ROOT / "examples/VhostUser/motdfs.py", path]) as process:
        wait_until(path.exists, "the backend's socket")
        yield path
        process.kill()


def hashes(console: bytes) -> dict[str, str]:
    """By file; what firmware says comes before."""
    words = [line.split() for line in console.decode(errors="replace").splitlines()[-3:]]
    return {path: digest for digest, path in words}


def test_qemu_is_a_frontend_of_it(image: str, backend: Path) -> None:
    if not shutil.which(QEMU):
        pytest.skip("needs qemu-system-x86")
    device = ["-chardev", f"socket,id=motd,path={backend}", "-device", "vhost-user-fs-device,chardev=motd,tag=FS"]
    for _ in range(2):  # one after the other
        command = [QEMU, *MACHINE, "-kernel", image, *device]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False)
        assert result.returncode == 1, result.stderr.decode()  # isa-debug-exit: twice 0, plus one
        there = hashes(result.stdout)
        assert set(there) == {"/hello", "/time", "/reads"}
        assert there["/hello"] == HELLO


def test_pyvmm_is_a_frontend_of_it(image: str, backend: Path) -> None:
    result = pyvmm("boot", image, "--cpus", "2", "--share", f"socket={backend}:FS")
    assert (result.status, result.stderr) == (0, "")
    assert hashes(result.stdout)["/hello"] == HELLO
