"""Guests from outside: listed, paused, stopped, detached, measured, and told of."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from guests import PYVMM, Assembler, Result, pyvmm, wait_until
from prometheus_client.parser import text_string_to_metric_families
from qemu.qmp import EventListener, QMPClient

#: Says that it runs, and halts for ever.
IDLE = 'print text, 5\n jmp 9f\n .data\n text: .ascii "here\\n"\n .text'
#: Prints what it reads from the UART, and ends with status 7 after a `.`.
ECHO = """
1:  mov edx, 0x3fd
    in al, dx
    test al, 1
    jz 1b
    mov edx, 0x3f8
    in al, dx
    out dx, al
    cmp al, 0x2e
    jne 1b
    exit 7
"""
#: Computes for a quarter of a second or more, and ends with status 9.
COMPUTES = """
    rdtsc
    mov ebx, edx
    shl rbx, 32
    or rbx, rax
1:  rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, rbx
    cmp rax, 1000000000
    jb 1b
    exit 9
"""


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@contextmanager
def running(image: str, *options: str, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A guest that is killed at the end, if it still runs."""
    with subprocess.Popen([PYVMM, "boot", image, *options], stdin=subprocess.DEVNULL, **how) as process:
        try:
            yield process
        finally:
            process.kill()


def guests() -> list[dict[str, Any]]:
    done = pyvmm("ps", "--json")
    assert (done.status, done.stderr) == (0, "")
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return listed


