"""Our frontend with a backend that is not ours: virtiofsd."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

import pytest
from guests import MIB
from vhostpeer import REPLY, REQUEST, Guest

from pyvmm.host.virtiofsd import PROGRAMS, Share, Virtiofsd
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from vhost_user import messages as m
from vhost_user.channel import Deadline
from vhost_user.frontend import Frontend

_FLOCK_LOCKS = 1 << 10


class Asking:
    """A guest that sends FUSE requests, one after the other.

    Args:
        memory: the guest's.
        frontend: of a server that it starts to use.
    """

    def __init__(self, memory: GuestMemory, frontend: Frontend) -> None:
        self.guest = Guest(memory)
        self.guest.start(frontend)
        self._memory = memory

    def ask(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        """The error, 0 or negative, and the rest of the answer."""
        request = struct.pack("<IIQQ4I", 40 + len(body), opcode, 77, node, 0, 0, 0, 0) + body
        self._memory.write(REQUEST, request)
        self.guest.drivers[1].add([(REQUEST, len(request), False), (REPLY, 200, True)])
        self.guest.kick(1)
        # It also interrupts when it gets the descriptor.
        while not (taken := self.guest.drivers[1].take()):
            self.guest.wait(1)
        ((_, written),) = taken
        length, error, unique = struct.unpack("<IiQ", self._memory.read(REPLY, 16))
        assert (length, unique) == (written, 77)
        return error, self._memory.read(REPLY + 16, written - 16)

    def init(self, flags: int = 0) -> tuple[int, bytes]:
        """INIT of FUSE 7.31."""
        return self.ask(26, 0, struct.pack("<4I", 7, 31, 1 << 20, flags))


@pytest.fixture
def _needs_virtiofsd() -> None:
    if not any(os.access(program, os.X_OK) for program, _ in PROGRAMS):
        pytest.skip("needs virtiofsd (Debian 12: qemu-system-common)")


@pytest.mark.usefixtures("_needs_virtiofsd")
@pytest.mark.parametrize("able", [0, m.F_REPLY_ACK, m.F_REPLY_ACK | m.F_MQ], ids=["least", "acknowledged", "all"])
def test_it_answers_fuse_requests(tmp_path: Path, able: int) -> None:
    server = Virtiofsd(Share(f"{tmp_path}:FS"), print)
    frontend = Frontend(server.connect(Deadline(60)), able=able)
    assert frontend.features & 1 << 32
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        asking = Asking(memory, frontend)
        error, answer = asking.init()
        assert (error, answer[:4]) == (0, b"\7\0\0\0")
        assert [frontend.stop_ring(index) for index in range(2)] == [0, 1]
        asking.guest.close()
    frontend.close()
    server.close()


@pytest.mark.usefixtures("_needs_virtiofsd")
@pytest.mark.parametrize("option", ["", ":xattr", ":flock"])
def test_attributes_and_locks_are_the_host_s_if_they_are_asked_for(tmp_path: Path, option: str) -> None:
    """SETXATTR, and SETLK with FUSE_LK_FLOCK."""
    file = tmp_path / "file"
    file.touch()
    server = Virtiofsd(Share(f"{tmp_path}:FS{option}"), print)
    frontend = Frontend(server.connect(Deadline(60)))
    with GuestMemory(Ram(16 * MIB), shared=True) as memory, file.open() as host:
        asking = Asking(memory, frontend)
        _, answer = asking.init(_FLOCK_LOCKS)
        assert bool(struct.unpack_from("<I", answer, 12)[0] & _FLOCK_LOCKS) == (option == ":flock")
        error, entry = asking.ask(1, 1, b"file\0")
        assert error == 0
        (node,) = struct.unpack_from("<Q", entry)
        error, _ = asking.ask(21, node, struct.pack("<II", 3, 0) + b"user.color\0red")
        assert (error == 0) == (option == ":xattr")
        assert os.listxattr(file) == (["user.color"] if option == ":xattr" else [])
        error, handle = asking.ask(14, node, struct.pack("<II", os.O_RDWR, 0))
        assert error == 0
        lock = handle[:8] + struct.pack("<QQQIIII", 1, 0, (1 << 63) - 1, fcntl.F_WRLCK, 1, 1, 0)
        error, _ = asking.ask(32, node, lock)
        assert error == 0
        with pytest.raises(BlockingIOError):
            fcntl.flock(host, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for index in range(2):
            frontend.stop_ring(index)
        asking.guest.close()
    frontend.close()
    server.close()
