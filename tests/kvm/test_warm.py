"""`pyvmm warm`: to its user, a guest that it boots looks like any other."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import socket
import struct
import subprocess
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from guests import ECHO, PYVMM, Assembler, of_threads, pyvmm, wait_until

if Path(PYVMM).read_bytes()[:4] != b"\x7fELF":
    pytest.skip("this pyvmm is a script", allow_module_level=True)

END = 'print text, 5\n exit 3\n .data\n text: .ascii "text\\n"'
# Prints that it runs, and halts.
SLEEP = 'print ready, 6\n cli\n hlt\n .data\n ready: .ascii "ready\\n"'


@contextmanager
def serving(directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A warm process whose socket is in `directory`."""
    environment = os.environ | {"XDG_RUNTIME_DIR": str(directory)}
    with subprocess.Popen([PYVMM, "warm", *words], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr
        try:
            assert " guests ready at " in process.stderr.readline()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture
def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A warm process that this test's commands find."""
    with serving(tmp_path) as process:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        yield process


def children(pid: int) -> list[int]:
    """The processes of which `pid` is the parent."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid: int) -> str:
    """That of a process (proc(5)): `S`, `T`, …; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def vcpu_threads(pid: int) -> int:
    """How many vCPUs a process runs."""
    return sum("vcpu" in name for name in of_threads(pid, "comm"))


def writes_to(pid: int) -> str:
    """What the standard output of a process is."""
    try:
        return os.readlink(f"/proc/{pid}/fd/1")
    except FileNotFoundError:
        return ""


@contextmanager
def sleeping_guest(
    warm: subprocess.Popen[str], image: str, *prefix: str, **options: object
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The user's process of a guest that sleeps, and the one that runs its vCPU."""
    command = [*prefix, PYVMM, "boot", image]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **options) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == b"ready\n"
            candidates = [process.pid, *children(warm.pid)]
            output = os.readlink(f"/proc/{process.pid}/fd/1")
            yield process, next(pid for pid in candidates if vcpu_threads(pid) and writes_to(pid) == output)
        finally:
            process.kill()


def test_guest_runs_elsewhere_and_ends_here(warm: subprocess.Popen[str], assemble: Assembler) -> None:
    image = assemble(SLEEP)
    with sleeping_guest(warm, image) as (process, vmm):
        assert vmm in children(warm.pid)
        assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1
    for _ in range(5):
        result = pyvmm("boot", assemble(END))
        assert (result.status, result.stdout, result.stderr) == (3, b"text\n", "")


def test_input_and_working_directory_are_the_user_s(
    warm: subprocess.Popen[str], assemble: Assembler, tmp_path: Path
) -> None:
    image = Path(assemble(ECHO))
    done = subprocess.run([PYVMM, "boot", image.name], input=b"abcq", capture_output=True, timeout=60, cwd=image.parent)
    assert (done.returncode, done.stdout, done.stderr) == (9, b"abc", b"")


def test_mistakes_are_told_as_ever(warm: subprocess.Popen[str]) -> None:
    result = pyvmm("boot", "/no/such")
    assert (result.status, result.stderr) == (125, "pyvmm: /no/such: No such file or directory\n")


def test_timing_begins_with_the_user_s_process(
    warm: subprocess.Popen[str], assemble: Assembler, tmp_path: Path
) -> None:
    assert pyvmm("boot", assemble(END), f"--timing={tmp_path}/timing.json").status == 3
    steps = json.loads((tmp_path / "timing.json").read_text())["steps"]
    assert [steps[0]["name"], steps[0]["ns"]] == ["process start", 0]
    known = [step["ns"] for step in steps if step["ns"] is not None]
    assert known == sorted(known)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_ends_the_guest(
    warm: subprocess.Popen[str], assemble: Assembler, number: signal.Signals, status: int
) -> None:
    with sleeping_guest(warm, assemble(SLEEP)) as (process, vmm):
        process.send_signal(number)
        assert process.wait(60) == status
        wait_until(lambda: state(vmm) in ("", "Z"), "the guest's end")


def test_a_signal_that_pyvmm_does_not_serve_ends_it_as_it_does_elsewhere(
    warm: subprocess.Popen[str], assemble: Assembler
) -> None:
    with sleeping_guest(warm, assemble(SLEEP)) as (process, vmm):
        process.send_signal(signal.SIGQUIT)
        assert process.wait(60) == -signal.SIGQUIT
        wait_until(lambda: state(vmm) in ("", "Z"), "the guest's end")


def test_whoever_kills_the_user_s_process_kills_the_guest(warm: subprocess.Popen[str], assemble: Assembler) -> None:
    with sleeping_guest(warm, assemble(SLEEP)) as (process, vmm):
        process.kill()
        wait_until(lambda: state(vmm) in ("", "Z"), "the guest's end")


def test_when_the_guest_s_process_is_killed_so_is_the_user_s(warm: subprocess.Popen[str], assemble: Assembler) -> None:
    with sleeping_guest(warm, assemble(SLEEP)) as (process, vmm):
        os.kill(vmm, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL


def test_ctrl_z_stops_the_guest_until_it_is_continued(warm: subprocess.Popen[str], assemble: Assembler) -> None:
    with sleeping_guest(warm, assemble(SLEEP)) as (process, vmm):
        process.send_signal(signal.SIGTSTP)
        wait_until(lambda: (state(process.pid), state(vmm)) == ("T", "T"), "both stop")
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: "T" not in (state(process.pid), state(vmm)), "both go on")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


def test_an_ignored_signal_stays_ignored(warm: subprocess.Popen[str], assemble: Assembler) -> None:
    with sleeping_guest(warm, assemble(SLEEP), "nohup", stderr=subprocess.DEVNULL) as (process, vmm):
        ignored = int(Path(f"/proc/{vmm}/status").read_text().partition("SigIgn:\t")[2].split()[0], 16)
        assert ignored >> (signal.SIGHUP - 1) & 1
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


def test_limits_nice_value_cpus_and_umask_are_the_user_s(warm: subprocess.Popen[str], assemble: Assembler) -> None:
    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99))
        os.nice(3)
        os.umask(0o027)
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

    with sleeping_guest(warm, assemble(SLEEP), preexec_fn=confine) as (_, vmm):
        assert vmm in children(warm.pid)
        assert resource.prlimit(vmm, resource.RLIMIT_NOFILE) == (77, 99)
        assert os.getpriority(os.PRIO_PROCESS, vmm) == os.getpriority(os.PRIO_PROCESS, 0) + 3
        assert os.sched_getaffinity(vmm) == {min(os.sched_getaffinity(0))}
        assert "Umask:\t0027\n" in Path(f"/proc/{vmm}/status").read_text()


