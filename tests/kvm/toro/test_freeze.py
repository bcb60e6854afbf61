"""Guests are frozen, and go on: counters, connections, files, clocks, random numbers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest
from guests import PYVMM, Assembler, Result, of_threads, pyvmm, wait_until
from programs import Programs, Talking

from pyvmm.api import share, vsock
from pyvmm.boot import bootinfo
from pyvmm.config import MachineConfig
from pyvmm.errors import GuestError, HostError, ImageError, PyvmmError
from pyvmm.machine import Machine
from pyvmm.state.freeze import Freezer

ECHO, FLOOD = 80, 83


class Guest(Talking):
    """The program Frozen on its machine."""

    def tells(self, line: str = "tell") -> tuple[int, int, int, int, int]:
        """Count, sum, floating point, time and a random number."""
        count, total, half, unix, random = map(int, self.ask(line).split())
        return count, total, half, unix, random


@contextmanager
def running(image: str, cpus: int = 1, freeze: str = "") -> Iterator[Guest]:
    with Machine(MachineConfig(image, cpus=cpus)) as machine:
        if freeze:
            machine.freeze_when_idle(freeze, end=False)
        guest = Guest(machine)
        machine.start()
        yield guest
        guest.do("end")
        assert machine.wait(10) == 0


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_a_guest_goes_on_in_the_file_and_where_it_was(programs: Programs, tmp_path: Path, cpus: int) -> None:
    file = str(tmp_path / "guest.frozen")
    with running(programs.image("Frozen"), cpus) as guest:
        assert guest.says() == "ready"
        for _ in range(10):
            before = guest.tells("work")
        guest.machine.freeze(file)
        after = guest.tells()
        assert before[:3] == after[:3]
    for _ in range(2):
        with running(file) as thawed:
            assert thawed.tells()[:3] == before[:3]
            count = thawed.tells("work")[0]
            assert count == before[0] + 1
            if cpus > 1:
                first, second = ([int(word) for word in thawed.ask("others").split()] for _ in range(2))
                assert len(first) == cpus - 1
                assert all(early <= late for early, late in zip(first, second, strict=True))


def test_clocks_are_right_and_random_numbers_differ(programs: Programs, tmp_path: Path) -> None:
    file = str(tmp_path / "guest.frozen")
    with running(programs.image("Frozen")) as guest:
        assert guest.says() == "ready"
        guest.machine.freeze(file, end=True)
        assert guest.machine.wait(10) == 0
    numbers = set()
    for _ in range(5):
        with running(file) as thawed:
            earliest = time.time_ns()
            *_, unix, random = thawed.tells()
            assert earliest - 50_000_000 <= unix <= time.time_ns() + 50_000_000
            numbers.add(random)
    assert len(numbers) == 5


def test_many_times_in_a_row_nothing_is_lost(programs: Programs, tmp_path: Path) -> None:
    files = [str(tmp_path / "one"), str(tmp_path / "other")]
    with running(programs.image("Frozen")) as guest:
        assert guest.says() == "ready"
        reference = [guest.tells("work")[:3] for _ in range(31)]
    image = programs.image("Frozen")
    for cycle in range(30):
        with Machine(MachineConfig(image)) as machine:
            guest = Guest(machine)
            machine.start()
            if not cycle:
                assert guest.says() == "ready"
            assert guest.tells("work")[:3] == reference[cycle]
            machine.freeze(files[cycle % 2], end=True)
            assert machine.wait(10) == 0
        image = files[cycle % 2]
    with running(image) as guest:
        assert guest.tells("work")[:3] == reference[30]


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_program_that_asks_returns_twice(programs: Programs, tmp_path: Path, cpus: int) -> None:
    file = tmp_path / "guest.frozen"
    with running(programs.image("Frozen"), cpus, str(file)) as guest:
        assert guest.says() == "ready"
        # It waits for its input: that is idle, and frozen it is at once.
        wait_until(file.exists, "the guest is frozen")
        assert guest.ask("freeze") == "foDeclined"
    with Machine(MachineConfig(programs.image("Frozen"), cpus=cpus)) as machine:
        again = str(tmp_path / "again.frozen")
        guest = Guest(machine)
        guest.do("work")
        guest.do("freeze")
        machine.freeze_when_idle(again, end=False)
        machine.start()
        assert guest.says() == "ready"
        count = guest.says()
        assert guest.says() == "foContinued"
        guest.do("end")
        assert machine.wait(10) == 0
    with running(again) as thawed:
        assert thawed.says() == "foThawed"
        assert thawed.ask("tell").split()[:3] == count.split()[:3]
        assert thawed.ask("freeze") == "foDeclined"


ASKS = """
    test esi, esi
    jnz 9f
    mov edx, 0xf8
    out dx, al
    in al, dx
    out 0xf4, al
