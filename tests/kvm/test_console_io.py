"""The guest's console: input from anything that stdin can be, output to anything, signals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import resource
import shutil
import signal
import socket
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from select import select
from typing import Any

import pytest
from guests import ECHO, MIB, PYVMM, Assembler, Result, of_threads, pyvmm, wait_until

pytestmark = pytest.mark.usefixtures("way")

Boot = Callable[..., Result]

# Echoes what it reads; halts until the UART's interrupt (vector 36).
INTERRUPT_ECHO = """
    lea rax, [rip + handler]
    lea rbx, [rip + idt + 36 * 16]
    mov [rbx], ax
    mov word ptr [rbx + 2], 8
    mov word ptr [rbx + 4], 0x8e00
    shr rax, 16
    mov [rbx + 6], ax
    shr rax, 16
    mov [rbx + 8], eax
    lidt [rip + idtr]
    mov eax, 0xfee000f0 # spurious vector register: APIC on
    mov dword ptr [rax], 0x1ff
    mov edx, 0x3f9
    mov al, 1
    out dx, al
    sti
1:  hlt
    jmp 1b
handler:
    mov edx, 0x3fa
    in al, dx
    cmp al, 4
    jne 3f
    mov edx, 0x3f8
    in al, dx
    cmp al, 0x71
    je 2f
    out dx, al
    jmp handler
2:  exit 9
3:  mov eax, 0xfee000b0 # end of interrupt
    mov dword ptr [rax], 0
    iretq
    .data
    .balign 16
    idt: .fill 64 * 16
    idtr: .word 64 * 16 - 1
    .quad idt
"""

# Prints that it runs, then loops with interrupts off.
SPIN = 'print ready, 6\n cli\n1: jmp 1b\n .data\n ready: .ascii "ready\\n"'

TEXT = bytes(byte for byte in range(256) if byte != ord("q")) * 8


# ---- input ------------------------------------------------------------------------------


@pytest.mark.parametrize("guest", [ECHO, INTERRUPT_ECHO], ids=["polling", "interrupt"])
def test_input_from_a_pipe_arrives_complete(boot: Boot, guest: str) -> None:
    assert boot(guest, stdin=TEXT + b"q") == Result(9, TEXT, "")


@pytest.mark.parametrize("guest", [ECHO, INTERRUPT_ECHO], ids=["polling", "interrupt"])
def test_input_from_a_file_arrives_complete(boot: Boot, guest: str, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(TEXT + b"q")
    with (tmp_path / "input").open("rb") as file:
        assert boot(guest, stdin=file.fileno()) == Result(9, TEXT, "")


def test_stdin_is_untouched_when_the_guest_does_not_ask(boot: Boot, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"for the next command")
    with (tmp_path / "input").open("rb") as file:
        assert boot("exit 0", stdin=file.fileno()).status == 0
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0
    read_end, write_end = os.pipe()
    os.write(write_end, b"for the next command")
    assert boot("exit 0", stdin=read_end).status == 0
    assert os.read(read_end, 100) == b"for the next command"
    os.close(read_end)
    os.close(write_end)


# Looks for input a hundred times, then ends with status 3.
LOOK = "mov ecx, 100\n mov edx, 0x3fd\n1: in al, dx\n test al, 1\n jnz 2f\n loop 1b\n exit 3\n2: exit 4"


@pytest.mark.parametrize("stdin", ["<&-", "</dev/null", "0<>/dev/null", "</", "0>/dev/null"])
def test_stdin_without_input_gives_none(assemble: Assembler, stdin: str) -> None:
    command = ["sh", "-c", f'"$0" boot "$1" {stdin}', PYVMM, assemble(LOOK)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"")


# ---- output -----------------------------------------------------------------------------

PRINT = 'mov ebx, 200\n1: print text, 7\n dec ebx\n jnz 1b\n exit 5\n .data\n text: .ascii "a line\\n"'


def test_output_that_nobody_reads_does_not_end_the_guest(assemble: Assembler) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [PYVMM, "boot", assemble(PRINT)]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, timeout=60)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (5, b"")


@pytest.mark.parametrize("stdout", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "1</", ">/dev/full 2>/dev/full"])
def test_output_that_goes_nowhere_does_not_end_the_guest(assemble: Assembler, stdout: str) -> None:
    command = ["sh", "-c", f'"$0" boot "$1" {stdout}', PYVMM, assemble(PRINT)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"", b"")


@pytest.mark.parametrize("lines", [1, 200])
def test_output_that_is_lost_is_told_once(assemble: Assembler, lines: int) -> None:
    command = ["sh", "-c", '"$0" boot "$1" >/dev/full', PYVMM, assemble(PRINT.replace("200", str(lines)))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == "pyvmm: console: No space left on device; the guest's output is discarded\n"


def test_output_up_to_the_limit_of_a_file_is_written_and_the_rest_told_of(assemble: Assembler, tmp_path: Path) -> None:
    size = 32 * MIB
    with (tmp_path / "log").open("wb") as log:
        log.truncate(size - 10)
        log.seek(0, os.SEEK_END)
        done = subprocess.run(
            [PYVMM, "boot", assemble(PRINT), "--mem", "16M"],
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size)),
        )
    assert done.returncode == 5
    assert (tmp_path / "log").read_bytes()[size - 10 :] == b"a line\na l"
    assert done.stderr == (
        "pyvmm: console: File too large; raise the limit of a file's size (`ulimit -f`); "
        "the guest's output is discarded\n"
    )


MANY = 3000
PRINT_MUCH = f"mov ebx, {MANY}\n1: print text, 100\n dec ebx\n jnz 1b\n exit 5\n .data\n text: .fill 100, 1, 120"


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal", "stderr too"])
def test_a_guest_that_serves_others_does_not_wait_for_the_reader_of_its_output(assemble: Assembler, kind: str) -> None:
    """What cannot be written is discarded, and its size told in the end."""
    if kind == "terminal":
        reader, writer = os.openpty()
        tty.setraw(writer)
    elif kind == "socket":
        reader, writer = (end.detach() for end in socket.socketpair())
    else:
        reader, writer = os.pipe()
    stderr = writer if kind == "stderr too" else subprocess.PIPE
    command = [PYVMM, "boot", assemble(PRINT_MUCH), "--vsock", "5"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=stderr, text=True, timeout=60)
    os.set_blocking(reader, False)
    came = 0
    with contextlib.suppress(BlockingIOError):
        while data := os.read(reader, 1 << 20):
            came += len(data)
    os.close(reader)
    os.close(writer)
    assert done.returncode == 5
    if kind != "stderr too":
        lost = 100 * MANY - came
        assert done.stderr == (
            f"pyvmm: console: {lost} bytes of the guest's output were discarded, because nobody read it\n"
        )


def test_output_to_a_file_is_appended_where_it_stands(assemble: Assembler, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.write(b"before\n")
        log.flush()
        done = subprocess.run([PYVMM, "boot", assemble(PRINT)], stdout=log, timeout=60)
    assert done.returncode == 5
    assert (tmp_path / "log").read_bytes() == b"before\n" + b"a line\n" * 200


# ---- signals ----------------------------------------------------------------------------


@pytest.fixture
def start(assemble: Assembler) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a guest and lets it run; killed in the end, if need be."""
    started: list[subprocess.Popen[bytes]] = []

    def run(source: str, **how: Any) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process: subprocess.Popen[bytes] = subprocess.Popen([PYVMM, "boot", assemble(source)], **(pipes | how))
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[..., "subprocess.Popen[bytes]"]


