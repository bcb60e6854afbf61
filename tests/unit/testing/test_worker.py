"""pyvmm.testing.worker: each mistake of a device is seen, and none where there is none."""

from __future__ import annotations

import broken
import pytest
from guests import open_fds
from virtiodev import Echo

from pyvmm.errors import HostError
from pyvmm.testing import Notify, Offer, Read, Start, Store, Wait, Write, run
from pyvmm.testing import registers as r
from pyvmm.testing.steps import AVAIL, DESC, USED, Describe, Expose, Jump, Step, queue_base
from pyvmm.testing.worker import Worker
from pyvmm.virtio.device import Device

START = Start((8,))
OFFER: list[Step] = [START, Offer(0, (b"text",), (10,)), Notify(0), Wait((0,))]


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        (broken.WritesMore, "queue 0: the device says that it has written 11 bytes to chain 7, which has room for 10"),
        (broken.ReturnsTwice, "queue 0: the device has returned 2 chains, but had 1"),
        (broken.ReturnsAnother, "queue 0: the device has returned chain 6 that it was never given"),
        (broken.Raises, "the device's code has raised LookupError: no idea (broken.py:"),
        (broken.Silent, "the device has returned chains without an interrupt, which the driver wants"),
        (broken.Keeps, "queue 0: the device does not return what it was offered"),
        (broken.Scribbles, "the device has changed guest memory at 0x41000a, in no writable buffer"),
        (broken.Hangs, "the device hangs: no end within 1 s"),
        (broken.Crashes, "the device's process was killed by SIGSEGV"),
        (broken.Exits, "the device's process has ended with status 7"),
    ],
)
def test_each_mistake_is_seen(device: type[Device], problem: str) -> None:
    before = open_fds()
    outcome = run(OFFER, device, honest=True, limit=1 if device is broken.Hangs else 10)
    assert outcome.problem.startswith(problem)
    assert open_fds() == before


def test_a_hang_and_a_crash_tell_where() -> None:
    for device in (broken.Hangs, broken.Crashes):
        assert "broken.py" in run(OFFER, device, limit=1).details


def test_a_chain_that_comes_back_again_is_seen() -> None:
    class Again(broken.Wrong):
        """Returns the first chain once more, instead of the second."""

        first = -1

        def serve(self, chain: object) -> int:
            self.first = chain.head if self.first < 0 else self.first  # type: ignore[attr-defined]
            chain.head = self.first  # type: ignore[attr-defined]
            return 0

    steps = [START, Offer(0, (b"a",)), Offer(0, (b"b",)), Notify(0), Wait()]
    assert run(steps, Again).problem == "queue 0: the device has returned chain 7 again"


def test_memory_is_not_the_devices_after_a_reset() -> None:
    steps = [*OFFER, START, Wait()]
    assert "changed guest memory at 0x410000" in run(steps, broken.WritesAfterReset).problem


def test_a_device_without_a_mistake_passes() -> None:
    steps = [
        *OFFER,
        Offer(0, (b"a", b"b"), (1, 1)),
        Offer(0, (), (4096,)),
        Notify(0),
        Wait((0,)),
        *(Read(offset) for offset in r.NAMES if offset != r.QUEUE_NOTIFY),
        Write(r.QUEUE_SEL, 5),
        Read(r.QUEUE_NUM_MAX),
        *OFFER,
    ]
    outcome = run(steps, Echo, honest=True)
    assert not outcome.problem
    assert "0x0f off:1 offered:1 Notify" in outcome.states


@pytest.mark.parametrize(
    "steps",
    [
        [START, Jump(0, 9), Notify(0), Wait()],
        [START, Jump(0, 3), Notify(0), Wait()],
        [START, Expose(0, 8), Notify(0), Wait()],
        [START, Describe(0, 0, queue_base(0) + DESC, 128, 2), Expose(0, 0), Notify(0), Wait()],
        [START, Describe(0, 0, queue_base(0) + USED, 64, 2), Expose(0, 0), Notify(0), Wait()],
        [START, Describe(0, 0, 0, 1 << 31, 2), Expose(0, 0), Notify(0), Wait()],
        [START, Describe(0, 0, 5, 5, 1, 0), Expose(0, 0), Notify(0), Wait()],
        [*OFFER, Store(queue_base(0) + USED + 2, b"\7\0"), Store(queue_base(0) + AVAIL, b"\1"), Notify(0), Wait()],
        [Write(r.STATUS, 15), Write(r.QUEUE_READY, 1), Notify(0), Notify(9), Wait()],
    ],
    ids=lambda steps: str(steps[1]),
)
def test_what_is_the_drivers_fault_is_not_blamed_on_the_device(steps: list[Step]) -> None:
    assert not run(steps, Echo).problem


def test_an_honest_driver_is_not_refused() -> None:
    outcome = run([START, Expose(0, 8), Notify(0), Wait()], Echo, honest=True)
    assert outcome.problem.startswith("the device needs a reset, though its driver is honest")


def test_a_worker_runs_many_cases_and_starts_anew_after_a_problem() -> None:
    before = open_fds()
    with Worker(broken.WritesMore) as worker:
        for _ in range(3):
            assert not worker.run([START]).problem
            assert worker.run(OFFER).kind == run(OFFER, broken.WritesMore).kind
    assert open_fds() == before


def test_what_shows_only_after_other_cases_is_not_a_problem() -> None:
    class Second(broken.Wrong):
        """Remembers that another device was there before, which is not what is looked for."""

        made: list[int] = []  # noqa: RUF012 - as a careless user has it

        def serve(self, chain: object) -> int:
            self.made.append(1)
            return len(self.made) - 1 and 1000

    with Worker(Second) as worker:
        assert not worker.run(OFFER).problem
        assert not worker.run(OFFER).problem


def test_a_device_that_cannot_be_made_is_an_error() -> None:
    def make() -> Device:
        raise HostError("something", 2)

    with pytest.raises(Exception, match="something: No such file or directory"):
        run([START], make)