9:  hlt
"""


def test_a_guest_that_asks_is_frozen_before_it_goes_on(
    assemble: Assembler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else pauses it and lets it go while its request is on the way."""
    with Machine(MachineConfig(assemble(ASKS), cpus=2)) as machine:
        machine.freeze_when_idle(str(tmp_path / "guest.frozen"), end=False)
        request = machine.request

        def pause_and_let_go() -> None:
            for _ in range(100):
                with machine.freezer():
                    pass

        def request_behind_another(action: Callable[[], None]) -> None:
            request(pause_and_let_go)
            request(action)

        monkeypatch.setattr(machine, "request", request_behind_another)
        assert machine.run() == 1


def test_without_the_option_a_freeze_is_declined(programs: Programs) -> None:
    with running(programs.image("Frozen")) as guest:
        assert guest.says() == "ready"
        assert guest.ask("freeze") == "foDeclined"


# ---- devices ---------------------------------------------------------------------------


def served(port: int, path: str) -> bytes:
    """What a web server answers, without its head."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while part := client.recv(1 << 16):
            data += part
    return data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_server_with_a_share_is_cloned(programs: Programs, tmp_path: Path, cpus: int) -> None:
    root = tmp_path / "www"
    root.mkdir()
    content = os.urandom(300_000)
    (root / "file").write_bytes(content)
    file = str(tmp_path / "server.frozen")
    image = programs.image(Path(__file__).parents[3] / "examples/StaticWebServer/StaticWebServer.pas")
    command = "virtiovsocket,virtiofs,FS,noconsole"
    with Machine(MachineConfig(image, cpus=cpus, command_line=command, vsock=5), devices(root)) as machine:
        machine.start()
        assert served(machine.ports[80][1], "/file") == content
        machine.freeze(file)
        assert served(machine.ports[80][1], "/file") == content
    with ExitStack() as stack:
        clones = [stack.enter_context(Machine.thaw(file, devices(root, cid))) for cid in (6, 7, 8)]
        for clone in clones:
            clone.start()
        (root / "new").write_bytes(b"later")
        for clone in clones:
            assert served(clone.ports[80][1], "/file") == content
            assert served(clone.ports[80][1], "/new") == b"later"


def devices(root: Path, cid: int = 5) -> list[object]:
    return [vsock(cid, publish=["0:80"]), share(f"{root}:FS:ro")]


def test_streams_end_and_new_clients_are_served(programs: Programs, tmp_path: Path) -> None:
    """Half of the clients send without end while the guest is frozen, the others read."""
    file = str(tmp_path / "echo.frozen")
    image = programs.image("SocketEcho")
    ports = ["0:80", "0:83"]
    with ExitStack() as stack:
        machine = stack.enter_context(Machine(MachineConfig(image, cpus=2), [vsock(5, publish=ports)]))
        machine.start()
        clients = [socket.create_connection(machine.ports[ECHO if i % 2 else FLOOD], timeout=30) for i in range(20)]
        for client in clients:
            stack.enter_context(client)
        threads = [Thread(target=stream, args=(client,), daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        machine.freeze(file)  # and it goes on
        machine.close()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    for _ in range(2):
        with Machine.thaw(file, [vsock(9, publish=ports)]) as thawed:
            thawed.start()
            data = os.urandom(200_000)
            for _ in range(3):
                with socket.create_connection(thawed.ports[ECHO], timeout=30) as client:
                    sender = Thread(target=client.sendall, args=(data,))
                    sender.start()
                    assert sha256(read(client, len(data))).digest() == sha256(data).digest()
                    sender.join()


def stream(client: socket.socket) -> None:
    """Sends and reads until the connection ends."""
    try:
        while True:
            client.sendall(bytes(1 << 14))
            if not client.recv(1 << 14):
                return
    except OSError:
        return


def read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := client.recv(1 << 16)):
        data += part
    return data


def test_other_devices_are_refused_in_one_line(programs: Programs, tmp_path: Path) -> None:
    file = str(tmp_path / "echo.frozen")
    with Machine(MachineConfig(programs.image("SocketEcho")), [vsock(5, publish=["0:80"])]) as machine:
        machine.start()
        machine.freeze(file)
    with pytest.raises(ImageError, match=r"frozen with other devices; it had, in this order: vsock$"):
        Machine.thaw(file)
    done = pyvmm("boot", file)
    assert (done.status, done.stdout) == (125, b"")
    assert done.stderr == f"pyvmm: {file}: it was frozen with other devices; it had, in this order: vsock\n"


# ---- the command -------------------------------------------------------------------------

TICKS = """
    mov ebx, 0
