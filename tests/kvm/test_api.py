"""pyvmm as a library: any program may run machines, several at once, and is left unchanged."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from guests import MIB, Assembler, open_fds

import pyvmm
from pyvmm import ConfigError, GuestError, ImageError, Machine, MachineConfig, vsock

_HELLO = """
    print text, 6
    exit 3
.data
text: .ascii "hello\\n"
"""
_SPIN = """
    print text, 6
1:  jmp 1b
.data
text: .ascii "hello\\n"
"""
#: Answers each byte on its console with the next letter of the alphabet, and ends after `z`.
_NEXT = """
    mov edx, 0x3fd
1:  in al, dx
    test al, 1
    jz 1b
    mov edx, 0x3f8
    in al, dx
    inc al
    out dx, al
    mov edx, 0x3fd
    cmp al, 0x7b
    jne 1b
    exit 0
"""


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = open_fds(), threading.active_count(), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    assert (open_fds(), threading.active_count(), signal.pthread_sigmask(signal.SIG_BLOCK, [])) == before


def test_a_guest_runs_to_its_end(assemble: Assembler) -> None:
    with Machine(MachineConfig(assemble(_HELLO))) as machine:
        machine.start()
        assert machine.console
        assert machine.console.read_until(b"\n") == b"hello\n"
        assert machine.wait(timeout=30) == machine.status == 3
        assert machine.wait(timeout=30) == 3


def test_a_guest_is_talked_to(assemble: Assembler) -> None:
    with Machine(MachineConfig(assemble(_NEXT))) as machine:
        machine.start()
        assert machine.console
        machine.console.write(b"abc")
        assert machine.console.read_until(b"d") == b"bcd"
        machine.console.write(b"z")
        assert machine.wait(timeout=30) == 0
        assert machine.console.read() == b"{"


def test_a_guest_that_goes_on_is_stopped(assemble: Assembler) -> None:
    with Machine(MachineConfig(assemble(_SPIN))) as machine:
        machine.start()
        assert machine.console
        machine.console.read_until(b"\n")
        with pytest.raises(TimeoutError, match="the guest still runs after 0 s"):
            machine.wait(timeout=0)
        machine.stop(status=7, grace=0)
        assert machine.wait(timeout=30) == 7


def test_a_stop_before_the_start_counts(assemble: Assembler) -> None:
    with Machine(MachineConfig(assemble(_SPIN))) as machine:
        machine.stop(status=9, grace=0)
        machine.start()
        assert machine.wait(timeout=30) == 9


def test_leaving_the_context_ends_the_guest(assemble: Assembler) -> None:
    with Machine(MachineConfig(assemble(_SPIN))) as machine:
        machine.start()
    assert machine.status == 143


def test_several_at_once(assemble: Assembler) -> None:
    image = assemble(_NEXT)
    machines = [Machine(MachineConfig(image, memory=32 * MIB)) for _ in range(4)]
    for machine in machines:
        machine.start()
    for number, machine in enumerate(machines):
        assert machine.console
        machine.console.write(b"%cz" % (97 + number))
    for number, machine in enumerate(machines):
        assert machine.wait(timeout=30) == 0
        assert machine.console
        assert machine.console.read() == b"%c{" % (98 + number)
        machine.close()


def test_under_asyncio(assemble: Assembler) -> None:
    def run() -> int:
        with Machine(MachineConfig(assemble(_HELLO))) as machine:
            return machine.run()

    async def main() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(run) for _ in range(3)))

    assert asyncio.run(main()) == [3, 3, 3]


def test_what_goes_wrong_in_the_thread_is_raised_by_wait(assemble: Assembler) -> None:
    with Machine(MachineConfig(assemble("ud2"))) as machine:
        machine.start()
        with pytest.raises(GuestError, match="vCPU 0"):
            machine.wait(timeout=30)


def test_errors_speak_of_parameters(assemble: Assembler) -> None:
    with pytest.raises(ConfigError, match=r"^memory 5: not a multiple of 4K from 16M to 512G$") as caught:
        MachineConfig("x", memory=5)
    assert (caught.value.parameter, caught.value.value) == ("memory", 5)
    with pytest.raises(ConfigError, match=r"^publish 80: not "):
        vsock(5, publish=["80"])
    with pytest.raises(ConfigError, match=r"^backlog 0: not 1 to 4096$"):
        vsock(5, backlog=0)
    with pytest.raises(ImageError):
        Machine(MachineConfig(__file__))


def test_published_ports_are_known(assemble: Assembler) -> None:
    with Machine(MachineConfig(assemble(_SPIN), vsock=5), [vsock(5, publish=["0:80", "[::1]:0:81"])]) as machine:
        assert machine.ports.keys() == {80, 81}
        assert (machine.ports[80][0], machine.ports[81][0]) == ("127.0.0.1", "::1")
        socket.create_connection(machine.ports[80]).close()


def test_all_names_are_there_and_imported_when_used() -> None:
    for name in pyvmm.__all__:
        assert getattr(pyvmm, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pyvmm.nonsense  # noqa: B018
    code = "import sys, pyvmm; print([name for name in sys.modules if name.startswith('pyvmm')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['pyvmm']\n"
