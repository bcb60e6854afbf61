"""MPI's matching of messages and receives (toro/mpi/match.c), compared with a model."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ANY = -1

CONTEXTS, SOURCES, TAGS = st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)
WANTED_SOURCES, WANTED_TAGS = st.integers(ANY, 2), st.integers(ANY, 2)
Triple = tuple[int, int, int]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("matching") / "matching.so"
    places = [f"-I{ROOT / 'toro' / name}" for name in ("mpi", "c")]
    command = ["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *places]
    subprocess.run([*command, str(HERE / "matching.c"), "-o", str(path)], check=True)
    return path


def fits(message: Triple, receive: Triple) -> bool:
    return message[0] == receive[0] and all(
        want in (ANY, have) for have, want in zip(message[1:], receive[1:], strict=True)
    )


def test_matching_is_in_the_order_of_the_standard(library: Path) -> None:
    class Matching(RuleBasedStateMachine):
        """Receives that were posted and messages that were kept, oldest first."""

        def __init__(self) -> None:
            super().__init__()
            self.code = ctypes.CDLL(str(library))
            self.posted: list[tuple[Triple, int]] = []
            self.kept: list[tuple[Triple, int]] = []
            self.number = 0

        def teardown(self) -> None:
            for _, number in self.posted:
                self.code.cancel(number)
            while self.kept:
                assert self.code.receive(*self.kept[0][0], 0) == self.kept.pop(0)[1]

        @rule(context=CONTEXTS, source=SOURCES, tag=TAGS)
        def arrive(self, context: int, source: int, tag: int) -> None:
            message = (context, source, tag)
            self.number += 1
            found = next((entry for entry in self.posted if fits(message, entry[0])), None)
            assert self.code.arrive(*message, self.number) == (found[1] if found else -1)
            if found:
                self.posted.remove(found)
            else:
                self.kept.append((message, self.number))

        @rule(context=CONTEXTS, source=WANTED_SOURCES, tag=WANTED_TAGS)
        def receive(self, context: int, source: int, tag: int) -> None:
            wanted = (context, source, tag)
            self.number += 1
            found = next((entry for entry in self.kept if fits(entry[0], wanted)), None)
            assert self.code.probe(*wanted) == (found[1] if found else -1)
            assert self.code.receive(*wanted, self.number) == (found[1] if found else -1)
            if found:
                self.kept.remove(found)
            else:
                self.posted.append((wanted, self.number))

        @precondition(lambda self: self.posted)
        @rule(data=st.data())
        def cancel(self, data: st.DataObject) -> None:
            entry = data.draw(st.sampled_from(self.posted))
            self.posted.remove(entry)
            self.code.cancel(entry[1])

    run_state_machine_as_test(Matching, settings=settings(max_examples=200, stateful_step_count=40, deadline=None))