1:  inc ebx
    mov al, bl
    add al, 0x30
    mov [text], al
    print text, 2
    mov ecx, 30000
2:  dec ecx
    jnz 2b
    cmp ebx, 9
    jne 1b
    exit 7
    .data
    text: .ascii "?\\n"
"""


def test_the_command_freezes_by_name_and_goes_on(assemble: Assembler, tmp_path: Path) -> None:
    """A guest that never halts, in ring 0, without an interrupt handler."""
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    command = [PYVMM, "boot", assemble(TICKS), "--name", "ticks"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        first = os.read(process.stdout.fileno(), 2)
        done = pyvmm("freeze", "ticks", "-o", str(tmp_path / "t.frozen"), "--end", env=environment)
        assert (done.status, done.stderr) == (0, "")
        shown = first + process.stdout.read()
    assert process.returncode == 0
    assert not (tmp_path / "pyvmm/ticks").exists()
    rest = pyvmm("boot", str(tmp_path / "t.frozen"))
    assert (rest.status, rest.stderr) == (7, "")
    assert shown + rest.stdout == b"".join(b"%d\n" % i for i in range(1, 10))


def test_a_guest_that_waits_for_input_gets_it_when_it_is_thawed(programs: Programs, tmp_path: Path) -> None:
    file = str(tmp_path / "waits.frozen")
    read, write = os.pipe()
    done = pyvmm("boot", programs.image("Frozen"), "--freeze", file, stdin=read)
    assert (done.status, done.stdout) == (0, b"ready\n")
    os.close(read)
    os.close(write)
    thawed = pyvmm("boot", file, stdin=b"work\nend\n")
    assert (thawed.status, thawed.stderr) == (0, "")
    assert thawed.stdout.startswith(b"1 ")


def test_a_guest_that_ends_before_it_is_frozen_is_told_of(assemble: Assembler, tmp_path: Path) -> None:
    done = pyvmm("boot", assemble("exit 3"), "--freeze", str(tmp_path / "f"))
    message = f"pyvmm: the guest has ended before it was frozen; {tmp_path}/f was not written\n"
    assert done == Result(3, b"", message)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("ending", ["exit 3", "ud2"])
def test_the_end_of_a_guest_that_is_being_paused_is_its_own(
    assemble: Assembler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    flag = bootinfo.offset_of("marks")
    source = f"1: cmp byte ptr [rdi + {flag}], 0\n je 1b\n {ending}"
    with Machine(MachineConfig(assemble(source))) as machine:
        machine.freeze_when_idle(str(tmp_path / "f"), end=True)
        freezer = machine.freezer

        def freezer_at_its_end() -> Freezer:
            machine.memory.write(machine._native.boot_info + flag, b"\1")
            wait_until(lambda: machine.threads[0].exit_reason() is not None, "the guest ends")
            return freezer()

        monkeypatch.setattr(machine, "freezer", freezer_at_its_end)
        if ending == "exit 3":
            assert machine.run() == 3
        else:
            with pytest.raises(GuestError, match="vCPU 0"):
                machine.run()
        assert not machine.was_frozen


def test_an_idle_guest_is_frozen_and_ends(programs: Programs, tmp_path: Path) -> None:
    file = tmp_path / "idle.frozen"
    done = pyvmm("boot", programs.image("SocketEcho"), "--vsock", "5", "-p", "0:80", "--freeze", str(file), timeout=60)
    assert done.status == 0
    assert done.stderr.splitlines()[-1] == f"pyvmm: frozen to {file}"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("option", ["--mem 64M", "--cpus 2", "--append x", "--boot pvh", "--initrd x"])
def test_a_frozen_guest_has_what_it_was_booted_with(assemble: Assembler, tmp_path: Path, option: str) -> None:
    file = frozen(assemble, tmp_path)
    done = pyvmm("boot", file, *option.split())
    name = option.split()[0]
    assert (done.status, done.stdout) == (125, b"")
    assert done.stderr == f"pyvmm: {name}: {file} is a frozen guest, which has what it was booted with\n"


def frozen(assemble: Assembler, folder: Path) -> str:
    """A guest that spins, frozen."""
    file = str(folder / "spins.frozen")
    with Machine(MachineConfig(assemble("1: jmp 1b"), memory=16 << 20)) as machine:
        machine.start()
        machine.freeze(file)
    return file


def test_a_damaged_file_is_one_line(assemble: Assembler, tmp_path: Path) -> None:
    file = frozen(assemble, tmp_path)
    data = bytearray(Path(file).read_bytes())
    data[300] ^= 1
    Path(file).write_bytes(data)
    done = pyvmm("boot", file)
    assert (done.status, done.stderr) == (125, f"pyvmm: {file}: damaged: head_sum is not that of its head\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["freeze"], "NAME is missing; try `pyvmm freeze --help`"),
        (["freeze", "a/b"], "--name a/b: not 1 to 64 letters, digits, - and _"),
        (["freeze", "nobody"], "nobody: no guest of yours has this name; `pyvmm ps` lists them"),
        (["freeze", "x", "-o", "/absent/y"], "/absent/y: No such file or directory"),
        (["freeze", "x", "-o", "/tmp/"], "-o /tmp/: not a file"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    done = pyvmm(*words, env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert (done.status, done.stderr) == (125, f"pyvmm: {message}\n")


def test_a_name_is_one_guest_s(assemble: Assembler, tmp_path: Path) -> None:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    command = [PYVMM, "boot", assemble("1: jmp 1b"), "--name", "spins"]
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_until((tmp_path / "pyvmm/spins/control").exists, "the guest has its name")
            second = pyvmm(*command[1:], env=environment)
            assert second == Result(125, b"", "pyvmm: --name spins: another guest has this name\n")
        finally:
            process.kill()
    # One that was killed leaves its socket, which is no obstacle.
    assert (tmp_path / "pyvmm/spins/control").exists()
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_until(lambda: pyvmm("freeze", "spins", "-o", str(tmp_path / "f"), env=environment).status == 0, "it")
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 143


def test_a_guest_whose_console_nobody_reads_is_not_frozen_now(assemble: Assembler, tmp_path: Path) -> None:
    """Its vCPU is in a write, which is no state to freeze; it goes on, and can be frozen later."""
    source = "1: print text, 4096\n jmp 1b\n .data\n text: .fill 4096, 1, 0x2e"
    with Machine(MachineConfig(assemble(source), memory=16 << 20)) as machine:
        machine.start()
        assert machine.console
        write = f"1 {machine.console.guest_output:#x} "
        wait_until(lambda: any(call.startswith(write) for call in of_threads(os.getpid(), "syscall")), "it waits")
        with pytest.raises(HostError, match="nobody reads the guest's console"):
            machine.freeze(str(tmp_path / "f"))
        assert not (tmp_path / "f").exists()
        done: list[object] = []
        reader = Thread(target=lambda: done.append(drain(machine, tmp_path / "f")))
        reader.start()
        machine.freeze(str(tmp_path / "f"), end=True)
        reader.join()
        assert machine.wait(10) == 0


def drain(machine: Machine, file: Path) -> None:
    assert machine.console
    while not file.exists():
        machine.console.drain(0.1)


def test_it_is_not_frozen_after_its_end(assemble: Assembler, tmp_path: Path) -> None:
    with Machine(MachineConfig(assemble("exit 3"), memory=16 << 20)) as machine:
        machine.start()
        assert machine.wait(10) == 3
        with pytest.raises(PyvmmError, match="the guest has ended"):
            machine.freeze(str(tmp_path / "f"))


@pytest.mark.parametrize("where", ["/absent/file", "/proc/file"])
def test_a_file_that_cannot_be_written_is_a_host_error(assemble: Assembler, where: str) -> None:
    with Machine(MachineConfig(assemble("1: jmp 1b"), memory=16 << 20)) as machine:
        machine.start()
        with pytest.raises(HostError, match=r"No such file or directory|Permission denied|not supported"):
            machine.freeze(where)
