"""pyvmm.command.completion: what real shells make of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from pyvmm.command import completion
from pyvmm.command.options import COMMANDS

#: What is typed, and what that is completed with.
CASES: list[tuple[str, set[str]]] = [
    ("pyvmm ", {*COMMANDS}),
    *((f"pyvmm {name} -", {"--help", *(option[0] for option in COMMANDS[name][4])}) for name in ("boot", "build")),
    ("pyvmm boot --vs", {"--vsock", "--vsock-uds", "--vsock-backlog"}),
    ("pyvmm boot hello.elf --boot ", {"direct", "toro-fast", "pvh", "linux"}),
    ("pyvmm boot hello.elf --boot=", {"direct", "toro-fast", "pvh", "linux"}),
    ("pyvmm bench ", {*COMMANDS["bench"][1].split()}),
    ("pyvmm build ", {"hello.pas", "folder/", "ranks.c"}),
    ("pyvmm boot hello.elf --initrd r", {"ramdisk", "ranks.c"}),
    ("pyvmm boot hello.elf --share ", {"folder/"}),
    ("pyvmm boot hello.elf --share=", {"folder/"}),
    ("pyvmm boot --timing=ra", {"ramdisk", "ranks.c"}),
    ("pyvmm boot hello.elf --console virtio=", {"file:", "unix:", "pty"}),
]
BASH_SETTINGS = r"""
PS1='ready> '
bind 'set show-all-if-ambiguous on'
bind 'set page-completions off'
bind 'set completion-query-items 0'
bind 'set enable-bracketed-paste off'
source completion
"""
ZSH_SETTINGS = r"""
PS1='ready> '
fpath=($PWD $fpath)
LISTMAX=1000
autoload -U compinit
compinit -u -D
unsetopt LIST_AMBIGUOUS
"""
RULES = {"bash": ["--rcfile", "settings", "--noprofile"], "zsh": ["-d"]}
SECONDS = 30


def needs(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory to complete file names in."""
    (tmp_path / "folder").mkdir()
    for name in ("hello.pas", "notes.txt", "ramdisk", "ranks.c"):
        (tmp_path / name).touch()
    return tmp_path


def completed(shell: str, folder: Path, line: str, expected: set[str]) -> set[str]:
    """What appears of `expected` in a terminal after `line` and a tabulator; waits for all of it."""
    (folder / "settings").write_text(BASH_SETTINGS)
    (folder / ".zshrc").write_text(ZSH_SETTINGS)
    (folder / "completion").write_text(completion.bash())
    (folder / "_pyvmm").write_text(completion.zsh())
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.update(TERM="dumb", ZDOTDIR=str(folder), INPUTRC="/dev/null")
        os.execlp(shell, shell, *RULES[shell], "-i")
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 100, 250, 0, 0))
        until(terminal, {"ready> "})
        os.write(terminal, line.encode() + b"\t")
        return until(terminal, expected, line)
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def until(terminal: int, expected: set[str], line: str = "") -> set[str]:
    """Those of the words that were read besides the line, once all were or it is too late."""
    text, answer = b"", ""
    seen: set[str] = set()
    end = time.monotonic() + SECONDS
    while seen != expected and select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        text += os.read(terminal, 4096)
        answer = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", text).decode(errors="replace").replace(line, "")
        seen = {word for word in expected if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", answer)}
    assert "notes.txt" not in answer
    return seen


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_completion_in_a_terminal(shell: str, folder: Path, line: str, expected: set[str]) -> None:
    needs(shell)
    assert completed(shell, folder, line, expected) == expected


@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_completion_in_fish(folder: Path, line: str, expected: set[str]) -> None:
    needs("fish")
    (folder / "completion").write_text(completion.fish())
    command = ["fish", "--no-config", "-c", "source completion; complete -C $argv[1]", line]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.stderr == ""
    offered = {re.sub(r"^.*=", "", candidate.split("\t")[0]) for candidate in done.stdout.splitlines()}
    assert expected <= offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_read_them(shell: str, tmp_path: Path) -> None:
    needs(shell)
    file = tmp_path / "completion"
    file.write_text({"bash": completion.bash, "zsh": completion.zsh, "fish": completion.fish}[shell]())
    done = subprocess.run([shell, "-n", file], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
