"""Toro's drivers and devices that lie: the driver gives such a device up, or starts it again, and the guest goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fusedev import FuseDirectory
from programs import Programs

from pyvmm.config import MachineConfig
from pyvmm.machine import Machine
from pyvmm.testing import LIES, Liar
from pyvmm.virtio.console import VirtioConsole

if TYPE_CHECKING:
    from pyvmm.eventloop import Loop

#: What changes nothing that a driver may rely on.
HARMLESS = {"interrupts", "other configuration"}
#: What comes of a reply that is not there yet: an entry that comes twice may be taken for the next request's.
EMPTY = {True: ("lookup 2", "open 2"), False: ()}


def run(programs: Programs, program: str, device: Liar, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What the guest prints, which ends by itself."""
    with Machine(MachineConfig(programs.image(program)), [device], console=(0, 1)) as machine:
        assert machine.run() == 0
    return capfd.readouterr().out.splitlines()


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A directory for the guest."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given/hello").write_text("Hello, world\n")
    return tmp_path


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("lie", LIES)
def test_files_fail_with_an_error(
    programs: Programs, given: Path, capfd: pytest.CaptureFixture[str], lie: str, after: int
) -> None:
    device = Liar(FuseDirectory(given), lie, after)
    (said,) = run(programs, "FilesTampered", device, capfd)
    assert device.told
    assert (said == "nothing failed") == (lie in HARMLESS)
    operations = ("init 19", "getattr 5", "lookup 5", "open 5", "write 5")
    assert said in ("nothing failed", *operations, *EMPTY[lie == "twice"])


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie not in HARMLESS])
def test_a_device_that_lies_once_costs_one_error_at_most(
    programs: Programs, given: Path, capfd: pytest.CaptureFixture[str], lie: str
) -> None:
    """As a rule it is started again and nothing fails; a request that meets the damaged ring fails with EIO."""
    device = Liar(FuseDirectory(given), lie, after=2, once=True)
    (said,) = run(programs, "FilesTampered", device, capfd)
    assert device.told == 1
    assert device.resets <= 1
    assert said in ("nothing failed", "lookup 5", "open 5", "write 5", *EMPTY[lie == "twice"])


class Typed:
    """The host's end of a console: three lines that come when the guest can take them."""

    def __init__(self) -> None:
        self._left = b"one\ntwo\nend\n"
        self.said = b""

    def attach(self, loop: Loop, changed: Callable[[], None]) -> None:
        """Nothing changes by itself."""

    def read(self, size: int) -> bytes:
        """The next of it."""
        read, self._left = self._left[:size], self._left[size:]
        return read

    def write(self, data: memoryview) -> int:
        """Takes all."""
        self.said += bytes(data)
        return len(data)

    def close(self) -> None: ...


#: What a driver cannot know to be a lie of a receive queue: buffers come back in any order, and may be empty.
UNKNOWABLE = {"another head", "nothing written"}
RECEIVE, TRANSMIT = 0, 1


@pytest.mark.parametrize(
    ("lie", "queue", "after"),
    [
        *((lie, RECEIVE, 0) for lie in LIES if lie not in UNKNOWABLE),
        *((lie, TRANSMIT, after) for lie in LIES for after in (0, 1)),
    ],
)
def test_a_console_ends(
    programs: Programs, capfd: pytest.CaptureFixture[str], lie: str, queue: int, after: int
) -> None:
    typed = Typed()
    device = Liar(VirtioConsole(typed), lie, after, queue)
    ready, lines = run(programs, "ConsoleEcho", device, capfd)
    assert ready == "ready"
    assert lines in ("0 lines", "2 lines")
    assert device.told
    assert b"ONE\nTWO\ngoodbye\n".startswith(typed.said)
    if lie in HARMLESS:
        assert typed.said == b"ONE\nTWO\ngoodbye\n"
