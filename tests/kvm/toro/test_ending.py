"""SIGTERM: a program is asked to end, and ended if it does not."""

from __future__ import annotations

import signal
import subprocess

import pytest
from guests import PYVMM
from programs import Programs


def asked(programs: Programs, what: str, *options: str, times: int = 1) -> tuple[int, bytes, bytes]:
    """Status, output and messages of a program that was told to do `what`, and was sent SIGTERM meanwhile."""
    command = [PYVMM, "boot", programs.image("Ending"), "--append", what, *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest:
        assert guest.stdout
        assert guest.stdout.readline() == b"ready\n"
        for _ in range(times):
            guest.send_signal(signal.SIGTERM)
        out, err = guest.communicate(timeout=60)
        return guest.returncode, out, err


@pytest.mark.parametrize("cpus", ["1", "2"])
@pytest.mark.parametrize("doing", ["sleep", "yield", "over"])
def test_its_shutdown_procedure_runs(programs: Programs, doing: str, cpus: str) -> None:
    assert asked(programs, doing, "--cpus", cpus) == (143, b"goodbye\n", b"")


def test_also_while_another_core_is_busy(programs: Programs) -> None:
    assert asked(programs, "core", "--cpus", "2") == (143, b"goodbye\n", b"")


def test_the_program_may_say_another_status(programs: Programs) -> None:
    assert asked(programs, "sleep,status") == (7, b"goodbye\n", b"")


def test_a_program_without_one_just_ends(programs: Programs) -> None:
    assert asked(programs, "sleep,none") == (143, b"", b"")


@pytest.mark.parametrize("what", ["spin", "sleep,hang"])
def test_one_that_does_not_end_is_ended(programs: Programs, what: str) -> None:
    status, out, err = asked(programs, what)
    assert (status, err) == (143, b"")
    assert out in (b"", b"goodbye\n")


def test_asking_again_ends_it_at_once(programs: Programs) -> None:
    status, _, err = asked(programs, "sleep,hang", times=50)
    assert (status, err) == (143, b"")
