"""Programs and drivers written for other Toro kernels do here what they do there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from guests import PYVMM, Result, needs_compiler, pyvmm
from pagetables import PCD, WRITE, walk
from programs import Programs

from pyvmm._kvm import ffi
from pyvmm.config import MachineConfig
from pyvmm.kvm.ioctl import ioctl
from pyvmm.machine import Machine
from pyvmm.virtio.device import Device

if TYPE_CHECKING:
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import SplitQueue

Toro = Callable[..., Result]

REGION = 2 << 20


def passed(result: Result) -> list[str]:
    """What a guest says apart from its checks, all of which have held."""
    assert (result.status, result.stderr) == (0, "")
    lines = result.stdout.decode().splitlines()
    assert [line for line in lines if line.startswith("FAILED")] == []
    assert any(line.startswith("ok ") for line in lines)
    return [line for line in lines if not line.startswith("ok ")]


@pytest.mark.parametrize("cpus", ["1", "2"])
def test_values_and_registers(toro: Toro, cpus: str) -> None:
    text, time = passed(toro("Compatible", "--cpus", cpus))
    most, hex_most = "18446744073709551615", "0xFFFFFFFFFFFFFFFF"
    assert text == f"42|{most}|0x0000000000000005|{hex_most}|text|A|%|\t|\\||0 {most}"
    assert re.fullmatch(r"\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d", time)


def test_a_block_driver_and_its_file_system(toro: Toro) -> None:
    assert passed(toro("RamDiskFiles")) == []


@needs_compiler
@pytest.mark.parametrize("program", ["Compatible", "Faults"])
def test_the_debug_ring_is_written_at_the_end(tmp_path: Path, program: str) -> None:
    """Of a program that ends, and of one that is ended by an exception."""
    source = tmp_path / "Main.pas"
    ending = {"Compatible": "", "Faults": "PByte(8)^ := 1;"}[program]
    source.write_text(
        "program Main;\nuses Debug;\nbegin\n  WriteDebug('first %d\\n', [1]);\n  WriteDebug('second\\n', []);\n"
        f"  {ending}\nend.\n"
    )
    for options, count in ((["-d", "EnableDebug"], 1), ([], 0)):
        assert pyvmm("build", str(source), *options).status == 0
        said = pyvmm("boot", str(source.with_suffix(".elf"))).stdout.decode()
        assert len(re.findall(r"CPU0 .*first 1\n.*second\n", said)) == count
        assert ("page fault" in said) == bool(ending)


@needs_compiler
def test_symbols_of_the_library_do_not_reach_it(tmp_path: Path) -> None:
    """UNIX would change FPC's own units."""
    source = tmp_path / "Main.pas"
    source.write_text(
        "program Main;\nuses SysUtils {$ifdef UNIX}, BaseUnix, Unix{$endif};\n"
        "begin\n  WriteLn({$ifdef UNIX} fpgeterrno {$else} 7 {$endif});\nend.\n"
    )
    assert pyvmm("build", str(source), "-d", "UNIX").status == 0
    assert pyvmm("boot", str(source.with_suffix(".elf"))).stdout == b"0\n"


def test_a_network_interface(toro: Toro) -> None:
    assert passed(toro("LoopbackEcho")) == []


def test_pages_change(programs: Programs) -> None:
    """In small memory, and where 1 GiB pages have to be split."""
    for ram in (64, 3000):
        with Machine(MachineConfig(programs.image("Pages"), memory=ram << 20)) as machine:
            machine.start()
            assert machine.wait(timeout=60) == 0
            assert machine.console
            *checks, numbers = machine.console.read().decode().splitlines()
            assert len(checks) == 3
            assert all(line.startswith("ok ") for line in checks)
            block, page = map(int, numbers.split())
            root = machine.threads[0].vcpu.sregs().cr3
            mapping = {at: walk(machine.memory, root, at) for at in (*range(block, block + 4 * REGION, REGION), page)}
            assert all(each and each.physical == at for at, each in mapping.items())
            flags = [each.flags & (WRITE | PCD) for each in mapping.values() if each]
            assert flags == [0, WRITE | PCD, WRITE, WRITE, 0]
            assert walk(machine.memory, root, page + 4096).flags & WRITE


