"""pyvmm.kvm.thread and the run loop: stopping, threads, names, pinning, the GIL."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guests import open_fds, tasks, wait_until
from machines import run

from pyvmm._kvm import lib
from pyvmm.errors import GuestError, HostError
from pyvmm.kvm.thread import VcpuThread, failure
from pyvmm.machine import Machine

SPIN = "cli\n1: jmp 1b"
CPUS = sorted(os.sched_getaffinity(0))

MachineMaker = Callable[..., Machine]


@pytest.fixture
def event_fd() -> Iterator[int]:
    """An eventfd that tells of exits."""
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def wait_for_exit(thread: VcpuThread, event_fd: int) -> int:
    """The reason of the next exit that is Python's to serve."""
    while (reason := thread.exit_reason()) is None:
        assert select.select([event_fd], [], [], 60)[0], "no exit in a minute"
        os.eventfd_read(event_fd)
    return reason


# ---- stopping ---------------------------------------------------------------------------


def test_vcpu_that_spins_with_interrupts_off_stops_at_once(machine: MachineMaker) -> None:
    vcpu = machine(SPIN).threads[0].vcpu
    results: list[int] = []
    runner = threading.Thread(target=lambda: results.append(vcpu.run()), daemon=True)
    runner.start()
    wait_until(lambda: vcpu.native.first_run_ns, "the vCPU runs")
    vcpu.stop()
    runner.join(60)
    assert results == [lib.VCPU_STOPPED]


def test_vcpu_that_halts_stops_at_once(machine: MachineMaker) -> None:
    vcpu = machine("cli\n hlt").threads[0].vcpu
    results: list[int] = []
    runner = threading.Thread(target=lambda: results.append(vcpu.run()), daemon=True)
    runner.start()
    wait_until(lambda: vcpu.native.first_run_ns, "the vCPU runs")
    vcpu.stop()
    runner.join(60)
    assert results == [lib.VCPU_STOPPED]


def test_stop_before_run_holds(machine: MachineMaker) -> None:
    vcpu = machine(SPIN).threads[0].vcpu
    vcpu.stop()
    assert run(vcpu) == lib.VCPU_STOPPED
    assert run(vcpu) == lib.VCPU_STOPPED


def test_stop_at_any_moment_of_a_start_holds(machine: MachineMaker, event_fd: int) -> None:
    """close() stops the thread and waits for it: a stop that is lost hangs here."""
    for _ in range(20):
        guest = machine(SPIN, cpus=2)
        for thread in guest.threads:
            thread.start(event_fd)
        guest.close()
    assert not [name for name in tasks() if name.startswith("vcpu")]


def test_thread_that_waits_to_be_resumed_stops(machine: MachineMaker, event_fd: int) -> None:
    guest = machine("exit 1\n exit 2")
    guest.threads[0].start(event_fd)
    assert wait_for_exit(guest.threads[0], event_fd) == lib.KVM_EXIT_IO
    guest.close()
    assert "vcpu0" not in tasks()


# ---- threads ----------------------------------------------------------------------------


def test_threads_have_names_and_run_where_they_are_pinned(machine: MachineMaker, event_fd: int) -> None:
    guest = machine(SPIN, cpus=3)
    for index, thread in enumerate(guest.threads):
        thread.start(event_fd, CPUS[index % len(CPUS)])
    found = tasks()
    for index in range(3):
        assert os.sched_getaffinity(found[f"vcpu{index}"]) == {CPUS[index % len(CPUS)]}


def test_thread_without_a_pin_may_run_anywhere(machine: MachineMaker, event_fd: int) -> None:
    machine(SPIN).threads[0].start(event_fd)
    assert os.sched_getaffinity(tasks()["vcpu0"]) == set(CPUS)


def test_threads_take_no_signals(machine: MachineMaker, event_fd: int) -> None:
    machine(SPIN).threads[0].start(event_fd)
    status = Path(f"/proc/self/task/{tasks()['vcpu0']}/status").read_text()
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    for signal in (1, 2, 15, 17, 28):
        assert blocked >> (signal - 1) & 1, signal


def test_thread_on_a_cpu_that_is_not_there_is_a_host_error_and_leaves_nothing(
    machine: MachineMaker, event_fd: int
) -> None:
    before = open_fds()
    guest = machine(SPIN)
    with pytest.raises(HostError, match="thread of vCPU 0: Invalid argument"):
        guest.threads[0].start(event_fd, 4000)
    guest.close()
    assert open_fds() == before


