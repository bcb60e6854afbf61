"""A thaw as the kernel sees it: the VMM has changed the boot-info block, and interrupts core 0."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING

import pytest
from programs import Programs, Talking

from pyvmm._kvm import ffi, lib
from pyvmm.api import vsock
from pyvmm.boot import bootinfo
from pyvmm.config import MachineConfig
from pyvmm.host.virtiofsd import PROGRAMS, Share, Virtiofsd
from pyvmm.layout import FREEZE_PORT, FREEZE_PORTS, GENERATION_VECTOR
from pyvmm.machine import Machine
from pyvmm.virtio.fs import VirtioFs

if TYPE_CHECKING:
    from pyvmm.virtio.device import Device, Transport
    from pyvmm.virtio.queue import SplitQueue

_YEARS = 50 * 365 * 86_400 * 10**9
_LOSE_VECTOR = 90


class Guest(Talking):
    """The program Thaws on its machine."""

    def thaw(self, **fields: Callable[[int], int]) -> None:
        """Does to the guest what a thaw does: changes these fields, counts, interrupts."""
        fields["generation"] = lambda generation: generation + 1
        for name, change in fields.items():
            at, size = self.machine._native.boot_info + bootinfo.offset_of(name), dict(bootinfo.FIELDS)[name]
            value = change(int.from_bytes(self.machine.memory.read(at, size), "little"))
            self.machine.memory.write(at, value.to_bytes(size, "little"))
        self.machine.vm.signal_msi(0, GENERATION_VECTOR)


class FreezePort:
    """What serves the freeze port.

    Args:
        answer: what the guest reads.
        freeze: called when it asks for a freeze.
    """

    def __init__(self, answer: int, freeze: Callable[[], None]) -> None:
        self._answer, self._freeze = answer, freeze
        self.written: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        return self._answer

    def write(self, offset: int, size: int, value: int) -> None:
        self.written.append((offset, size, value))
        self._freeze()


@contextmanager
def running(
    programs: Programs, cpus: int = 1, port: FreezePort | None = None, devices: Sequence[Device] = ()
) -> Iterator[Guest]:
    with Machine(MachineConfig(programs.image("Thaws"), cpus=cpus), devices) as machine:
        if port:
            machine.bus.add(FREEZE_PORT, FREEZE_PORTS, port)
        guest = Guest(machine)
        machine.start()
        assert guest.says() == "ready"
        yield guest
        guest.do("end")
        assert machine.wait(10) == 0


def told(line: str, who: str) -> tuple[int, int, int, int]:
    """Core, Unix time and monotonic time in ns, and a random number."""
    name, core, unix, monotonic, random = line.split()
    assert name == who
    return int(core), int(unix), int(monotonic), int(random)


@pytest.mark.parametrize("cpus", [1, 2])
def test_subscribers_are_called_once_when_the_kernel_is_right(programs: Programs, cpus: int) -> None:
    with running(programs, cpus) as guest:
        assert guest.ask("subscribe") == "TRUE"
        for _ in range(3):
            _, unix, monotonic, _ = told(guest.ask("tell"), "now")
            guest.thaw(wall_clock_ns=lambda ns: ns + _YEARS, random=lambda old: old ^ 1)
            first, second = told(guest.says(), "first"), told(guest.says(), "second")
            assert first[0] == second[0] == 0
            assert unix + _YEARS < first[1] < second[1]
            assert monotonic < first[2] < second[2] < monotonic + _YEARS
        assert told(guest.ask("tell"), "now")[1] > second[1]


def test_the_monotonic_clock_goes_on_at_another_frequency(programs: Programs) -> None:
    with running(programs) as guest:
        times = [told(guest.ask("tell"), "now")[2]]
        guest.thaw(tsc_hz=lambda hz: hz * 1000)
        before = monotonic_ns()
        times += [told(guest.ask("tell"), "now")[2] for _ in range(2)]
        assert times == sorted(times)
        assert times[2] - times[1] < (monotonic_ns() - before) / 100


def test_random_draws_from_the_new_bytes(programs: Programs) -> None:
    drawn = []
    for _ in range(2):
        with running(programs) as guest:
            for _ in range(2):
                assert guest.ask("seed") == "seeded"
                guest.thaw(random=lambda old: old ^ 1)
                drawn.append(told(guest.ask("tell"), "now")[3])
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("cpus", [1, 2])
def test_sleeps_go_on_if_the_timer_was_lost(programs: Programs, cpus: int) -> None:
    with running(programs, cpus) as guest:
        guest.do("sleep")
        assert [guest.says() for _ in range(cpus)] == ["sleeps"] * cpus
        for core in range(cpus):
            guest.machine.vm.signal_msi(core, _LOSE_VECTOR)
        guest.thaw()
        assert [guest.says() for _ in range(cpus)] == ["awake"] * cpus


class CountingFs(VirtioFs):
    """A share that counts how often a driver has started it."""

    started = 0

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        self.started += 1
        super().activate(transport, queues, features)


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.skipif(not any(os.access(path, os.X_OK) for path, _ in PROGRAMS), reason="needs virtiofsd")
def test_files_are_opened_again_from_the_new_server(programs: Programs, tmp_path: Path, cpus: int) -> None:
    """Nothing that was done is done twice, and nothing fails because it might have been."""
    data = bytes(range(ord("0"), ord("0") + 70))
    (tmp_path / "source").write_bytes(data)
    device = CountingFs("share", b"FS", Virtiofsd(Share(f"{tmp_path}:FS"), print), print)
    with running(programs, cpus, devices=[device]) as guest:
        assert guest.ask("open elsewhere") == "opened TRUE"
        for _ in range(6):
            assert guest.ask("copy") == "copied 10 TRUE"
            guest.thaw()
        assert guest.ask("copy") == "copied 10 TRUE"
        assert device.started == 7
    assert (tmp_path / "target").read_bytes() == data
    assert {path.name for path in tmp_path.iterdir()} == {"source", "target", *(f"made{i}" for i in range(1, 8))}


@pytest.mark.parametrize(("cpus", "line"), [(1, "freeze"), (2, "freeze while busy elsewhere")])
def test_subscribers_can_connect_with_the_new_cid(programs: Programs, cpus: int, line: str) -> None:
    def thaw() -> None:
        cid = 6 + len(port.written)
        ffi.buffer(device.native)[:8] = cid.to_bytes(8, "little")
        lib.virtio_mmio_set_config(guest.machine.transports[0].native, cid.to_bytes(8, "little"), 8)
        device.reset_transport()
        guest.thaw()

    port = FreezePort(0xFF, thaw)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        device = vsock(5, allow=[f"90=127.0.0.1:{listener.getsockname()[1]}"])
        with running(programs, cpus, port, [device]) as guest:
            assert guest.ask("network elsewhere") == "network"
            assert guest.ask("connect") == "connected TRUE"
            for _ in range(20):
                with listener.accept()[0] as end:
                    assert guest.ask(line) == "TRUE connected TRUE"
                    assert guest.says() == "foThawed"
                    with pytest.raises(ConnectionResetError):
                        end.recv(1)
            listener.accept()[0].close()


# ---- asking for it ------------------------------------------------------------------


def test_without_a_freeze_port_a_freeze_is_declined(programs: Programs) -> None:
    with running(programs) as guest:
        assert guest.ask("freeze") == "foDeclined"


@pytest.mark.parametrize(("answer", "outcome"), [(0xFF, "foDeclined"), (1, "foContinued")])
def test_the_vmm_says_whether_it_has_frozen(programs: Programs, answer: int, outcome: str) -> None:
    port = FreezePort(answer, lambda: None)
    with running(programs, port=port) as guest:
        assert [guest.ask("freeze") for _ in range(2)] == [outcome] * 2
    assert port.written == [(0, 1, 1)] * 2


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize("answer", [0xFF, 1])
def test_a_thawed_guest_is_renewed_before_it_goes_on(programs: Programs, answer: int, cpus: int) -> None:
    port = FreezePort(answer, lambda: guest.thaw(wall_clock_ns=lambda ns: ns + _YEARS))
    with running(programs, cpus, port) as guest:
        assert guest.ask("subscribe") == "TRUE"
        for _ in range(3):
            unix = told(guest.ask("tell"), "now")[1]
            guest.do("freeze elsewhere")
            assert told(guest.says(), "first")[1] > unix + _YEARS
            told(guest.says(), "second")
            assert [guest.says() for _ in range(2)] == ["foThawed", f"core {cpus - 1}"]


def test_a_subscriber_may_freeze_again(programs: Programs) -> None:
    port = FreezePort(1, lambda: guest.thaw() if len(port.written) == 1 else None)
    with running(programs, port=port) as guest:
        assert guest.ask("subscribe freeze") == "TRUE"
        assert guest.ask("freeze") == "again foContinued"
        assert guest.says() == "foThawed"