@contextmanager
def named(image: str, name: str, *options: str, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    with running(image, "--name", name, *options, **how) as process:
        wait_until(lambda: [each for each in guests() if each["name"] == name], f"{name} is listed")
        yield process


def qmp(path: Path, talk: Callable[[QMPClient], Any]) -> Any:
    """What a client of PyPI's qemu.qmp finds."""

    async def main() -> Any:
        client = QMPClient("test")
        await client.connect(str(path))
        try:
            return await talk(client)
        finally:
            with suppress(EOFError):  # the guest's process was faster
                await client.disconnect()

    return asyncio.run(asyncio.wait_for(main(), 60))


# ---- the registry -----------------------------------------------------------------------


def test_a_guest_with_a_name_is_listed_until_it_ends(assemble: Assembler, tmp_path: Path) -> None:
    image = assemble(IDLE)
    with named(
        image, "one", "--mem", "64M", "--cpus", "2", "--vsock", "5", "-p", "0:80", stderr=subprocess.PIPE
    ) as guest:
        (listed,) = guests()
        assert listed.pop("uptime") >= 0
        (port,) = listed.pop("ports")
        assert (port["address"], port["guest_port"], port["port"] > 0) == ("127.0.0.1", 80, True)
        assert listed == {
            "name": "one", "pid": guest.pid, "state": "running", "memory": 64 << 20, "cpus": 2, "cid": 5,
            "network": None, "image": image,
        }  # fmt: skip
        text = pyvmm("ps").stdout.decode()
        assert text.splitlines()[0].split() == "NAME PID STATE UPTIME MEMORY CPUS PORTS IMAGE".split()
        assert f"127.0.0.1:{port['port']}->80" in text
        guest.terminate()
        guest.wait(60)
    assert guests() == []
    assert not (tmp_path / "pyvmm/one").exists()


@pytest.mark.usefixtures("way")
def test_a_guest_without_a_name_is_listed_when_it_has_run_for_a_while(assemble: Assembler) -> None:
    """The second time no interpreter has started, until somebody asks the guest something."""
    image = assemble(IDLE)
    for cpus in ("1", "2"):
        with running(image, "--cpus", cpus) as guest:
            wait_until(guests, "it is listed")
            (listed,) = guests()
            assert listed["name"] == f"{Path(image).stem}-{guest.pid}"
            assert (listed["cpus"], listed["image"]) == (int(cpus), image)
            inspected = json.loads(pyvmm("inspect", listed["name"], "--json").stdout)
            assert [vcpu["thread"] > guest.pid for vcpu in inspected["vcpus"]] == [True] * int(cpus)
            assert inspected["uptime"] >= listed["uptime"]
            assert pyvmm("stop", listed["name"], "--time", "0").status == 0
            assert guest.wait(60) == 143
        assert guests() == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_a_guest_ends_its_entry(assemble: Assembler, tmp_path: Path, number: int) -> None:
    with running(assemble(IDLE)) as guest:
        wait_until(guests, "it is listed")
        guest.send_signal(number)
        guest.wait(60)
    assert [*(tmp_path / "pyvmm").iterdir()] == [] or number == signal.SIGKILL
    assert guests() == []
    assert [*(tmp_path / "pyvmm").iterdir()] == []


@pytest.mark.usefixtures("way")
def test_a_guest_that_ends_soon_leaves_no_trace(assemble: Assembler, tmp_path: Path) -> None:
    image = assemble("exit 3")
    assert pyvmm("boot", image, "--sandbox=off").status == 3
    assert not (tmp_path / "pyvmm").exists()
    assert pyvmm("boot", image).status == 3  # opens the registry at the start
    assert not [*(tmp_path / "pyvmm").iterdir()]


@pytest.mark.usefixtures("way")
def test_a_guest_that_computes_is_listed_and_ends_by_itself(assemble: Assembler, tmp_path: Path) -> None:
    """Its status is still its own after it went on in a thread."""
    assert pyvmm("boot", assemble(COMPUTES)) == Result(9, b"", "")
    assert not [*(tmp_path / "pyvmm").glob("*")]


@pytest.mark.usefixtures("way")
def test_a_guest_that_cannot_be_listed_runs_all_the_same(assemble: Assembler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/absent")
    assert pyvmm("boot", assemble(COMPUTES)) == Result(9, b"", "")
    assert pyvmm("boot", assemble(COMPUTES), "--name", "one").status == 125


def test_guests_that_are_not_there_are_told() -> None:
    for command in ("stop", "pause", "resume", "ping", "inspect", "wait", "attach", "freeze"):
        done = pyvmm(command, "nobody")
        assert done == Result(125, b"", "pyvmm: nobody: no guest of yours has this name; `pyvmm ps` lists them\n")
    assert pyvmm("logs", "nobody").stderr == "pyvmm: nobody: no guest of this name was started with --detach\n"
    assert pyvmm("ps", "x", "y").stderr == "pyvmm: y: one NAME at a time\n"
    assert pyvmm("ps", "x", "--json").stdout == b"[]\n"


# ---- QMP --------------------------------------------------------------------------------


def test_the_client_of_qemu_works(assemble: Assembler, tmp_path: Path) -> None:
    async def talk(client: QMPClient) -> None:
        assert client.greeting
        names = {each["name"] for each in await client.execute("query-commands")}
        assert {"qmp_capabilities", "query-status", "query-cpus-fast", "query-stats", "quit"} <= names
        assert (await client.execute("query-version"))["package"].startswith("pyvmm ")
        assert (await client.execute("query-name")) == {"name": "one"}
        assert [cpu["cpu-index"] for cpu in await client.execute("query-cpus-fast")] == [0, 1]
        (vm,) = await client.execute("query-stats", {"target": "vm"})
        assert vm["provider"] == "kvm"
        vcpus = await client.execute("query-stats", {"target": "vcpu"})
        assert [vcpu["qom-path"] for vcpu in vcpus] == ["/machine/cpu[0]", "/machine/cpu[1]"]
        assert {stat["name"] for stat in vcpus[0]["stats"]} >= {"exits"}
        vsock = await client.execute("query-vsock")
        assert (vsock["cid"], vsock["ports"][0]["guest-port"], vsock["streams"]) == (5, 80, 0)
        listener = EventListener(["STOP", "RESUME"])
        with client.listen(listener):
            await client.execute("stop")
            assert (await listener.get())["event"] == "STOP"
            assert (await client.execute("query-status")) == {"running": False, "singlestep": False, "status": "paused"}
            await client.execute("stop")
            await client.execute("cont")
            assert (await listener.get())["event"] == "RESUME"
        assert (await client.execute("query-status"))["running"]
        for name, arguments in (("query-stats", {"target": "x"}), ("stop", {"a": 1}), ("freeze", {"filename": "f"})):
            with pytest.raises(Exception, match=r"expects|unexpected|descriptor"):
                await client.execute(name, arguments)

    options = ("--cpus", "2", "--vsock", "5", "-p", "0:80")
    with named(assemble(IDLE), "one", *options, stderr=subprocess.DEVNULL):
        qmp(tmp_path / "pyvmm/one/control", talk)


@pytest.mark.parametrize(
    ("source", "end", "status", "reason"),
    [
        (IDLE, "quit", 143, "host-qmp-quit"),
        (IDLE, signal.SIGINT, 130, "host-signal"),
        (ECHO, "cont", 7, "guest-shutdown"),
        ("1: mov edx, 0x3fd\n in al, dx\n test al, 1\n jz 1b\n ud2", "cont", 124, "guest-panic"),
    ],
)
def test_clients_are_told_how_a_guest_ends(
    assemble: Assembler, tmp_path: Path, source: str, end: str | int, status: int, reason: str
) -> None:
    with subprocess.Popen(
        [PYVMM, "boot", assemble(source), "--name", "one"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as guest:
        wait_until(guests, "it is listed")

        async def talk(client: QMPClient) -> list[Any]:
            events = []
            with client.listener(("SHUTDOWN", "GUEST_PANICKED")) as listener:
                if isinstance(end, str):
                    await client.execute(end)
                else:
                    guest.send_signal(end)
                assert guest.stdin
                guest.stdin.write(b".")
                guest.stdin.close()
                while not events or events[-1]["event"] != "SHUTDOWN":
                    events.append(await listener.get())
            return events

        events = qmp(tmp_path / "pyvmm/one/control", talk)
        assert guest.wait(60) == status
    shutdown = events[-1]["data"]
    assert (shutdown["reason"], shutdown["status"]) == (reason, status)
    assert shutdown["guest"] == reason.startswith("guest")
    assert [event["event"] for event in events[:-1]] == (["GUEST_PANICKED"] if status == 124 else [])


def test_qmp_shell_works(assemble: Assembler, tmp_path: Path) -> None:
    shell = Path(sys.executable).with_name("qmp-shell")
    with named(assemble(IDLE), "one"):
        talk = subprocess.Popen(
            [shell, str(tmp_path / "pyvmm/one/control")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        out, _ = talk.communicate("query-status\nstop\nquery-status\nquery-stats target=vm\n", timeout=60)
    assert '"status": "running"' in out
    assert '"status": "paused"' in out
    assert '"provider": "kvm"' in out


def test_a_client_that_sends_rubbish_harms_nobody(assemble: Assembler, tmp_path: Path) -> None:
    with named(assemble(IDLE), "one"):
        for rubbish in (b"\0" * 100, b"{" * 100_000, b'{"execute": 1}\n' * 5000, os.urandom(50_000)):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "pyvmm/one/control"))
                client.setblocking(False)
                try:
                    client.sendall(rubbish)
                except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                    pass
        assert guests()[0]["state"] == "running"
        assert pyvmm("stop", "one", "--time", "0").status == 0


def test_a_guest_that_does_not_end_when_it_is_asked_is_ended(assemble: Assembler) -> None:
    with named(assemble(IDLE), "one") as guest:
        assert pyvmm("stop", "one", "--time", "1") == Result(0, b"", "")
        assert guest.wait(60) == 143


# ---- pause, stop, wait -------------------------------------------------------------------


def test_a_paused_guest_does_nothing_and_can_be_frozen(assemble: Assembler, tmp_path: Path) -> None:
    counts = "mov ebx, 0\n1: inc ebx\n mov [text], bl\n print text, 1\n jmp 1b\n .data\n text: .byte 0"
    with named(assemble(counts), "one", stdout=subprocess.PIPE) as guest:
        assert guest.stdout
        os.set_blocking(guest.stdout.fileno(), False)
        wait_until(guest.stdout.read, "it prints")
        assert pyvmm("pause", "one").status == 0
        assert guests()[0]["state"] == "paused"
        guest.stdout.read()
        assert pyvmm("freeze", "one", "-o", str(tmp_path / "one.frozen")).status == 0
        assert not guest.stdout.read()
        assert guests()[0]["state"] == "paused"
        assert pyvmm("resume", "one").status == 0
        wait_until(guest.stdout.read, "it goes on")
        assert guests()[0]["state"] == "running"


def test_wait_ends_with_the_guest_s_status(assemble: Assembler) -> None:
    with subprocess.Popen([PYVMM, "boot", assemble(ECHO), "--name", "one"], stdin=subprocess.PIPE) as guest:
        wait_until(guests, "it is listed")
        with subprocess.Popen([PYVMM, "wait", "one"]) as waiting:
            assert guest.stdin
            guest.stdin.write(b".")
            guest.stdin.close()
            status = waiting.wait(60)
    assert (guest.returncode, status) in ((7, 7), (7, 125))  # the guest may end before it is waited for


def test_ping_tells_whether_a_guest_runs(assemble: Assembler) -> None:
    assert pyvmm("ping") == Result(125, b"", "pyvmm: no guest of yours runs\n")
    with named(assemble(IDLE), "one") as guest:
        assert pyvmm("ping") == pyvmm("ping", "one") == Result(0, b"", "")
        pyvmm("pause", "one")
        assert pyvmm("ping") == Result(1, b"", "pyvmm: one: paused\n")
        pyvmm("resume", "one")
        with named(assemble(IDLE), "two"):
            assert pyvmm("ping") == Result(125, b"", "pyvmm: which one of one, two?\n")
        guest.send_signal(signal.SIGSTOP)
        silent = "pyvmm: guest one: Connection timed out; its process does not answer\n"
        assert pyvmm("ping", "one") == Result(125, b"", silent)
        guest.send_signal(signal.SIGCONT)
        wait_until(lambda: pyvmm("ping", "one").status == 0, "it answers again")


# ---- in the background -------------------------------------------------------------------


def test_a_detached_guest_has_a_log_and_can_be_attached_to(assemble: Assembler, tmp_path: Path) -> None:
    done = pyvmm("boot", assemble(ECHO), "--detach", "--name", "one")
    assert done == Result(0, b"one\n", "")
    assert os.getsid(guests()[0]["pid"]) == guests()[0]["pid"]
    with subprocess.Popen([PYVMM, "attach", "one"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attached:
        assert attached.stdin
        assert attached.stdout
        attached.stdin.write(b"hello")
        attached.stdin.flush()
        assert attached.stdout.read(5) == b"hello"
        wait_until(lambda: pyvmm("logs", "one").stdout == b"hello", "it is logged")
        attached.stdin.write(b" end.")
        attached.stdin.close()
        assert attached.stdout.read() == b" end."
    assert attached.returncode == 0
    wait_until(lambda: not guests(), "it has ended")
    assert pyvmm("logs", "one").stdout == b"hello end."
    assert pyvmm("logs", "two").status == 125


def test_a_detached_guest_that_cannot_start_is_told_at_once(assemble: Assembler) -> None:
    assert pyvmm("boot", "/absent.elf", "--detach") == Result(
        125, b"", "pyvmm: /absent.elf: No such file or directory\n"
    )
    assert guests() == []


def test_why_a_detached_guest_has_failed_is_in_its_log(assemble: Assembler) -> None:
    assert pyvmm("boot", assemble("mov al, 0\n1: out 0x80, al\n ud2"), "--detach", "--name", "one").status == 0
    wait_until(lambda: not guests(), "it has ended")
    assert b"pyvmm: vCPU 0" in pyvmm("logs", "one").stdout
    assert b"triple fault" in pyvmm("logs", "one").stdout


def test_a_console_that_was_not_detached_is_not_attached_to(assemble: Assembler) -> None:
    with named(assemble(IDLE), "one"):
        assert pyvmm("attach", "one").stderr == "pyvmm: one: it was not started with --detach\n"


# ---- metrics and notifications ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_metrics_are_what_prometheus_reads(assemble: Assembler, tmp_path: Path, kind: str) -> None:
    where = "127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/metrics"
    read, write = os.pipe()
    options = ("--metrics", where, "--json-events", str(write), "--vsock", "5", "-p", "0:80")
    with named(assemble(IDLE), "one", *options, pass_fds=(write,), stderr=subprocess.DEVNULL):
        os.close(write)
        with os.fdopen(read) as events:
            address = json.loads(events.readline())["metrics"]
            if kind == "tcp":
                with urlopen(f"http://{address}/metrics", timeout=60) as answer:
                    text = answer.read().decode()
                with pytest.raises(OSError, match="404"):
                    urlopen(f"http://{address}/else", timeout=60)
            else:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"{tmp_path}/metrics")
                    client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                    with client.makefile() as file:
                        text = file.read().partition("\n\n")[2]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    values = {sample.name: sample.value for family in families.values() for sample in family.samples}
    assert families["pyvmm_exits"].type == "counter"
    assert {sample.labels["kind"] for sample in families["pyvmm_exits"].samples} <= {"io", "mmio", "hlt", "intr"}
    assert (values["pyvmm_memory_bytes"], values["pyvmm_vcpus"], values["pyvmm_paused"]) == (128 << 20, 1, 0)
    assert 0 < values["pyvmm_memory_touched_bytes"] < 16 << 20
    assert values["pyvmm_halted_seconds_total"] >= 0
    assert values["pyvmm_steal_seconds_total"] >= 0
    assert values["pyvmm_vsock_streams"] == values["pyvmm_vsock_credit_stalls_total"] == 0


@pytest.mark.parametrize("where", ["", "x", "1:2:3", "99999", "unix:"])
def test_metrics_at_no_place_are_one_line(assemble: Assembler, where: str) -> None:
    done = pyvmm("boot", assemble(IDLE), "--metrics", where)
    assert done.status == 125
    assert done.stderr.startswith("pyvmm: --metrics")
    assert done.stderr.count("\n") == 1


def test_scripts_and_systemd_are_told_when_a_guest_is_ready_and_ends(assemble: Assembler, tmp_path: Path) -> None:
    ready, ready_told = os.pipe()
    events, events_told = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        options = ("--ready-fd", str(ready_told), "--json-events", str(events_told))
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        with named(assemble(IDLE), "one", *options, pass_fds=(ready_told, events_told), env=environment) as guest:
            os.close(ready_told)
            os.close(events_told)
            assert os.read(ready, 10) == b"\n"
            assert [manager.recv(100), manager.recv(100)] == [b"WATCHDOG=1", b"READY=1"]
            guest.terminate()
            assert manager.recv(100) == b"STOPPING=1"
            assert guest.wait(60) == 143
    os.close(ready)
    with os.fdopen(events) as file:
        told = [json.loads(line) for line in file]
    assert [each["event"] for each in told] == ["started", "ready", "exit"]
    assert (told[0]["name"], told[0]["ports"], told[2]["status"]) == ("one", [], 143)


def test_messages_as_json(assemble: Assembler) -> None:
    done = pyvmm("boot", assemble("exit 0"), "--log-format", "json", "-v")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({*line} == {"time", "pid", "message"} for line in lines)
    assert lines[-1]["message"].startswith("the guest has ended with status 0, after ")
    failed = pyvmm("boot", "/absent.elf", "--log-format=json")
    assert json.loads(failed.stderr)["message"] == "/absent.elf: No such file or directory"
    assert pyvmm("boot", "x", "--log-format=xml").stderr == "pyvmm: --log-format xml: not text or json\n"


def test_a_console_that_nobody_reads_holds_nobody_up(assemble: Assembler, tmp_path: Path) -> None:
    """Its vCPU is in a write: it is neither ready nor can it be paused, but it is measured, and ends."""
    source = "1: print text, 4096\n jmp 1b\n .data\n text: .fill 4096, 1, 0x2e"
    read, write = os.pipe()
    ready, told = os.pipe()
    where = f"unix:{tmp_path}/metrics"
    with named(
        assemble(source), "one", "--metrics", where, "--ready-fd", str(told), stdout=write, pass_fds=(told,)
    ) as guest:
        wait_until(lambda: not select.select([], [write], [], 0)[1], "the pipe is full")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/metrics")
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            with client.makefile() as file:
                assert "pyvmm_memory_bytes" in file.read()
        guest.terminate()
        assert guest.wait(60) == 143
    for fd in (read, write, told):
        os.close(fd)
    assert os.read(ready, 1) == b""
    os.close(ready)
