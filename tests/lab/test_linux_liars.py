"""Debian's cloud kernel and devices that lie: it says so, and goes on without them. Runs in the lab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from linux import ARGUMENTS, KERNEL, make_initrd

from pyvmm.config import MachineConfig
from pyvmm.machine import Machine
from pyvmm.testing import LIES, Liar
from pyvmm.virtio.console import VirtioConsole
from pyvmm.virtio.device import Device

if TYPE_CHECKING:
    from pyvmm.eventloop import Loop
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import SplitQueue

pytestmark = pytest.mark.skipif(not KERNEL.exists(), reason="runs in the lab: make test-lab")

RECEIVE, TRANSMIT = 0, 1
#: Lies after which Linux gives a queue up, and what it reports then.
REPORTED = {"no such head": "id 65535 out of range", "another head": "is not a head!", "twice": "is not a head!"}
#: Some of those that a receive queue has; Linux has eight consoles.
RECEIVED = ("more than there is room for", "index back", "interrupts", "other configuration")
PATIENCE = 200  # seconds


class Typed:
    """The host's end of a console: one line that comes at once."""

    def __init__(self) -> None:
        self._left = b"typed\n"
        self.said = b""

    def attach(self, loop: Loop, changed: object) -> None: ...

    def read(self, size: int) -> bytes:
        read, self._left = self._left[:size], self._left[size:]
        return read

    def write(self, data: memoryview) -> int:
        self.said += bytes(data)
        return len(data)

    def close(self) -> None: ...


class Files(Device):
    """A file system that is not to be had: EIO for every request."""

    name = "fs"
    device_id = 26
    queue_sizes = (8, 8)

    def __init__(self, tag: str) -> None:
        self.config = tag.encode().ljust(36, b"\0") + (1).to_bytes(4, "little")

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        self._transport, self._queues = transport, queues

    def kicked(self, index: int) -> None:
        queue = self._queues[index]
        while True:
            while chain := queue.pop():
                unique = b"".join(map(bytes, chain.readable))[8:16]
                chain.writable[0][:16] = (16).to_bytes(4, "little") + (-5).to_bytes(4, "little", signed=True) + unique
                queue.push(chain, 16)
            self._transport.interrupt()
            if not queue.watch():
                return

    def reset(self) -> None:
        del self._transport, self._queues


def test_linux_goes_on(tmp_path: Path) -> None:
    """One file system for each lie, and consoles. Those lie about the first output, or a line from the host.

    Linux waits for output in a loop, so lies that leave it without an answer and without a damaged ring are left
    out there.
    """
    honest = Typed()
    consoles = [
        *(Liar(VirtioConsole(Typed()), lie, queue=TRANSMIT) for lie in REPORTED),
        *(Liar(VirtioConsole(Typed()), lie, queue=RECEIVE) for lie in RECEIVED),
    ]
    files = {f"tag{i}": Liar(Files(f"tag{i}"), lie) for i, lie in enumerate(LIES)}
    devices = [VirtioConsole(honest), *consoles, *files.values()]
    config = MachineConfig(
        str(KERNEL), memory=512 << 20, cpus=2, initrd=str(make_initrd(tmp_path)), command_line=ARGUMENTS
    )
    with Machine(config, devices) as machine:
        machine.start()
        assert machine.console
        said = machine.console.read_until(b"ready for you", PATIENCE)

        def do(command: str) -> None:
            """Runs a command to its end, which must be a good one."""
            nonlocal said
            machine.console.write(f"{command} && echo fini''shed\n".encode())
            said += machine.console.read_until(b"finished", PATIENCE)

        do(f"test $(ls /sys/bus/virtio/devices | wc -l) = {len(devices)}")
        for n, console in enumerate(consoles, 1):
            do(f"(echo text > /dev/hvc{n} &)" if console.queue == TRANSMIT else f"(cat /dev/hvc{n} > /dev/null &)")
        for tag in files:
            do(f"(mount -t virtiofs {tag} /mnt 2> /dev/null &)")
        do("echo honest > /dev/hvc0")
        do(f"until [ $(dmesg | grep -c virtiofs.*:id) -ge {len(REPORTED)} ]; do usleep 10000; done")
        do("dmesg | grep :id")
        assert all(device.told for device in (*consoles, *files.values()))
    assert honest.said == b"honest\r\n"
    for lie, report in REPORTED.items():
        assert report in said.decode(errors="replace"), lie