def said(process: subprocess.Popen[bytes], size: int) -> bytes:
    """The next `size` bytes that the guest writes."""
    assert process.stdout
    return process.stdout.read(size)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_signal_ends_a_guest_that_is_busy_with_interrupts_off(start: Start, number: int, status: int) -> None:
    process = start(SPIN)
    assert said(process, 6) == b"ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == status


def test_signal_ends_a_guest_that_halts(start: Start) -> None:
    process = start(SPIN.replace("jmp 1b", "hlt\n jmp 1b"))
    assert said(process, 6) == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=60), process.returncode) == ((b"", b""), 143)


def test_signal_ends_a_guest_whose_output_nobody_takes(start: Start) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, bytes(4096))
    except BlockingIOError:
        os.set_blocking(write_end, True)
    process = start(SPIN, stdout=write_end)

    def blocked() -> bool:
        """A thread is in write(1, …), the system call 1."""
        return any(call.startswith("1 0x1 ") for call in of_threads(process.pid, "syscall"))

    wait_until(blocked, "the vCPU writes to the full pipe")
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    os.close(read_end)
    os.close(write_end)
    assert process.returncode == 143


def test_ignored_signal_stays_ignored(start: Start) -> None:
    """What nohup(1) is for."""
    process = start(ECHO, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdin
    process.stdin.write(b"x")
    process.stdin.flush()
    assert said(process, 1) == b"x"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(b"q", timeout=60) == (b"", b"")
    assert process.returncode == 9


# ---- terminals --------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[list[int]]:
    """A pseudo-terminal: [the user's side, the process's side]."""
    ends = list(os.openpty())
    yield ends
    for fd in ends:
        if fd >= 0:
            os.close(fd)


def on_terminal(start: Start, terminal: list[int]) -> subprocess.Popen[bytes]:
    """The echo guest with the terminal as its own, past its first character."""
    process = start(
        ECHO,
        stdin=terminal[1],
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.write(terminal[0], b"x")  # without a newline: it arrives once line editing is off
    assert said(process, 1) == b"x"
    return process


def test_characters_reach_the_guest_as_they_are_typed(start: Start, terminal: list[int]) -> None:
    before = termios.tcgetattr(terminal[1])
    process = on_terminal(start, terminal)
    assert not termios.tcgetattr(terminal[1])[3] & (termios.ICANON | termios.ECHO)
    os.write(terminal[0], b"q")
    assert (process.communicate(timeout=60), process.returncode) == ((b"", b""), 9)
    assert termios.tcgetattr(terminal[1]) == before


def test_ctrl_c_ends_the_guest_and_restores_the_terminal(start: Start, terminal: list[int]) -> None:
    before = termios.tcgetattr(terminal[1])
    process = on_terminal(start, terminal)
    os.write(terminal[0], b"\x03")
    assert (process.communicate(timeout=60), process.returncode) == ((b"", b""), 130)
    assert termios.tcgetattr(terminal[1]) == before


def test_terminal_that_hangs_up_ends_the_guest(start: Start, terminal: list[int]) -> None:
    process = on_terminal(start, terminal)
    os.close(terminal[0])
    terminal[0] = -1
    assert (process.communicate(timeout=60), process.returncode) == ((b"", b""), 143)


def test_terminal_keeps_its_settings_when_the_guest_does_not_ask(start: Start, terminal: list[int]) -> None:
    before = termios.tcgetattr(terminal[1])
    process = start(SPIN, stdin=terminal[1])
    assert said(process, 6) == b"ready\n"
    assert termios.tcgetattr(terminal[1]) == before
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert termios.tcgetattr(terminal[1]) == before


# ---- job control ------------------------------------------------------------------------


class Shell:
    """An interactive shell on a pseudo-terminal, and what a user types and sees there."""

    def __init__(self, words: list[str]) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe(words[0], words, os.environ | {"PS1": "prompt: ", "TERM": "dumb"})
        self._seen = b""
        self.expect("prompt: ")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def expect(self, text: str) -> str:
        """Waits until this is shown, and returns what was before it."""
        while text.encode() not in self._seen:
            assert select([self._fd], [], [], 60)[0], f"{text!r} does not come; there is {self._seen!r}"
            self._seen += os.read(self._fd, 4096)
        before, _, self._seen = self._seen.partition(text.encode())
        return before.decode()

    def run(self, command: str) -> str:
        """What a command writes."""
        self.type(f'echo be""gin; {command}; echo e""nd\n')
        self.expect("begin\r\n")
        said = self.expect("end\r\n")
        self.expect("prompt: ")
        return said

    def is_raw(self) -> bool:
        """Whether line editing is off."""
        return not termios.tcgetattr(self._fd)[3] & termios.ICANON

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self._pid, 0)


@pytest.fixture(params=[["dash", "-i"], ["bash", "--norc", "--noprofile", "-i"]], ids=lambda words: words[0])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    if not shutil.which(request.param[0]):
        pytest.skip(f"there is no {request.param[0]}")
    made = Shell(request.param)
    yield made
    made.close()


READY_ECHO = f'print ready, 6\n {ECHO} .data\n ready: .ascii "ready\\n"'


@pytest.mark.parametrize("settled", [False, True])
def test_a_guest_that_is_stopped_gives_the_terminal_back(shell: Shell, assemble: Assembler, settled: bool) -> None:
    """Until it is continued in the foreground; its end does not change the shell's settings."""
    settings = shell.run("stty -a")
    image = assemble(READY_ECHO)
    shell.type(f"{PYVMM} boot {image}\n")
    shell.expect("ready\r\n")
    if settled:  # and has only the calls that it needs from then on
        wait_until(lambda: image in pyvmm("ps").stdout.decode(), "it is listed")
    for key in ("\x1a", "\x1a", "q"):
        wait_until(shell.is_raw, "line editing is off")
        shell.type("é")
        shell.expect("é")
        shell.type("yz")
        shell.expect("yz")
        shell.type(key)
        assert "yz" not in shell.expect("prompt: ")  # echoed by the guest alone
        assert shell.run("stty -a") == settings
        if key != "q":
            shell.type("fg\n")
            shell.expect("boot")


def test_a_guest_that_ends_while_it_is_stopped_leaves_the_terminal_alone(shell: Shell, assemble: Assembler) -> None:
    settings = shell.run("stty -a")
    shell.type(f"{PYVMM} boot {assemble(READY_ECHO)}\n")
    shell.expect("ready\r\n")
    wait_until(shell.is_raw, "line editing is off")
    shell.type("\x1a")
    shell.expect("prompt: ")
    shell.run("kill %1; kill -CONT %1; wait %1")
    assert shell.run("stty -a") == settings


def modes(shell: Shell) -> list[str]:
    """What stty(1) says, without what the shell says of its jobs."""
    return [line for line in shell.run("stty -a").splitlines() if line and not line.startswith("[")]


def test_a_guest_in_the_background_leaves_the_terminal_alone(shell: Shell, assemble: Assembler) -> None:
    """It is stopped when it would read what is typed for the shell, and gets the rest in the foreground."""
    settings = modes(shell)
    shell.type(f"{PYVMM} boot {assemble(READY_ECHO)} &\n")
    shell.expect("ready\r\n")
    shell.run("sleep 0.1")  # a shell may tell here that it has stopped
    assert modes(shell) == settings
    shell.type("fg\n")
    shell.expect("boot")
    shell.type("x\nq\n")
    shell.expect("prompt: ")
    assert modes(shell) == settings
