"""Tests that need /dev/kvm: skipped if it cannot be opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from guests import Assembler
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