@pytest.mark.parametrize(
    "prefix", [["unshare", "--user", "--map-root-user"], ["setpriv", "--no-new-privs"]], ids=lambda words: words[0]
)
def test_one_with_other_rights_boots_by_itself(
    warm: subprocess.Popen[str], assemble: Assembler, prefix: list[str]
) -> None:
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip(f"{prefix[0]} is not allowed here")
    with sleeping_guest(warm, assemble(SLEEP), *prefix) as (process, vmm):
        assert vmm == process.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_not_served(warm: subprocess.Popen[str], assemble: Assembler, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    (tmp_path / "pyvmm-warm").chmod(0o777)
    image = assemble(END)
    Path(image).parent.chmod(0o755)
    done = subprocess.run(
        [PYVMM, "boot", image], capture_output=True, timeout=60, user=65534, group=65534, extra_groups=[]
    )
    assert done.returncode == 3 or b"/dev/kvm" in done.stderr  # its own: it may not open KVM
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "pyvmm-warm"))
                streams = array("i", [0, 1, 2])
                client.sendmsg(
                    [struct.pack("=4I Q", 1, 0, 5, 0, 0) + b"boot\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)]
                )
                os._exit(len(client.recv(8)))
        except ConnectionError:  # it has not even read
            os._exit(0)
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_more_than_are_ready_boot_all_the_same(warm: subprocess.Popen[str], assemble: Assembler) -> None:
    image = assemble(END)
    processes = [subprocess.Popen([PYVMM, "boot", image], stdout=subprocess.PIPE) for _ in range(12)]
    assert [process.communicate(timeout=60)[0] for process in processes] == [b"text\n"] * 12
    assert {process.returncode for process in processes} == {3}


def test_when_it_ends_its_guests_go_on_and_its_children_do_not(
    warm: subprocess.Popen[str], assemble: Assembler
) -> None:
    with sleeping_guest(warm, assemble(SLEEP)) as (process, vmm):
        waiting = [pid for pid in children(warm.pid) if pid != vmm]
        warm.send_signal(signal.SIGTERM)
        assert warm.wait(60) == 143
        for pid in waiting:
            wait_until(lambda pid=pid: not state(pid), "the end of one that waits")  # type: ignore[misc]
        assert vcpu_threads(vmm)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert pyvmm("boot", assemble(END)).status == 3


def test_a_child_that_dies_is_replaced(warm: subprocess.Popen[str]) -> None:
    wait_until(lambda: len(children(warm.pid)) == 2, "two that wait")
    dead, other = children(warm.pid)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: dead not in children(warm.pid) and len(children(warm.pid)) == 2, "another one")
    assert other in children(warm.pid)


