"""A guest as a pytest fixture: pytest test_guest.py"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyvmm import Machine, MachineConfig, build

HELLO = Path(__file__).resolve().parents[1] / "HelloWorld" / "HelloWorld.pas"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """HelloWorld, compiled once."""
    return str(build(str(HELLO), str(tmp_path_factory.mktemp("images") / "hello.elf")))


@pytest.fixture(params=[1, 2])
def guest(image: str, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine that runs, of one core and of two; it ends with the test."""
    with Machine(MachineConfig(image, cpus=request.param)) as machine:
        machine.start()
        yield machine


def test_it_says_how_many_cores_it_has(guest: Machine) -> None:
    assert guest.console
    guest.console.read_until(b"Hello World, I am TORO!\n")
    assert guest.console.read_until(b"\n").startswith(b"%d cores" % guest.config.cpus)
    assert guest.wait(timeout=60) == 0
