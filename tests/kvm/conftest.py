"""Tests that need /dev/kvm: skipped if it cannot be opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from guests import Assembler, Result
from machines import Bare

from pyvmm.config import MachineConfig
from pyvmm.errors import PyvmmError
from pyvmm.kvm import Kvm
from pyvmm.machine import Machine


@pytest.fixture(scope="session", autouse=True)
def _needs_kvm() -> None:
    try:
        Kvm().close()
    except PyvmmError as error:
        pytest.skip(f"needs KVM: {error}")


@pytest.fixture
def kvm() -> Iterator[Kvm]:
    """The device."""
    with Kvm() as opened:
        yield opened


@pytest.fixture
def bare(kvm: Kvm) -> Iterator[Bare]:
    """A VM without an irqchip."""
    made = Bare(kvm)
    yield made
    made.close()


@pytest.fixture
def machine(assemble: Assembler) -> Iterator[Callable[..., Machine]]:
    """Makes machines of guests' source, which end with the test: `machine(source, cpus=2)`."""
    made: list[Machine] = []

    def make(source: str, **config: object) -> Machine:
        made.append(Machine(MachineConfig(assemble(source), **config), console=(0, 1)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=["composed", "cached"])
def way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Runs a test twice: with an empty boot cache, then with what the first run has left in it.

    A guest is composed by Python in one, and thawed before there is an interpreter in the other.
    """
    way = str(request.param)
    test = re.sub(r"\W+", "-", request.node.nodeid.replace(way, ""))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache" / test[-200:]))
    return way


@pytest.fixture
def boot(boot: Callable[..., Result], way: str) -> Callable[..., Result]:
    """Boots a guest, in both ways."""
    return boot
