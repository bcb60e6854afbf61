"""Crash reports of tiny guests: on stderr, as files, and by `pyvmm crash`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from guests import PYVMM, Assembler, Result, pyvmm

SPIN = "1: jmp 1b"
#: A chain of two callers, and an exception without a handler.
CALLERS = """
    test esi, esi
    jne 9f
    xor ebp, ebp
    call outer
    exit 1
    .type outer, @function
outer:
    push rbp
    mov rbp, rsp
    call inner
    .size outer, . - outer
    .type inner, @function
inner:
    push rbp
    mov rbp, rsp
    mov r12d, 0x1234
    ud2
    .size inner, . - inner
"""
on_amd = pytest.mark.skipif(
    bool(re.search(r"\bsvm\b", Path("/proc/cpuinfo").read_text())), reason="AMD-V loses the registers of a triple fault"
)


def gdb(image: str, core: Path, *commands: str) -> str:
    if not shutil.which("gdb"):
        pytest.skip("needs gdb")
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(
        ["gdb", "-batch", "-nx", *words, image, core], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def report_in(directory: Path) -> Any:
    return json.loads((directory / "report.json").read_text())


@on_amd
def test_a_triple_fault_is_explained(assemble: Assembler, tmp_path: Path) -> None:
    image, where = assemble(CALLERS), tmp_path / "crash"
    result = pyvmm("boot", image, "--crash", str(where), "--cpus", "2")
    assert result.status == 124
    lines = result.stderr.splitlines()
    assert re.fullmatch(r"pyvmm: vCPU 0 at 0x1000[0-9a-f]+: triple fault: .*", lines[0])
    assert re.search(r"r12 +0x1234\b", result.stderr)
    assert re.search(r"#0 .* inner\+10\n.*#1 .* outer\+8\n.*#2 .* entry\+10", result.stderr)
    assert lines[-1].endswith(f"`gdb {image} {where}/core`")
    report = report_in(where)
    assert (report["kind"], report["vcpu"], report["memory"]) == ("triple fault", 0, 128 << 20)
    assert [vcpu["index"] for vcpu in report["vcpus"]] == [0, 1]
    assert pyvmm("crash", str(where)) == Result(0, (where / "report.txt").read_bytes(), "")
    assert pyvmm("crash", str(where / "core")).stdout == (where / "report.txt").read_bytes()


@on_amd
def test_gdb_opens_the_core_file(assemble: Assembler, tmp_path: Path) -> None:
    image = assemble(CALLERS)
    pyvmm("boot", image, "--crash", str(tmp_path), "--cpus", "2")
    said = gdb(image, tmp_path / "core", "bt", "info threads", "print $r12", "x/i $pc", "print $xmm0.uint128")
    assert re.search(r"#0 .* in inner \(\)\n#1 .* in outer \(\)\n#2 .* in entry \(\)", said)
    assert "$1 = 4660" in said
    assert "ud2" in said
    assert len(re.findall(r"LWP \d", said.partition("Id ")[2])) == 2


def test_files_are_the_user_s_alone_and_replaced(assemble: Assembler, tmp_path: Path) -> None:
    where = tmp_path / "crash"
    for _ in range(2):
        pyvmm("boot", assemble("ud2"), "--crash", str(where))
    assert {path.name: path.stat().st_mode & 0o777 for path in where.iterdir()} == dict.fromkeys(
        ("report.json", "report.txt", "core"), 0o600
    )


def test_what_ends_without_a_crash_leaves_nothing(assemble: Assembler, tmp_path: Path) -> None:
    for source in ("exit 3", "mov al, 0xfe\n out 0x64, al"):
        assert pyvmm("boot", assemble(source), "--crash", str(tmp_path), "--watchdog", "1").stderr == ""
    with subprocess.Popen([PYVMM, "boot", assemble("print text, 1\n1: jmp 1b\n.data\ntext: .byte 10"), "--crash",
                           str(tmp_path)], stdout=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        process.terminate()
        assert process.wait(60) == 143
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "how"),
    [("exit 3", "exit"), ("mov al, 0xfe\n out 0x64, al", "reset")],
)
def test_how_a_guest_ends_is_told(source: str, how: str, assemble: Assembler) -> None:
    read, write = os.pipe()
    result = pyvmm("boot", assemble(source), "-v", "--json-events", str(write), pass_fds=(write,))
    os.close(write)
    with open(read) as events:
        assert json.loads(events.read().splitlines()[-1])["ending"] == how
    assert result.stderr.endswith(f" exits, by {how}\n")


def test_a_guest_that_hangs_is_ended(assemble: Assembler, tmp_path: Path) -> None:
    result = pyvmm("boot", assemble(SPIN), "--watchdog", "1", "--crash", str(tmp_path))
    assert result.status == 124
    assert "pyvmm: vCPU 0 at 0x100000: hang: no halt and no exit for 1 s\n" in result.stderr
    assert report_in(tmp_path)["kind"] == "hang"


def test_the_vcpu_that_hangs_is_found(assemble: Assembler) -> None:
    result = pyvmm("boot", assemble(f"cmp esi, 2\n jne 9f\n {SPIN}"), "--cpus", "3", "--watchdog", "1")
    assert result.status == 124
    assert result.stderr.startswith("pyvmm: vCPU 2 at 0x10000")


@pytest.mark.parametrize("busy", ["hlt", "in al, 0x80"])
def test_a_guest_that_halts_or_exits_does_not_hang(busy: str, assemble: Assembler) -> None:
    source = f"print text, 1\n1: {busy}\n jmp 1b\n .data\n text: .byte 10"
    with watched(assemble(source)) as process:
        assert process.stdout
        assert process.stdout.read(1) == "\n"


def test_a_vcpu_that_waits_for_a_reader_does_not_hang(assemble: Assembler) -> None:
    with watched(assemble("2: print text, 4096\n jmp 2b\n .data\n text: .skip 4096, 65")) as process:
        assert process.stdout
        assert process.stdout.read(1) == "A"


@contextmanager
def watched(image: str) -> Iterator[subprocess.Popen[str]]:
    """A guest that still runs after twice the time of its watchdog, from when it is left alone."""
    command = [PYVMM, "boot", image, "--watchdog", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.terminate()
        assert process.stderr
        assert process.stderr.read() == ""
        assert process.wait(60) == 143


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--crash", "/absent/crash"), "--crash /absent/crash: No such file or directory"),
        (("--crash", "/dev/null"), "--crash /dev/null: Not a directory"),
        (("--crash", ""), "--crash: needs a directory"),
        (("--watchdog", "0"), "--watchdog 0: not 1 to 86400 seconds"),
        (("--watchdog", "soon"), "--watchdog soon: not a number"),
    ],
)
def test_mistakes_are_one_line(options: tuple[str, ...], said: str, assemble: Assembler) -> None:
    assert pyvmm("boot", assemble("exit 0"), *options) == Result(125, b"", f"pyvmm: {said}\n")


def test_a_report_that_cannot_be_written_is_told(assemble: Assembler, tmp_path: Path) -> None:
    result = pyvmm("boot", assemble("ud2"), "--crash", str(tmp_path), preexec_fn=_small_files)
    assert result.status == 124
    assert "triple fault" in result.stderr
    assert f"not all of it is kept: --crash {tmp_path}: File too large" in result.stderr
    assert "core" not in os.listdir(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def _small_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))
