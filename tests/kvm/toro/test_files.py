"""Toro's files on a virtio-fs device in Python that counts requests."""

from __future__ import annotations

import struct
from errno import ENOENT
from pathlib import Path

import pytest
from fusedev import ROOT, FuseDirectory
from programs import Programs
from test_shares import make_links

from pyvmm.config import MachineConfig
from pyvmm.machine import Machine
from pyvmm.virtio.queue import Chain


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A directory for the guest."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given/hello").write_text("Hello, world\n")
    (tmp_path / "given/a name with spaces and ünïcödé").touch()
    return tmp_path


def run(programs: Programs, program: str, device: FuseDirectory, cpus: int = 1, parameter: str = "") -> int:
    config = MachineConfig(programs.image(program), cpus=cpus, command_line=parameter)
    with Machine(config, [device], console=(0, 1)) as machine:
        return machine.run()


@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
@pytest.mark.parametrize("valid_s", [0, 1000], ids=["names not believed", "names believed"])
@pytest.mark.parametrize("answer_last", [False, True], ids=["in order", "newest first"])
def test_files(
    programs: Programs, given: Path, capfd: pytest.CaptureFixture[str], cpus: int, valid_s: int, answer_last: bool
) -> None:
    device = FuseDirectory(given, valid_s=valid_s, answer_last=answer_last)
    assert run(programs, "Files", device, cpus) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert len(lines) == 41
    assert device.most > 1
    # The guest has not forgotten at most what it remembers, or has not reported yet.
    assert sum(device.nodes.values()) < 150
    assert device.asked["forget"] > 300
    removals = device.asked["unlink"] + device.asked["rmdir"] + device.asked["rename"]
    assert (device.asked["lookup"] - removals < 50) == bool(valid_s)
    assert device.asked["open"] + device.asked["create"] + device.asked["opendir"] >= device.asked["release"] > 300
    assert sorted(path.name for path in given.iterdir()) == ["given"]


@pytest.mark.parametrize("valid_s", [0, 1000], ids=["names not believed", "names believed"])
def test_links_are_followed_and_their_nodes_forgotten(
    programs: Programs, tmp_path: Path, capfd: pytest.CaptureFixture[str], valid_s: int
) -> None:
    make_links(tmp_path)
    device = FuseDirectory(tmp_path, valid_s=valid_s)
    assert run(programs, "Links", device) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert len(lines) == 35
    # It has not forgotten what it remembers, or has not reported yet.
    assert sum(device.nodes.values()) < 70
    assert device.asked["forget"] > 100


class AnswersLate(FuseDirectory):
    """Answers the first request of a kind only when a file was removed, as it would have before."""

    def __init__(self, root: Path, operation: str) -> None:
        super().__init__(root, valid_s=1000)
        self._operation = operation
        self._held: tuple[Chain, int] | None = None

    def kicked(self, index: int) -> None:
        queue = self._queues[index]
        more = True
        while more:
            while chain := queue.pop():
                removed = self.asked["unlink"]
                written = self._serve(chain)
                if not self._held and self.asked[self._operation]:
                    self._held = chain, written
                    continue
                queue.push(chain, written)
                if self._held and self.asked["unlink"] > removed:
                    queue.push(*self._held)
            if queue.must_interrupt():
                self._transport.interrupt()
            more = queue.watch()


@pytest.mark.parametrize(("asks", "operation"), [("stat", "lookup"), ("list", "readdirplus")])
def test_what_a_reply_tells_of_the_past_is_not_remembered(
    programs: Programs, tmp_path: Path, capfd: pytest.CaptureFixture[str], asks: str, operation: str
) -> None:
    (tmp_path / "victim").touch()
    assert run(programs, "Stale", AnswersLate(tmp_path, operation), parameter=asks) == 0
    assert capfd.readouterr().out == "found 0\n"


class TellsWhatItKnows(FuseDirectory):
    """Has a file NAME.forgotten if the guest does not keep it from forgetting NAME."""

    def lookup(self, node: int, body: bytes) -> bytes:
        path = self._child(node, body)
        if path.suffix != ".forgotten":
            return super().lookup(node, body)
        if any(self._paths[known].name == path.stem for known in +self.nodes):
            raise FileNotFoundError(ENOENT, "it is known")
        return self._entry(self._paths[ROOT])


@pytest.mark.parametrize("cpus", [1, 2])
def test_files_are_forgotten(programs: Programs, given: Path, capfd: pytest.CaptureFixture[str], cpus: int) -> None:
    device = TellsWhatItKnows(given, valid_s=1000)
    assert run(programs, "Forgets", device, cpus) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert len(lines) == 5


@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("valid_s", [0, 1000], ids=["names not believed", "names believed"])
def test_a_server_without_descriptors_left(
    programs: Programs, given: Path, capfd: pytest.CaptureFixture[str], cpus: int, valid_s: int
) -> None:
    """Eight open files and the directory of one are as many as it can bear."""
    assert run(programs, "Files", FuseDirectory(given, valid_s=valid_s, most_nodes=10), cpus) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert len(lines) == 41


TAMPERINGS = {
    "shorter than a header": lambda reply: reply[:8],
    "longer than it is": lambda reply: struct.pack("<I", len(reply) + 1) + reply[4:],
    "a positive error": lambda reply: reply[:4] + struct.pack("<i", 5) + reply[8:16],
    "an error that is none": lambda reply: reply[:4] + struct.pack("<i", -100_000) + reply[8:16],
    "cut": lambda reply: struct.pack("<I", len(reply) - 1) + reply[4:-1],
}


@pytest.mark.parametrize("operation", ["init", "lookup", "getattr", "open", "write"])
@pytest.mark.parametrize("tampering", TAMPERINGS, ids=list(TAMPERINGS))
def test_replies_that_are_wrong_are_errors(
    programs: Programs, given: Path, capfd: pytest.CaptureFixture[str], operation: str, tampering: str
) -> None:
    device = FuseDirectory(given)
    device.tamper = lambda name, reply: TAMPERINGS[tampering](reply) if name == operation else reply
    assert run(programs, "FilesTampered", device) == 0
    given_up = ["virtio-fs: the device does not answer as it should, and is given up", "init 19"]
    assert capfd.readouterr().out.splitlines() == (given_up if operation == "init" else [f"{operation} 5"])


#: Of a reply to READDIRPLUS of three entries, each with its 128 bytes of a LOOKUP, and a head of 24.
LISTINGS = {
    "a name too long": lambda reply: reply[:-16] + struct.pack("<I", 256) + reply[-12:],
    "a name of 4 GiB": lambda reply: reply[:-16] + struct.pack("<I", 0xFFFFFFFF) + reply[-12:],
    "a name that is cut": lambda reply: struct.pack("<I", len(reply) - 4) + reply[4:-4],
    "a head that is cut": lambda reply: struct.pack("<I", len(reply) - 10) + reply[4:-10],
    "a part of an entry": lambda reply: struct.pack("<I", len(reply) - 60) + reply[4:-60],
}


@pytest.mark.parametrize("tampering", LISTINGS, ids=list(LISTINGS))
def test_a_listing_that_is_not_whole_is_an_error(
    programs: Programs, given: Path, capfd: pytest.CaptureFixture[str], tampering: str
) -> None:
    device = FuseDirectory(given)
    device.tamper = lambda name, reply: LISTINGS[tampering](reply) if name == "readdirplus" else reply
    assert run(programs, "FilesTampered", device) == 0
    assert capfd.readouterr().out.splitlines() == ["list 5"]
