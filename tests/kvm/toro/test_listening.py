"""`-p ADDR:*`: whatever port a guest listens at is published, in one that was thawed as well."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guests import wait_until
from programs import Programs

from pyvmm.api import vsock
from pyvmm.config import MachineConfig
from pyvmm.machine import Machine

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports of TCP at which nobody listens."""
    socks = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports: list[int] = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return ports


def greeting(port: int) -> str:
    """What a client hears at a port."""
    with socket.create_connection((LOOPBACK, port), timeout=30) as sock:
        text = b""
        while part := sock.recv(100):
            text += part
    return text.decode()


@contextmanager
def listening(config: MachineConfig, log: list[str]) -> Iterator[Machine]:
    with Machine(config, [vsock(5, ["*"])], log.append) as machine:
        machine.start()
        yield machine


def test_each_port_is_published_when_the_guest_listens_there(programs: Programs) -> None:
    ports = free_ports(3)
    config = MachineConfig(programs.image("Listening"), command_line=f"{len(ports)}," + ",".join(map(str, ports)))
    with listening(config, []) as machine:
        assert machine.console
        machine.console.read_until(b"listening\n", timeout=30)
        assert machine.ports == {port: (LOOPBACK, port) for port in ports}
        for _ in range(3):
            assert [greeting(port) for port in ports] == [str(port) for port in ports]


def test_a_thawed_guest_tells_of_its_ports_again(programs: Programs, tmp_path: Path) -> None:
    ports = free_ports(2)
    file = str(tmp_path / "guest.frozen")
    config = MachineConfig(programs.image("Listening"), command_line=f"{len(ports)}," + ",".join(map(str, ports)))
    with listening(config, []) as machine:
        assert machine.console
        machine.console.read_until(b"listening\n", timeout=30)
        machine.freeze(file, end=True)
        assert machine.wait(10) == 0
    with listening(MachineConfig(file), []) as machine:
        wait_until(lambda: len(machine.ports) == len(ports), "all ports are published")
        assert [greeting(port) for port in ports] == [str(port) for port in ports]


def test_a_port_that_is_taken_is_a_line_and_no_end(programs: Programs) -> None:
    (free,) = free_ports(1)
    log: list[str] = []
    with socket.create_server((LOOPBACK, 0)) as other:
        taken = other.getsockname()[1]
        config = MachineConfig(programs.image("Listening"), command_line=f"3,{taken},70000,{free}")
        with Machine(config, [vsock(5, ["*"], log=log.append)]) as machine:
            machine.start()
            assert machine.console
            machine.console.read_until(b"listening\n", timeout=30)
            assert greeting(free) == str(free)
    assert log == [
        f"publishing port {taken} of 127.0.0.1: Address already in use; another program listens there; "
        "choose another, or 0 for any",
        "port 70000 of the guest is not published: it is none of TCP's",
    ]
