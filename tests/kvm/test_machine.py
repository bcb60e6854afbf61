"""pyvmm.machine: everything has an owner that closes it, also when a step fails."""

from __future__ import annotations

import json
import posix
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from errno import EIO
from functools import partial
from pathlib import Path
from time import monotonic_ns
from types import SimpleNamespace
from typing import Any

import pytest
from guests import MIB, PYVMM, Assembler, Result, descriptors_left, open_fds, pyvmm, tasks

from pyvmm import bus, made
from pyvmm import machine as module
from pyvmm._kvm import lib
from pyvmm.boot import bootinfo, compose, direct, elf
from pyvmm.boot.direct import DirectBoot
from pyvmm.boot.file import File
from pyvmm.bus import Bus
from pyvmm.config import MachineConfig
from pyvmm.errors import HostError, ImageError, PyvmmError
from pyvmm.kvm.thread import VcpuThread
from pyvmm.machine import Machine
from pyvmm.state.state import State

GUEST = 'test esi, esi\n jnz 9f\n print text, 5\n exit 3\n .data\n text: .ascii "text\\n"'


@pytest.fixture
def config(assemble: Assembler) -> MachineConfig:
    """A guest of two vCPUs that ends with status 3."""
    return MachineConfig(assemble(GUEST), cpus=2)


def belongings() -> tuple[dict[int, str], list[str], int, set[signal.Signals]]:
    """What a machine might leave behind: descriptors, mappings, threads, blocked signals."""
    with open("/proc/self/maps") as maps:
        mappings = [line for line in maps if "guest-ram" in line or "kvm-vcpu" in line]
    threads = len(list(Path("/proc/self/task").iterdir()))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return open_fds(), mappings, threads, {signal.Signals(number) for number in blocked}


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """Fails when there is more after the test than before."""
    before = belongings()
    yield
    assert belongings() == before


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_machines_that_come_and_go_leave_nothing(config: MachineConfig) -> None:
    for _ in range(50):
        with Machine(config) as machine:
            assert machine.memory.size == 128 * MIB


def test_machine_that_ran_leaves_nothing(config: MachineConfig) -> None:
    for _ in range(5):
        with Machine(config) as machine:
            assert machine.run() == 3
            assert machine.status == 3
            assert machine.console
            assert machine.console.read() == b"text\n"


def test_close_twice_is_no_error(config: MachineConfig) -> None:
    machine = Machine(config)
    machine.close()
    machine.close()


_STEPS = [
    (elf, "parse"),
    (DirectBoot, "__init__"),
    (compose, "GuestMemory"),
    (File, "copy"),
    (direct, "Cpuid"),
    (DirectBoot, "build_tables"),
    (DirectBoot, "write_tables"),
    (DirectBoot, "registers"),
    (State, "add"),
    (State, "head"),
    (module, "Vm"),
    (module, "Bus"),
    (module, "Console"),
    (Bus, "serve_with"),
]


@pytest.mark.parametrize(("owner", "step"), _STEPS, ids=[step for _, step in _STEPS])
def test_step_of_the_build_that_fails_leaves_nothing(
    config: MachineConfig, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PyvmmError(f"{step} fails")

    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(PyvmmError, match=f"{step} fails"):
        Machine(config)


def test_descriptor_that_run_cannot_have_is_a_host_error(
    config: MachineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name: getattr(lib, name) for name in dir(lib)}
    with Machine(config) as machine:
        monkeypatch.setattr(bus, "lib", SimpleNamespace(**(names | {"eventfd": lambda *_: -1})))
        with pytest.raises(HostError, match="eventfd"):
            machine.run()


def test_thread_that_does_not_start_ends_those_that_did(config: MachineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    start = VcpuThread.start

    def start_first_only(self: VcpuThread, event_fd: int, cpu: int | None = None, vcpus: int = 1) -> None:
        if self.vcpu.index:
            raise PyvmmError("no more threads")
        start(self, event_fd, cpu, vcpus)

    monkeypatch.setattr(VcpuThread, "start", start_first_only)
    with Machine(config) as machine, pytest.raises(PyvmmError, match="no more threads"):
        machine.run()


def test_threads_end_before_anything_that_they_use_is_closed(
    config: MachineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name: getattr(lib, name) for name in dir(lib)}
    discarded = []

    def no_vcpu_runs(machine: object) -> None:
        assert not [name for name in tasks() if name.startswith("vcpu")]
        discarded.append(machine)
        lib.machine_discard(machine)

    monkeypatch.setattr(made, "lib", SimpleNamespace(**(names | {"machine_discard": no_vcpu_runs})))
    with Machine(config) as machine:
        machine.run()
    assert len(discarded) == 1


def test_any_shortage_of_descriptors_is_an_error_and_leaves_nothing(config: MachineConfig) -> None:
    """Each descriptor of a machine is once the one that is not to be had."""
    failures = 0
    for count in range(40):
        try:
            with descriptors_left(count), Machine(config) as machine:
                assert machine.run() == 3
                assert machine.console
                assert machine.console.read() == b"text\n"
                break
        except PyvmmError as error:
            assert "Too many open files" in str(error)  # noqa: PT017 - the limit that is enough is not known
            failures += 1
    else:
        pytest.fail("40 descriptors are not enough")
    assert failures > 8


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "options",
    [
        "",
        "--vsock 5",
        "--console virtio=file:{folder}/console",
        "--share {folder}:FS:ro",
        "--cpus 2 --mem 8G",
        "--timing={folder}/t.json",
    ],
)
def test_command_without_descriptors_fails_in_one_line(assemble: Assembler, tmp_path: Path, options: str) -> None:
    words = options.format(folder=tmp_path).split()
    for limit in range(4, 60):
        done = pyvmm(
            "boot",
            assemble(GUEST),
            *words,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, (limit, limit)),
        )
        if done.status == 3:
            assert done.stdout == b"text\n"
            break
        assert (done.status, done.stderr.count("\n")) == (125, 1)
        assert done.stderr.startswith("pyvmm: ")
    else:
        pytest.fail("60 descriptors are not enough")