def test_python_goes_on_while_a_guest_spins(machine: MachineMaker, event_fd: int) -> None:
    """run() in a Python thread, and a VcpuThread: neither may hold the GIL."""
    first, second = machine(SPIN).threads[0].vcpu, machine(SPIN).threads[0]
    runner = threading.Thread(target=first.run, daemon=True)
    runner.start()
    second.start(event_fd)
    wait_until(lambda: first.native.first_run_ns and second.vcpu.native.first_run_ns, "both run")
    assert sum(range(1_000_000)) == 499_999_500_000
    assert runner.is_alive()
    assert second.exit_reason() is None
    first.stop()
    runner.join(60)
    assert not runner.is_alive()


# ---- exits ------------------------------------------------------------------------------


def test_exits_come_one_by_one_and_in_order(machine: MachineMaker, event_fd: int) -> None:
    thread = machine("exit 11\n exit 22\n exit 33").threads[0]
    thread.start(event_fd)
    seen = []
    for _ in range(3):
        assert wait_for_exit(thread, event_fd) == lib.KVM_EXIT_IO
        native: Any = thread.vcpu.native
        seen.append((native.address, native.write, native.size, native.data[0]))
        thread.resume()
    assert seen == [(0xF4, True, 1, value) for value in (11, 22, 33)]


def test_value_that_python_reads_for_the_guest_reaches_it(machine: MachineMaker, event_fd: int) -> None:
    guest = machine(
        "in eax, 0xf4\n mov [rip + value], eax\n mov al, [rip + value + 3]\n out 0xf4, al\n .data\nvalue: .quad 0"
    )
    thread = guest.threads[0]
    thread.start(event_fd)
    assert wait_for_exit(thread, event_fd) == lib.KVM_EXIT_IO
    guest.bus.serve(thread.vcpu.native, mmio=False)
    thread.resume()
    assert wait_for_exit(thread, event_fd) == lib.KVM_EXIT_IO
    assert (thread.vcpu.native.write, thread.vcpu.native.data[0]) == (True, 0xFF)


def test_exits_are_counted_by_kind(machine: MachineMaker) -> None:
    guest = machine("in al, 0x80\n in al, 0x80\n mov eax, 0xc0000000\n mov eax, [rax]\n exit 0")
    assert run(guest.threads[0].vcpu) == lib.KVM_EXIT_IO
    assert guest.measures.exits() == {lib.KVM_EXIT_IO: 3, lib.KVM_EXIT_MMIO: 1}


@pytest.mark.parametrize(
    ("reason", "fields", "message"),
    [
        ("KVM_EXIT_SHUTDOWN", {}, "triple fault: an exception whose handler could not be entered either"),
        ("KVM_EXIT_INTERNAL_ERROR", {"suberror": 3}, "KVM internal error 3"),
        ("KVM_EXIT_INTERNAL_ERROR", {"suberror": 1, "details": 1}, "KVM internal error 1"),
        (
            "KVM_EXIT_INTERNAL_ERROR",
            {"suberror": 1, "details": 4, "detail": [1, 0x0000_0000_00A2_0F02]},
            "KVM cannot execute the instruction 0f a2",
        ),
        (
            "KVM_EXIT_INTERNAL_ERROR",
            {"suberror": 1, "details": 4, "detail": [1, (1 << 64) - 1, (1 << 64) - 1]},
            "KVM cannot execute the instruction" + 15 * " ff",
        ),
        ("KVM_EXIT_FAIL_ENTRY", {"detail": [0x8000_0021]}, "the CPU refuses its state, reason 0x80000021"),
        ("KVM_EXIT_HLT", {}, "KVM exit 5, which pyvmm does not know"),
    ],
)
def test_exit_that_ends_a_guest_is_explained(
    machine: MachineMaker, reason: str, fields: dict[str, Any], message: str
) -> None:
    vcpu = machine(SPIN).threads[0].vcpu
    for name, value in fields.items():
        setattr(vcpu.native, name, value)
    error = failure(vcpu, getattr(lib, reason))
    assert isinstance(error, GuestError)
    assert str(error) == f"vCPU 0 at 0x100000: {message}"
