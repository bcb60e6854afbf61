"""Toro's drivers and devices that lie: the driver gives such a device up, or starts it again, and the guest goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fusedev import FuseDirectory
from programs import Programs

from pyvmm.config import MachineConfig
from pyvmm.machine import Machine
from pyvmm.testing import LIES, Liar
from pyvmm.testing.vsockpacket import OP_REQUEST, OP_RESPONSE, SIZE, TYPE_STREAM, Header
from pyvmm.virtio.console import VirtioConsole
from pyvmm.virtio.device import Device

if TYPE_CHECKING:
    from pyvmm.eventloop import Loop
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import SplitQueue

#: What changes nothing that a driver may rely on.
HARMLESS = {"interrupts", "other configuration"}
#: What comes of a reply that is not there yet: an entry that comes twice may be taken for the next request's.
EMPTY = {True: ("lookup 2", "open 2"), False: ()}


#: What a driver says, once, when it gives a device up; and lies that it cannot miss.
GIVEN_UP = re.compile(
    r"virtio-(\w+): the device (?:needs a reset|has damaged its queue|does not answer as it should), and is given up"
)
PLAIN = {"no such head", "index forward", "index back"}


def run(programs: Programs, program: str, device: Liar, capfd: pytest.CaptureFixture[str]) -> tuple[list[str], bool]:
    """What the guest prints, which ends by itself, and whether its driver gives the device up."""
    with Machine(MachineConfig(programs.image(program)), [device], console=(0, 1)) as machine:
        assert machine.run() == 0
    lines = capfd.readouterr().out.splitlines()
    told = [match[1] for line in lines if (match := GIVEN_UP.fullmatch(line))]
    assert told in ([], [device.name])
    return [line for line in lines if not GIVEN_UP.fullmatch(line)], bool(told)


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
    (said,), given_up = run(programs, "FilesTampered", device, capfd)
    assert device.told
    assert given_up == (said == "init 19")
    assert (said == "nothing failed") == (lie in HARMLESS)
    operations = ("init 19", "getattr 5", "lookup 5", "open 5", "write 5")
    assert said in ("nothing failed", *operations, *EMPTY[lie == "twice"])


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie not in HARMLESS])
def test_a_device_that_lies_once_costs_one_error_at_most(
    programs: Programs, given: Path, capfd: pytest.CaptureFixture[str], lie: str
) -> None:
    """As a rule it is started again and nothing fails; a request that meets the damaged ring fails with EIO."""
    device = Liar(FuseDirectory(given), lie, after=2, once=True)
    (said,), given_up = run(programs, "FilesTampered", device, capfd)
    assert not given_up
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
#: What makes no difference to a queue.
UNNOTICED = {*HARMLESS, "more than there is room for", "nothing written"}
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
    (ready, lines), given_up = run(programs, "ConsoleEcho", device, capfd)
    assert given_up or lie not in PLAIN or after
    assert not given_up or lie not in UNNOTICED
    assert ready == "ready"
    assert lines in ("0 lines", "2 lines")
    assert device.told
    assert b"ONE\nTWO\ngoodbye\n".startswith(typed.said)
    if lie in HARMLESS:
        assert typed.said == b"ONE\nTWO\ngoodbye\n"


class Host(Device):
    """A vsock device whose host accepts each call."""

    name = "vsock"
    device_id = 19
    queue_sizes = (128, 128, 8)
    config = (5).to_bytes(8, "little")

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        self._transport, self._queues = transport, queues

    def kicked(self, index: int) -> None:
        receive, transmit, _ = self._queues
        if index == TRANSMIT:
            while chain := transmit.pop():
                header = Header.decode(b"".join(map(bytes, chain.readable)))
                transmit.push(chain, 0)
                if header.op == OP_REQUEST and (answer := receive.pop()):
                    addresses = {"src_cid": header.dst_cid, "dst_cid": header.src_cid}
                    ports = {"src_port": header.dst_port, "dst_port": header.src_port}
                    reply = Header(**addresses, **ports, kind=TYPE_STREAM, op=OP_RESPONSE, buf_alloc=65536)
                    answer.writable[0][:SIZE] = reply.encode()
                    receive.push(answer, SIZE)
            transmit.watch()
        self._transport.interrupt()

    def reset(self) -> None:
        del self._transport, self._queues


@pytest.mark.parametrize(
    ("lie", "queue"),
    [
        *((lie, RECEIVE) for lie in LIES if lie not in UNNOTICED - HARMLESS and lie not in UNKNOWABLE),
        *((lie, TRANSMIT) for lie in LIES),
    ],
)
def test_a_connection_ends(programs: Programs, capfd: pytest.CaptureFixture[str], lie: str, queue: int) -> None:
    device = Liar(Host(), lie, queue=queue)
    (said,), given_up = run(programs, "Calling", device, capfd)
    assert device.told
    if lie in UNNOTICED:
        assert (said, given_up) == ("connected", False)
    elif (lie, queue) != ("twice", RECEIVE):  # the second one may be taken for another packet
        assert (said, given_up) == ("refused", True)