def test_there_is_one_at_a_time(warm: subprocess.Popen[str], tmp_path: Path) -> None:
    result = pyvmm("warm")
    assert result.status == 125
    assert result.stderr.startswith(f"pyvmm: warm: {tmp_path}/pyvmm-warm: ")
    assert result.stderr.count("\n") == 1


def test_a_socket_that_nobody_listens_on_is_replaced(tmp_path: Path, assemble: Assembler) -> None:
    with serving(tmp_path) as process:
        waiting = children(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(state, waiting)), "the end of those that waited")
        assert (tmp_path / "pyvmm-warm").exists()
    with serving(tmp_path):
        pass
    assert not (tmp_path / "pyvmm-warm").exists()


def was_ready(image: str, directory: Path, *options: str) -> bool:
    """Whether the guest of that command, which ends with 3, was loaded before it was asked for."""
    timing = directory / "timing.json"
    result = pyvmm("boot", image, *options, f"--timing={timing}", cwd=Path(image).parent)
    assert (result.status, result.stdout, result.stderr) == (3, b"text\n", "")
    steps = {step["name"]: step["ns"] for step in json.loads(timing.read_text())["steps"]}
    assert steps["first KVM_RUN"] > 0
    return steps["image loaded"] is None


def test_guests_of_a_command_are_kept_loaded(
    assemble: Assembler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    image = tmp_path / "guest.elf"
    image.write_bytes(Path(assemble(END)).read_bytes())
    with serving(tmp_path, str(image), "--mem", "256M", "--append", "words", "--ready", "4"):
        assert was_ready(str(image), tmp_path, "--mem", "256M", "--append=words")
        assert was_ready(str(image), tmp_path, "--append=words", "--mem=256M")
        assert not was_ready(str(image), tmp_path, "--mem", "128M", "--append", "words")
        assert not was_ready(str(image), tmp_path, "--mem", "256M")


@pytest.mark.parametrize(("line", "warm"), [('"$0" "$@"', True), ('set -m; "$0" "$@" & wait', False)])
def test_in_the_background_of_a_terminal_it_boots_by_itself(
    assemble: Assembler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, warm: bool
) -> None:
    """There it must be stopped when it reads the terminal."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    image, timing = assemble(END), tmp_path / "timing.json"
    with serving(tmp_path, image):
        command = shlex.join(["sh", "-c", line, PYVMM, "boot", image, f"--timing={timing}"])
        done = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, timeout=60)
        assert done.stdout == b"text\r\n"
        steps = {step["name"]: step["ns"] for step in json.loads(timing.read_text())["steps"]}
        assert (steps["image loaded"] is None) == warm


def test_an_image_that_has_changed_since_is_loaded_anew(
    assemble: Assembler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    image = tmp_path / "guest.elf"
    image.write_bytes(Path(assemble(END.replace("text\\n", "old!\\n"))).read_bytes())
    with serving(tmp_path, str(image)):
        image.write_bytes(Path(assemble(END)).read_bytes())
        assert not was_ready(str(image), tmp_path)
        image.unlink()
        assert pyvmm("boot", str(image)).stderr == f"pyvmm: {image}: No such file or directory\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--ready", "0"],
        ["--ready", "x"],
        ["/no/such"],
        ["/dev/null"],
        ["a", "b"],
        ["--mem", "1G"],
        ["x.elf", "--vsock", "5"],
        ["--read"],
    ],
)
def test_mistakes(words: list[str]) -> None:
    result = pyvmm("warm", *words)
    assert (result.status, result.stderr.count("\n")) == (125, 1)