@pytest.mark.parametrize("place", ["ram", "image"])
def test_a_write_to_a_read_only_page_faults(toro: Toro, place: str) -> None:
    result = toro("Pages", "--append", place)
    assert result.status == 216
    *_, block, page, fault = re.split(r"^(\d+) (\d+)\n", result.stdout.decode(), flags=re.MULTILINE)
    written = {"ram": int(block) + REGION - 1, "image": int(page) + 4095}[place]
    assert fault.startswith(f"Exception 14 (page fault) on core 0, writing to {written:016X}: not allowed there\n")


@pytest.mark.parametrize("cpus", ["1", "2"])
def test_time_that_the_host_takes_is_told(programs: Programs, cpus: str) -> None:
    cpu = min(os.sched_getaffinity(0))
    command = ["taskset", "--cpu-list", str(cpu)]
    with subprocess.Popen([*command, sys.executable, "-c", "while True: pass"]) as rival:
        try:
            boot = [*command, PYVMM, "boot", programs.image("Steal"), "--cpus", cpus]
            result = subprocess.run(boot, capture_output=True, timeout=60)
        finally:
            rival.kill()
    assert (result.stdout, result.returncode) == (b"TRUE\n" * int(cpus), 0)


def test_a_hypervisor_without_that_clock_is_no_fault(programs: Programs) -> None:
    """KVM is told to refuse MSRs that CPUID does not announce."""
    steal_time = 0x4B56_4D03
    for refuses in (True, False):
        cap = ffi.new("struct kvm_enable_cap *", {"cap": 190, "args": [refuses]})  # KVM_CAP_ENFORCE_PV_FEATURE_CPUID
        with Machine(MachineConfig(programs.image("Steal"), command_line="now")) as machine:
            vcpu = machine.threads[0].vcpu
            ioctl("KVM_ENABLE_CAP", vcpu.fd, cap)
            machine.start()
            assert machine.wait(timeout=60) == 0
            if refuses:
                assert machine.console
                assert machine.console.read() == b"FALSE\n"
            else:
                assert vcpu.msrs([steal_time])[steal_time] & 1


class Counting(Device):
    """An entropy source (virtio 1.2, section 5.4) whose bytes can be foretold."""

    name = "counting"
    device_id = 4
    queue_sizes = (64,)
    count = 0

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        self.transport, self.queue = transport, queues[0]

    def kicked(self, index: int) -> None:
        while chain := self.queue.pop():
            view = chain.writable[0]
            view[:] = bytes((self.count + i) % 256 for i in range(len(view)))
            self.count += len(view)
            self.queue.push(chain, len(view))
        if self.queue.must_interrupt():
            self.transport.interrupt()
        if self.queue.watch():
            self.kicked(index)

    def reset(self) -> None:
        del self.transport, self.queue


def test_a_virtio_driver_with_its_own_queues(programs: Programs) -> None:
    with Machine(MachineConfig(programs.image("Entropy")), [Counting()]) as machine:
        machine.start()
        assert machine.wait(timeout=60) == 0
        assert machine.console
        got = [int(word) for word in machine.console.read().split()]
    assert got == [i % 256 for i in range(20 * 16)]


UNITS = (
    "Kernel, Process, Memory, Debug, Arch, Filesystem, Network, Console, VirtIO, VirtIOBus, VirtIOConsole, VirtIOFS, "
    "VirtIOVSocket, Gdbstub"
)


def interfaces() -> dict[str, list[str]]:
    """The names below each heading of interfaces.txt."""
    text = re.sub(r"^#.*\n", "", (Path(__file__).parent / "interfaces.txt").read_text(), flags=re.MULTILINE)
    parts = re.split(r"^\[(.*)\]\n", text, flags=re.MULTILINE)
    return {heading: names.split() for heading, names in zip(parts[1::2], parts[2::2], strict=True)}


@needs_compiler
def test_all_identifiers_are_there_or_left_out_for_a_reason(tmp_path: Path) -> None:
    checks = []
    for heading, each in interfaces().items():
        condition = "declared" if heading.startswith("left out: ") else "not declared"
        checks += [f"{{$if {condition}({name})}}{{$message warn 'wrong: {name}'}}{{$endif}}" for name in each]
    source = tmp_path / "Main.pas"
    source.write_text("\n".join([f"program Main;\nuses {UNITS};", *checks, "begin\nend.\n"]))
    result = pyvmm("build", str(source))
    assert result.status == 0
    assert re.findall(r"wrong: (\w+)", result.stderr) == []
    assert len(checks) > 400
