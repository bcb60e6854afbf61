"""Container engines, each with a store of its own, and images to run by them.

Where an engine is missing, or cannot run an ordinary container, its tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from guests import toro_image

from pyvmm.oci.image import full_name, write_image

EXAMPLES = Path(__file__).parents[1] / "examples"
RUNTIME = str(Path(sys.executable).parent / "pyvmm-oci")
#: Toro programs; and Linux programs, of which `pause` is that of a pod's first container.
PROGRAMS = ("HelloWorld", "HashTableServer", "StaticWebServer")
_LINUX = {
    "pause": "#include <unistd.h>\nint main(void) { return pause(); }",
    "sidecar": """
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    puts("Hello from Linux");
    fflush(stdout);
    if (argc > 1 && argv[1])
        pause();
    return 7;
}
""",
}


@dataclass
class Done:
    """A command that has ended: its status and output."""

    status: int
    out: str
    err: str


def run(words: Sequence[str], timeout: float = 110, **how: object) -> Done:
    """Runs a command to its end."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False, **how)  # type: ignore[call-overload]
    return Done(done.returncode, done.stdout, done.stderr)


def free_port() -> int:
    """A port of TCP at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def fetch(port: int, path: str, host: str = "127.0.0.1") -> str:
    """What a web server answers, once it listens."""
    end = monotonic() + 60
    while True:
        try:
            with urlopen(f"http://{host}:{port}{path}", timeout=60) as answer:
                text: bytes = answer.read()
                return text.decode()
        except HTTPError:
            raise
        except OSError:  # nobody listens yet
            assert monotonic() < end, f"nobody answers at port {port}"
            sleep(0.02)


def needs(*programs: str) -> None:
    """Skips the test if one of them is not installed."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for program in programs:
        if not shutil.which(program, path=path):
            pytest.skip(f"{program} is not installed (make test-engines)")


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The archive of each image, by the program's name in lower case."""
    if not Path(RUNTIME).exists():
        pytest.skip("pyvmm-oci is not installed: this Python is not there as a library")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("/dev/kvm cannot be opened")
    needs("ppcx64", "gcc")
    folder = tmp_path_factory.mktemp("images")
    made = {}
    for name in PROGRAMS:
        elf = Path(toro_image(EXAMPLES / name / f"{name}.pas", folder))
        made[name.lower()] = folder / f"{name}.tar"
        write_image(made[name.lower()], full_name(name.lower()), elf.read_bytes())
    for name, source in _LINUX.items():
        (folder / f"{name}.c").write_text(source)
        subprocess.run(["gcc", "-static", "-O2", "-o", folder / name, folder / f"{name}.c"], check=True)
        made[name] = folder / f"{name}.tar"
        write_image(made[name], full_name(name), (folder / name).read_bytes())
    return made


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with a page in it."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("a page\n")
    return folder


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Waits until a condition holds, which is looked at often."""
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, f"never: {what}"
        sleep(0.02)