def test_shared_memory_beyond_the_limit_of_a_file_is_one_line(boot: Callable[..., Result], tmp_path: Path) -> None:
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (32 * MIB, 32 * MIB))
    done = boot(GUEST, "--share", f"{tmp_path}:FS", preexec_fn=limit)
    assert (done.status, done.stdout) == (125, b"")
    assert done.stderr == (
        "pyvmm: mapping 128 MiB of guest memory: File too large; raise the limit of a file's size (`ulimit -f`)\n"
    )


def test_no_room_in_the_address_space_is_one_line(assemble: Assembler) -> None:
    line = 'ulimit -v 1000000 && exec "$0" boot "$1" --mem 64G'
    done = subprocess.run(["sh", "-c", line, PYVMM, assemble(GUEST)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 125
    assert done.stderr == "pyvmm: mapping 65536 MiB of guest memory: Cannot allocate memory; try less memory\n"


def test_file_that_is_truncated_while_it_is_loaded_is_an_image_error(
    assemble: Assembler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "shrinking.elf"
    image.write_bytes(Path(assemble(GUEST)).read_bytes())
    parse = elf.parse

    def parse_and_truncate(*arguments: Any) -> Any:
        parsed = parse(*arguments)
        image.write_bytes(image.read_bytes()[:200])
        return parsed

    monkeypatch.setattr(elf, "parse", parse_and_truncate)
    with pytest.raises(ImageError, match=r"shrinking.elf: truncated in what goes to 0x100000"):
        Machine(MachineConfig(str(image)))


def test_file_that_is_read_in_small_pieces_is_loaded_completely(
    config: MachineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = posix.preadv
    monkeypatch.setattr(posix, "preadv", lambda fd, views, offset: preadv(fd, [views[0][:7]], offset))
    data = Path(config.image).read_bytes()
    with Machine(config) as machine:
        for segment in elf.parse(lambda at, size: data[at : at + size], len(data), "").segments:
            wanted = data[segment.offset : segment.offset + segment.filesz]
            assert machine.memory.read(segment.paddr, segment.filesz) == wanted


def test_file_that_cannot_be_read_is_a_host_error(config: MachineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(EIO, "")

    monkeypatch.setattr(posix, "preadv", fail)
    with pytest.raises(HostError, match=r"reading .*\.elf: Input/output error"):
        Machine(config)


# ---- timing -----------------------------------------------------------------------------

MARKS = f"""
    mov rbx, rdi
    .irp mark, 0, 1, 2
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov [rbx + {bootinfo.offset_of("marks")} + \\mark * 8], rax
    .endr
    exit 0
"""


def test_timing_has_every_step_in_order(boot: Callable[..., Result], tmp_path: Path) -> None:
    assert boot(MARKS, f"--timing={tmp_path}/t.json") == Result(0, b"", "")
    steps = json.loads((tmp_path / "t.json").read_text())["steps"]
    times = [step["ns"] for step in steps]
    assert None not in times
    # Clocks of host and guest are compared with microseconds of error.
    assert all(after - before > -50_000 for before, after in zip(times, times[1:], strict=False))
    assert times[0] == 0 < times[-1]


def test_timing_begins_with_the_process_while_that_waits_for_its_guest(assemble: Assembler, tmp_path: Path) -> None:
    """A guest of two vCPUs, for 30 million ticks of its TSC."""
    image = assemble(f"""
        test esi, esi
        jnz 9f
        rdtsc
        lea ebp, [rax + 30000000]
    1:  rdtsc
        sub eax, ebp
        js 1b
        {MARKS}""")
    for _ in range(5):
        assert pyvmm("boot", image, "--cpus", "2", f"--timing={tmp_path}/t.json") == Result(0, b"", "")
        assert json.loads((tmp_path / "t.json").read_text())["steps"][0] == {
            "name": "process start", "side": "host", "ns": 0,
        }  # fmt: skip


def test_timing_goes_to_stderr_beside_the_status(boot: Callable[..., Result]) -> None:
    result = boot("exit 6", "--timing")
    assert (result.status, result.stdout) == (6, b"")
    assert result.stderr.startswith("step ")
    assert "exits: 1 io\n" in result.stderr


def test_timing_is_told_of_a_guest_that_failed_too(boot: Callable[..., Result]) -> None:
    result = boot("ud2", "--timing")
    assert result.status == 124
    assert "exits: 1 " in result.stderr
    assert "triple fault" in result.stderr.splitlines()[0]


def test_timing_is_told_of_vcpus_that_never_end(boot: Callable[..., Result]) -> None:
    """KVM lets nobody ask a vCPU anything while it is in KVM_RUN, and one that has halted stays there."""
    result = boot("test esi, esi\njz 1f\nhlt\n1:\nexit 0", "--cpus", "3", "--timing")
    assert result.status == 0
    assert "exits: 1 io\n" in result.stderr


def test_timing_file_that_cannot_be_written_is_one_line(boot: Callable[..., Result]) -> None:
    result = boot("exit 0", "--timing=/absent/t.json")
    assert result == Result(125, b"", "pyvmm: --timing=/absent/t.json: No such file or directory\n")


def test_an_image_that_is_not_there_leaves_no_timing_file(tmp_path: Path) -> None:
    result = pyvmm("boot", "/absent", f"--timing={tmp_path}/t.json")
    assert result == Result(125, b"", "pyvmm: /absent: No such file or directory\n")
    assert not [*tmp_path.iterdir()]


def test_marks_of_the_guest_lie_between_those_of_the_host(assemble: Assembler) -> None:
    with Machine(MachineConfig(assemble(MARKS))) as machine:
        before = monotonic_ns()
        assert machine.run() == 0
        marks = machine.measures.guest_marks()
        after = monotonic_ns()
    assert list(marks) == ["entry", "kernel", "application"]
    assert before - 50_000 <= marks["entry"] <= marks["kernel"] <= marks["application"] <= after + 50_000


@pytest.mark.parametrize("value", [1, (1 << 63), (1 << 64) - 1])
def test_mark_that_makes_no_sense_is_no_error(boot: Callable[..., Result], tmp_path: Path, value: int) -> None:
    source = f"mov rax, {value}\n mov [rdi + {bootinfo.offset_of('marks')}], rax\n exit 0"
    for form in ("json", "svg"):
        assert boot(source, f"--timing={tmp_path}/t.{form}") == Result(0, b"", "")
        assert (tmp_path / f"t.{form}").stat().st_size > 100


@pytest.mark.skipif(len(posix.sched_getaffinity(0)) < 2, reason="two CPUs are needed")
@pytest.mark.parametrize("cache", [[], ["--no-cache"]], ids=["from the cache", "composed"])
def test_vcpus_share_no_cpu_of_the_host_if_there_are_enough(assemble: Assembler, cache: list[str]) -> None:
    allowed = posix.sched_getaffinity(0)
    image = assemble('print text, 5\nwait: pause\njmp wait\ntext: .ascii "text\\n"')

    def sets(cpus: int) -> list[set[int]]:
        command = [PYVMM, "boot", image, "--cpus", str(cpus), *cache]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as guest:
            assert guest.stdout
            assert guest.stdout.readline() == b"text\n"
            threads = Path(f"/proc/{guest.pid}/task").iterdir()
            found = [
                posix.sched_getaffinity(int(thread.name))
                for thread in threads
                if "vcpu" in (thread / "comm").read_text()
            ]
            guest.kill()
        return found

    sets(2)  # it is in the cache then
    one, other = sets(2)
    assert not one & other
    assert one | other == allowed
    while sets(2)[0] == one:  # guests begin at different ones, by their process IDs
        pass
    assert sets(len(allowed) + 1) == [allowed] * (len(allowed) + 1)


@pytest.mark.usefixtures("way")
def test_pinned_guest_boots(assemble: Assembler) -> None:
    assert pyvmm("boot", assemble(GUEST), "--cpus", "3", "--pin", "auto") == Result(3, b"text\n", "")
