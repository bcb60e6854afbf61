"""`pyvmm boot` with a hostile backend in another process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import PYVMM, Assembler

from vhost_user import messages as m
from vhost_user.channel import Channel
from vhost_user.device import VERSION_1
from vhost_user.listener import Listener
from vhost_user.messages import Payload

pytestmark = pytest.mark.usefixtures("way")

#: Starts its virtio-fs device and then ends with status 7, whether the device works or not.
GUEST = """
.macro wr off, val
    mov dword ptr [rbx + \\off], \\val
.endm
    mov ebx, 0xfeb00000
    wr 0x70, 3
    wr 0x24, 1
    wr 0x20, 1
    wr 0x70, 11
    .irp index, 0, 1
    wr 0x30, \\index
    wr 0x38, 16
    wr 0x80, 0x1000000+0x10000*\\index
    wr 0x90, 0x1001000+0x10000*\\index
    wr 0xa0, 0x1002000+0x10000*\\index
    wr 0x44, 1
    .endr
    wr 0x70, 15
    exit 7
"""


class Peer:
    """A backend that answers as it should until it gets a request of a certain kind, which it does not answer."""

    def __init__(self, path: Path, last: m.Kind) -> None:
        self._listener = Listener(str(path))
        self._last = last
        self.path = path
        self.reached = threading.Event()
        self.refused: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        channel = Channel(self._listener.accept(60), m.FRONTEND, 60)
        while message := channel.receive():
            with message:
                if message.kind is m.SET_MEM_TABLE:
                    self._shorten(message.fds[0])
                if message.kind is self._last:
                    self.reached.set()
                elif not self.reached.is_set():
                    if message.kind.reply:
                        channel.reply(message, self._answer(message.kind))
                    channel.acknowledge(message)
        channel.close()

    def _answer(self, kind: m.Kind) -> Payload:
        if kind is m.GET_FEATURES:
            return m.U64(VERSION_1 | m.F_PROTOCOL_FEATURES)
        return m.U64(m.F_MQ | m.F_REPLY_ACK if kind is m.GET_PROTOCOL_FEATURES else 2)

    def _shorten(self, memory: int) -> None:
        try:
            os.ftruncate(memory, 0)
        except OSError as error:
            self.refused.append(error.strerror or "")

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@pytest.fixture
def peer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Peer]:
    made = Peer(tmp_path / "peer.sock", request.param)
    yield made
    made.close()


@pytest.mark.parametrize("peer", [m.SET_FEATURES, m.SET_MEM_TABLE, m.SET_VRING_ENABLE], indirect=True, ids=str)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"])
def test_a_signal_ends_it_also_while_the_backend_does_not_answer(
    assemble: Assembler, peer: Peer, number: int, status: int
) -> None:
    """Before it has given the backend up, which it would tell."""
    words = [PYVMM, "boot", assemble(GUEST), "--share", f"socket={peer.path}:FS"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert peer.reached.wait(60)
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == status


@pytest.mark.parametrize("peer", [m.SET_BACKEND_REQ_FD], indirect=True, ids=["none"])
def test_a_backend_cannot_take_the_memory_away(assemble: Assembler, peer: Peer) -> None:
    words = [PYVMM, "boot", assemble(GUEST), "--share", f"socket={peer.path}:FS"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (7, "")
    assert peer.refused == ["Operation not permitted"]
