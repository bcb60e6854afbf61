"""vhost-user backends with QEMU as frontend: one made with vhost-user-py, and the real virtiofsd."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from guests import MADE, pyvmm, toro_image, wait_until
from microvm import ACCELERATORS, boot, share

ROOT = Path(__file__).parents[2]
TORO = ROOT / "tests/kvm/toro"
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
HELLO = hashlib.sha256(b"Hello from a process of the host".ljust(63) + b"\n").hexdigest()

pytestmark = pytest.mark.skipif(not MADE and not shutil.which("ppcx64"), reason="needs fp-compiler")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Writes the hash of each file."""
    return toro_image(TORO / "Trees.pas", tmp_path_factory.mktemp("trees"))


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Path]:
    """The example, which listens."""
    path = tmp_path / "motd.sock"
    with subprocess.Popen([sys.executable, ROOT / "examples/VhostUser/motdfs.py", path]) as process:
        wait_until(path.exists, "the backend's socket")
        yield path
        process.kill()


def hashes(console: bytes, files: int) -> dict[str, str]:
    """By file; what firmware says comes before."""
    words = [line.split(" ", 1) for line in console.decode(errors="replace").splitlines()[-files:]]
    return {path: digest for digest, path in words}


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_qemu_is_a_frontend_of_it(image: str, backend: Path, accelerator: str) -> None:
    for _ in range(2):  # one after the other
        status, console = boot(image, *share(backend, "FS"), accelerator=accelerator, cpus=2)
        there = hashes(console, 3)
        assert status == 0
        assert set(there) == {"/hello", "/time", "/reads"}
        assert there["/hello"] == HELLO


def test_pyvmm_is_a_frontend_of_it(image: str, backend: Path) -> None:
    result = pyvmm("boot", image, "--cpus", "2", "--share", f"socket={backend}:FS")
    assert (result.status, result.stderr) == (0, "")
    assert hashes(result.stdout, 3)["/hello"] == HELLO


@contextmanager
def virtiofsd(folder: Path, socket: Path) -> Iterator[None]:
    """Serves a directory to one client."""
    options = [f"--socket-path={socket}", "-f", "-o", "cache=auto,log_level=err", "-o", f"source={folder}"]
    with subprocess.Popen([VIRTIOFSD, *options], stderr=subprocess.DEVNULL) as server:
        wait_until(socket.exists, "virtiofsd's socket")
        yield
        server.wait(60)
    socket.unlink(missing_ok=True)


@pytest.mark.skipif(not os.access(VIRTIOFSD, os.X_OK), reason="needs virtiofsd (Debian 12: qemu-system-common)")
@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_a_directory_of_the_host_is_the_same_there(image: str, tmp_path: Path, accelerator: str) -> None:
    shared = tmp_path / "shared"
    (shared / "ünïcödé/a directory").mkdir(parents=True)
    random = Random(1)
    for size in (0, 1, 4097, (1 << 20) + 1):
        (shared / f"{size} bytes").write_bytes(random.randbytes(size))
        (shared / f"ünïcödé/a directory/{size}").write_bytes(random.randbytes(size))
    with virtiofsd(shared, tmp_path / "fs.sock"):
        status, console = boot(image, *share(tmp_path / "fs.sock", "FS"), accelerator=accelerator, cpus=2)
    assert status == 0
    files = {f"/{path.relative_to(shared)}": path for path in shared.rglob("*") if path.is_file()}
    there = hashes(console, len(files))
    assert there == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    here = pyvmm("boot", image, "--cpus", "2", "--share", f"{shared}:FS")
    assert hashes(here.stdout, len(files)) == there


@pytest.mark.skipif(not os.access(VIRTIOFSD, os.X_OK), reason="needs virtiofsd (Debian 12: qemu-system-common)")
@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_files_work_there(tmp_path: Path, accelerator: str) -> None:
    """What tests/kvm/toro/test_shares.py has of pyvmm."""
    given = tmp_path / "shared/given"
    given.mkdir(parents=True)
    (given / "hello").write_text("Hello, world\n")
    (given / "a name with spaces and ünïcödé").touch()
    kernel = toro_image(TORO / "Files.pas", tmp_path)
    with virtiofsd(given.parent, tmp_path / "fs.sock"):
        status, console = boot(kernel, *share(tmp_path / "fs.sock", "FS"), accelerator=accelerator, cpus=2)
    lines = console.decode(errors="replace").splitlines()[-40:]
    assert status == 0
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert sorted(path.name for path in given.parent.iterdir()) == ["given"]
