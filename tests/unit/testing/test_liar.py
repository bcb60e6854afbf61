"""pyvmm.testing.liar: the oracle sees each lie that a driver can see."""

from __future__ import annotations

import pytest
from virtiodev import Echo

from pyvmm.testing import LIES, Liar, Notify, Offer, Start, Wait, run
from pyvmm.testing.steps import Step

CHAIN: list[Step] = [Offer(0, (b"text",), (10,)), Notify(0), Wait()]
SEEN = {
    "no such head": "queue 0: the device has returned chain 65535 that it was never given",
    "another head": "queue 0: the device has returned chain 3 that it was never given",
    "twice": "queue 0: the device has returned 2 chains, but had 1",
    "more than there is room for": "queue 0: the device says that it has written 4294967280 bytes to chain 7",
    "index forward": "queue 0: the device has returned 1001 chains, but had 1",
    "index back": "queue 0: the device has returned 65535 chains, but had 1",
    "needs a reset": "the device needs a reset, though its driver is honest: ",
    "nothing written": "",
    "interrupts": "",
    "other configuration": "",
}


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_seen_that_can_be(lie: str) -> None:
    outcome = run([Start((8, 8)), *CHAIN], lambda: Liar(Echo(), lie), honest=True)
    assert outcome.problem.startswith(SEEN[lie])
    assert bool(outcome.problem) == bool(SEEN[lie])


def test_it_begins_when_it_is_told_to() -> None:
    steps = [Start((8, 8)), *CHAIN, *CHAIN]
    assert not run(steps, lambda: Liar(Echo(), "twice", after=2), honest=True).problem
    assert not run(steps, lambda: Liar(Echo(), "twice", queue=1), honest=True).problem
    assert run(steps, lambda: Liar(Echo(), "twice", after=1), honest=True).problem


def test_it_says_of_itself_what_the_device_says() -> None:
    echo = Echo()
    liar = Liar(echo, "twice")
    assert (liar.device_id, liar.queue_sizes, liar.config, liar.name) == (42, (8, 256), b"configuration", "echo")
