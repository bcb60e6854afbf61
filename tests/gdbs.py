"""GDB on guests: a real one, and a client of a few lines."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guests import PYVMM

from pyvmm.gdb.packets import Parser, packet


@contextmanager
def waiting(image: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A guest before its first instruction, and where GDB reaches it."""
    command = [PYVMM, "boot", str(image), "--gdb", "-", *options]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            line = process.stderr.readline()
            place = re.fullmatch(
                r"pyvmm: the guest waits for GDB: gdb(?: -x (\S+))? -ex 'target remote (\S+)' \S+\n", line
            )
            assert place, line
            yield process, place[2]
        finally:
            process.kill()


def gdb(image: Path, place: str, *commands: str) -> str:
    """What GDB says to commands, once it has the guest."""
    words = [word for line in ("set pagination off", f"target remote {place}", *commands) for word in ("-ex", line)]
    result = subprocess.run(
        ["gdb", "-batch", "-nx", *words, str(image)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return result.stdout


class Client:
    """A client of a few lines."""

    def __init__(self, place: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(place)
        self._parser = Parser()
        self.ask("QStartNoAckMode")

    def ask(self, text: str) -> str:
        self.socket.sendall(packet(text.encode()))
        return self.answer()

    def answer(self) -> str:
        while True:
            for event in self._parser.feed(self.socket.recv(65536)):
                if isinstance(event, bytes):
                    return event.decode()
