"""Our frontend with a backend that is not ours: virtiofsd."""

from __future__ import annotations

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


@pytest.mark.parametrize("able", [0, m.F_REPLY_ACK, m.F_REPLY_ACK | m.F_MQ], ids=["least", "acknowledged", "all"])
def test_it_answers_fuse_requests(tmp_path: Path, able: int) -> None:
    if not any(os.access(program, os.X_OK) for program, _ in PROGRAMS):
        pytest.skip("needs virtiofsd (Debian 12: qemu-system-common)")
    server = Virtiofsd(Share(f"{tmp_path}:FS"), print)
    frontend = Frontend(server.connect(Deadline(60)), able=able)
    assert frontend.features & 1 << 32
    with GuestMemory(Ram(16 * MIB), shared=True) as memory:
        guest = Guest(memory)
        guest.start(frontend)
        # INIT of FUSE 7.31
        body = struct.pack("<4I", 7, 31, 1 << 20, 0)
        request = struct.pack("<IIQQ4I", 40 + len(body), 26, 77, 0, 0, 0, 0, 0) + body
        memory.write(REQUEST, request)
        guest.drivers[1].add([(REQUEST, len(request), False), (REPLY, 200, True)])
        guest.kick(1)
        # It also interrupts when it gets the descriptor.
        while not (taken := guest.drivers[1].take()):
            guest.wait(1)
        ((_, written),) = taken
        length, error, unique, major = struct.unpack("<IiQI", memory.read(REPLY, 20))
        assert (length, error, unique, major) == (written, 0, 77, 7)
        assert [frontend.stop_ring(index) for index in range(2)] == [0, 1]
        guest.close()
    frontend.close()
    server.close()
