"""What a taken-over pyvmm can do: `tests/attack/attack.c`, loaded into the real command, tries it in each thread."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Programs
from guests import PYVMM, Assembler

ATTACK = Path(__file__).parents[2] / "attack"
#: Has an exit, and never ends: it does not matter which thread comes first.
WAITS = """
    mov dx, 0x3f8
    out dx, al
"""
#: Ends, so that it can be booted once before: then its State is cached, and it is thawed without Python.
ENDS = "exit 7"
#: Which thread is taken over, of which guest, booted how.
BOOTS = {
    "vCPU": ("vcpu", WAITS, ["--no-cache"]),
    "vCPU beside devices": ("vcpu", "VsockServer", ["--vsock", "5"]),
    "relay": ("relay", "VsockServer", ["--vsock", "5", "-p", "0:80"]),
    "relay with --allow": ("relay", "VsockServer", ["--vsock", "5", "--allow", "80=127.0.0.1:{allowed}"]),
    "main, before devices are attached": ("start", WAITS, ["--no-cache"]),
    "main, without Python": ("lone", ENDS, []),
    "main": ("main", WAITS, ["--no-cache"]),
    "main with devices": ("main", "VsockServer", ["--vsock", "5", "-p", "0:80"]),
    "main with a helper": ("main", "VsockServer", ["--vsock", "5", "--vsock-uds", "{folder}/uds"]),
}
TRIES_MIN = 60
Attack = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("attack") / "attack.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wno-nonnull", "-o", str(made), str(ATTACK / "attack.c")]
    subprocess.run(command, check=True)
    return str(made)


@pytest.fixture
def attack(library: str, programs: Programs, assemble: Assembler, tmp_path: Path) -> Iterator[Attack]:
    """Boots a guest whose pyvmm is taken over."""
    victim, control, forbidden = tmp_path / "victim", tmp_path / "other.control", socket.create_server(("127.0.0.1", 0))
    victim.write_bytes(b"another guest's image")
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(control))
    other.listen()
    port = forbidden.getsockname()[1]

    def run(boot: str, sandbox: str, **how: str) -> subprocess.CompletedProcess[str]:
        thread, program, options = BOOTS[boot]
        image = assemble(program) if program in (WAITS, ENDS) else programs.image(program)
        if program is ENDS:
            assert subprocess.run([PYVMM, "boot", image], timeout=60, check=False).returncode == 7
        options = [option.format(allowed=port + 1, folder=tmp_path) for option in options]
        words = [PYVMM, "boot", image, f"--sandbox={sandbox}", *options]
        environment = os.environ | {
            "LD_PRELOAD": library,
            "ATTACK_THREAD": thread,
            "ATTACK_FILE": str(victim),
            "ATTACK_SOCKET": str(control),
            "ATTACK_PORT": str(port),
        } | how  # fmt: skip
        return subprocess.run(words, env=environment, input="", capture_output=True, text=True, timeout=60)

    yield run
    forbidden.close()
    other.close()
    assert victim.read_bytes() == b"another guest's image"


def results(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What became of each try."""
    return dict(re.findall(r"^(\w+): (refused|REACHED.*)$", done.stderr, re.MULTILINE))


@pytest.mark.parametrize("boot", BOOTS)
def test_everything_is_refused(attack: Attack, boot: str) -> None:
    done = attack(boot, "require")
    found = results(done)
    assert len(found) >= TRIES_MIN, done.stderr
    assert {name: result for name, result in found.items() if result != "refused"} == {}


def test_the_same_works_where_nothing_is_confined(attack: Attack) -> None:
    """Otherwise refusals would say nothing."""
    found = results(attack("main", "off"))
    assert len(found) >= TRIES_MIN
    assert [name for name, result in found.items() if result == "refused"] == []


@pytest.mark.parametrize("boot", BOOTS)
def test_a_violation_ends_the_process_and_is_told(attack: Attack, boot: str) -> None:
    done = attack(boot, "on", ATTACK_ONE="ptrace")
    assert done.returncode == 125
    assert done.stderr.splitlines()[-1] == "pyvmm broke its own sandbox: system call 101, please report"
