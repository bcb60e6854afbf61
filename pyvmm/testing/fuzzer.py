"""Looks for cases that a device does not survive, and makes each as short as it can.

hypothesis makes the cases, of honest drivers and of hostile ones in turn, and shrinks one
that shows a problem. Problems of one kind are reported once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import hypothesis
from hypothesis.errors import HypothesisException

from pyvmm.errors import PyvmmError
from pyvmm.testing.profile import profile_of
from pyvmm.testing.strategies import honest_cases, hostile_cases
from pyvmm.testing.worker import HANG, LIMIT, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.testing.steps import Step
    from pyvmm.testing.worker import Outcome
    from pyvmm.virtio.device import Device

#: Cases in a row by one kind of driver.
_ROUND = 40
#: Seconds that it may take to make one case shorter.
_SHRINK = 30.0


@dataclass
class Finding:
    """A problem of the device, and a case that shows it.

    Attributes:
        problem, details, kind: as of its `Outcome`.
        steps: the case, as short as there was time for.
        honest: its driver does nothing wrong.
    """

    problem: str
    details: str
    kind: str
    steps: list[Step]
    honest: bool

    def __str__(self) -> str:
        driver = "an honest driver" if self.honest else "a hostile driver"
        lines = [f"{self.problem}", f"after {len(self.steps)} steps of {driver}:"]
        lines += [f"  {number}. {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join(lines)


@dataclass
class Report:
    """What came of it.

    Attributes:
        cases: how many were run, those to shrink others not counted.
        steps: of all these.
        states: what was seen: Status, the states of queues, and the kind of step that followed.
        findings: what the device did wrong, each once.
    """

    cases: int = 0
    steps: int = 0
    states: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.cases} cases, {self.steps} steps, {len(self.states)} states, {len(self.findings)} findings"]
        return "\n".join([*lines, *map(str, self.findings)])


class _FoundError(Exception):
    """The case shows a problem that is new, or the one that is being made shorter."""


class _OverError(BaseException):
    """The time is up. hypothesis lets it pass."""


class _Fuzzer:
    def __init__(self, make: Callable[[], Device], seconds: float, limit: float) -> None:
        self._limit = limit
        self._worker = Worker(make, limit)
        self._profile = profile_of(make())
        self._end = monotonic() + seconds
        self._known: set[str] = set()
        self.report = Report()

    def run(self, seed: int, found: Callable[[Finding], object]) -> None:
        number = 0
        with self._worker:
            while monotonic() < self._end:
                try:
                    finding = self._round(seed * 1_000_003 + number, honest=number % 2 == 0)
                except PyvmmError:
                    if self.report.findings:  # of a backend that is gone since
                        return
                    raise
                number += 1
                if finding:
                    self.report.findings.append(finding)
                    found(finding)

    def _round(self, seed: int, honest: bool) -> Finding | None:
        """Runs some cases until one shows a problem."""
        cases = honest_cases(self._profile) if honest else hostile_cases(self._profile)
        best: list[tuple[list[Step], Outcome]] = []
        gone: list[PyvmmError] = []
        end = self._end

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=_ROUND,
            database=None,
            deadline=None,
            verbosity=hypothesis.Verbosity.quiet,
            report_multiple_bugs=False,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(cases)
        def attempt(steps: list[Step]) -> None:
            nonlocal end
            if monotonic() > end:
                raise _OverError
            try:
                outcome = self._worker.run(steps, honest)
            except PyvmmError as error:
                gone.append(error)
                raise _OverError from None
            if not best:
                self.report.cases += 1
                self.report.steps += len(steps)
                self.report.states |= outcome.states
            if not outcome.problem or outcome.kind in self._known or (best and outcome.kind != best[0][1].kind):
                return
            if not best:
                end = monotonic() + _SHRINK
                if outcome.kind == HANG:  # or it would take minutes
                    self._worker.limit = min(self._worker.limit, _SHRINK / 20)
            if not best or len(steps) <= len(best[0][0]):
                best[:] = [(steps, outcome)]
            raise _FoundError

        try:
            attempt()
        except (_FoundError, HypothesisException, _OverError):
            pass
        if gone and not best:
            raise gone[0]
        if not best:
            return None
        ((steps, outcome),) = best
        self._known.add(outcome.kind)
        steps = self._shortest(steps, outcome.kind, honest)
        self._worker.limit = self._limit
        return Finding(outcome.problem, outcome.details, outcome.kind, steps, honest)

    def _shortest(self, steps: list[Step], kind: str, honest: bool) -> list[Step]:
        """Leaves out each step that is not needed, as far as there is time."""
        end = monotonic() + _SHRINK / 3
        for index in reversed(range(len(steps))):
            if monotonic() > end:
                break
            fewer = steps[:index] + steps[index + 1 :]
            try:
                if self._worker.run(fewer, honest).kind == kind:
                    steps = fewer
            except PyvmmError:  # a backend that is gone
                break
        return steps


def fuzz(
    make: Callable[[], Device],
    seconds: float = 10.0,
    seed: int = 0,
    found: Callable[[Finding], object] = lambda _: None,
    limit: float = LIMIT,
) -> Report:
    """Tests a device with drivers that are honest and drivers that are not.

    Args:
        make: makes the device; a class of devices will do.
        seconds: how long to look. To make a case shorter takes up to half a minute more.
        seed: another one leads to other cases.
        found: called with each finding at once.
        limit: seconds that one case may take before the device counts as hung.

    Raises:
        PyvmmError: the device cannot be made.

    Example::

        def test_entropy():
            report = fuzz(Entropy, seconds=20)
            assert not report.findings, report
    """
    fuzzer = _Fuzzer(make, seconds, limit)
    fuzzer.run(seed, found)
    return fuzzer.report
